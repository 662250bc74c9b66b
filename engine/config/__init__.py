"""The configuration: every setting, its meaning and its check."""
