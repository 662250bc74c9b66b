"""The calls of the control process: one task a call, its attempts, its agent's session, its record."""
