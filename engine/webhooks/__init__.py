"""Webhooks: telling endpoints of the outside what became of calls, surely, in order and without being led inside."""
