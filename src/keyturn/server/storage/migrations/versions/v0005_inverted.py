"""Tenants whose ids are below their parents': a lookup has to know whether there are any."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Almost always empty; made in a moment, and reads and writes of old nodes go on by it.
    where = sa.text("id < parent_id")
    op.create_index(
        "ix_tenants_inverted", "tenants", ["id"], postgresql_where=where, sqlite_where=where
    )
