"""One numbered file for each revision. A published revision is never changed."""
