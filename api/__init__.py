"""HTTP in front of an engine; no decision about a call is made here.

``api/console/`` is the place for a web console, which would be a client of the operations like any other.
"""
