"""The trunks as the control process knows them: which can take a call, and in what order they are tried."""
