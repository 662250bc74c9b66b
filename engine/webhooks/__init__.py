"""Webhooks: report the events of calls to external endpoints, reliably, in order, and never to internal addresses."""
