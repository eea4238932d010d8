"""Webhooks and their deliveries."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, Text, UtcDateTime, json_type

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("url", Text, nullable=False),
        sa.Column("events", json_type()),
        sa.Column("expiring_days", json_type(), nullable=False),
        sa.Column("unused_days", sa.Integer, nullable=False),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("old_secret", sa.LargeBinary),
        sa.Column("old_until", UtcDateTime),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("disabled_at", UtcDateTime),
        sa.Column("disabled_reason", Text(16)),
        sa.Column("checked_at", UtcDateTime),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_webhooks_tenant_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "disabled_reason IN ('request', 'gone', 'restored')",
            name=op.f("ck_webhooks_disabled_reason"),
        ),
    )
    _index("webhooks", "tenant_id", "id")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("webhook_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("type", Text, nullable=False),
        sa.Column("payload", Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("state", Text(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", UtcDateTime),
        sa.Column("status", sa.Integer),
        sa.Column("error", Text(64)),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name="fk_webhook_deliveries_webhook_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(
            "webhook_id", "event_id", name="uq_webhook_deliveries_webhook_id_event_id"
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')", name=op.f("ck_webhook_deliveries_state")
        ),
    )
    _index("webhook_deliveries", "expires_at")
    _index("webhook_deliveries", "webhook_id", "id")
    _index("webhook_deliveries", "webhook_id", "state", "id")
    pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "due_at"],
        postgresql_where=pending,
        sqlite_where=pending,
    )


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
