"""HTTP in front of an engine; no decision about a call is taken here."""
