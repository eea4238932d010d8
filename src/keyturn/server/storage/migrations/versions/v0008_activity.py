"""The audit trail in numbers, and which keys end next."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, Text, UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("tenant_id", Text, nullable=False),
        sa.Column("hour", UtcDateTime, nullable=False),
        sa.Column("kind", Text(16), nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "kind", name="pk_activity"),
    )
    op.create_index("ix_activity_hour", "activity", ["hour"])
    op.create_table(
        "activity_cursor",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("open_since", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_activity_cursor"),
        sa.CheckConstraint("id = 1", name=op.f("ck_activity_cursor_one")),
    )
    ends = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "ix_api_keys_ends",
        "api_keys",
        ["home_tenant_id", "expires_at", "id"],
        postgresql_where=ends,
        sqlite_where=ends,
    )
