"""Alembic's scripts: they upgrade any older database to ``schema.py``. ``database.py`` runs them, never a person."""
