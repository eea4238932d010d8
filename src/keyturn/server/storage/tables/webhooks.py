"""Webhooks, and what is to be delivered to them.

Both go with their tenant by the database itself (CASCADE): nodes of the release before, which
delete a tenant while this one is being rolled out, know nothing of these tables.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
    text,
)

from ..columns import Id, Text, UtcDateTime, json_type
from .base import metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Types; NULL: all.
    Column("events", json_type()),
    Column("expiring_days", json_type(), nullable=False),
    Column("unused_days", Integer, nullable=False),
    # Sealed under the master secret. NULL since it was restored from a copy, until it is replaced.
    Column("secret", LargeBinary),
    Column("old_secret", LargeBinary),
    Column("old_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    Column("disabled_reason", Text(16)),
    # When its tenant's keys were last looked through for what time does to them.
    Column("checked_at", UtcDateTime),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("disabled_reason IN ('request', 'gone', 'restored')", name="disabled_reason"),
    # Which webhooks an event goes to: almost every tenant has none.
    Index(None, "tenant_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, nullable=False),
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event_id", Id, nullable=False),
    Column("type", Text, nullable=False),
    # The body to the letter: every try sends, and signs, the same.
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", Text(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UtcDateTime),
    Column("status", Integer),
    Column("error", Text(64)),
    Column("ended_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    # An event is told to a webhook once, however many nodes come to know of it.
    UniqueConstraint("webhook_id", "event_id"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
    Index(None, "webhook_id", "id"),
    Index(None, "webhook_id", "state", "id"),
    # What is to be done: small, however much was delivered.
    Index(
        "ix_webhook_deliveries_due",
        "webhook_id",
        "due_at",
        postgresql_where=text("state = 'pending'"),
        sqlite_where=text("state = 'pending'"),
    ),
)
