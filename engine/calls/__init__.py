"""The calls of the control process: for each call one task, its attempts, its agent's session and its record."""
