"""Calls, trunks, processes, the SIP stack and the store."""
