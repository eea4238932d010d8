"""The schema's history, one for both dialects. `migration.py` runs it; Alembic loads the files."""
