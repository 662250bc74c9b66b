"""Registrations that stay up, against SIPp and Kamailio."""
