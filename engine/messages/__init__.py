"""Every value that crosses a pipe between two of our processes."""
