"""Alembic's scripts: the way from any older database to ``schema.py``; run by ``database.py``, never by hand."""
