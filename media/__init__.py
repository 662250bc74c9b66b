"""The audio of a call and the wire to its agent: knows nothing of SIP, calls or HTTP."""
