"""Alembic migrations of the journal, run when a journal is opened. README.md says how to add one."""
