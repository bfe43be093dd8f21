"""The append-only record of a run: what was decided, asked for, filled and earned, and how each follows from the other.

`memory.MemoryJournal` keeps it in lists, `sql.SqlJournal` in SQLite or PostgreSQL; `lineage` asks either of them why an
order was made. Nothing is imported here, so that a run without SQL never loads SQLAlchemy.
"""
