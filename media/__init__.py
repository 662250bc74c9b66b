"""The audio of a call and the connection to its agent. This package knows nothing of SIP, calls or HTTP."""
