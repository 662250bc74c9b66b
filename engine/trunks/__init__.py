"""The trunks in the control process: which of them can take a call, and in which order they are tried."""
