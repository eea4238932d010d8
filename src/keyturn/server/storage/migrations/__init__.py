"""The schema's history, one for both dialects. `migrate.py` runs it; Alembic loads the files."""
