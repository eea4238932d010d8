"""Alembic's entry: runs on the connection and in the transaction that `migration.py` passes."""

from alembic import context

from keyturn.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back DDL, too, once BEGIN is left to us (engine.py).
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
