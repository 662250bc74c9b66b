"""The guard against toll fraud: which live calls may go out, and how many."""
