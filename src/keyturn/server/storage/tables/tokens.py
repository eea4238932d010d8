"""Sessions, revocations, signing keys, resource servers, and the audit trail."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    text,
)

from ..columns import Id, Ordered, Text, UtcDateTime, json_type
from .base import metadata

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key_id", Ordered(22), ForeignKey("api_keys.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("rotated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("ended_at", UtcDateTime),
    Column("end_reason", Text),
    # Its user's when it began.
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    # The one tenant that it was begun for, and where its latest refresh came from.
    Column("tenant_id", Id),
    Column("last_used_from", Text(64)),
    CheckConstraint("generation >= 0", name="generation"),
    Index(None, "user_id", "id"),
    Index(None, "key_id", "id"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("kind", Text(16), primary_key=True),
    Column("subject", Text(64), primary_key=True),
    Column("epoch", BigInteger),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    # When it was last added or lifted, by the database's clock: what the tail goes by.
    Column("written_at", UtcDateTime, nullable=False, index=True),
    CheckConstraint(
        "kind IN ('token', 'session', 'key', 'user', 'tenant', 'signing_key', 'everything', "
        "'policy')",
        name="kind",
    ),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text(64), primary_key=True),
    Column("algorithm", Text(16), nullable=False),
    Column("slot", Text(16), nullable=False),
    Column("public_jwk", json_type(), nullable=False),
    Column("sealed_private", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("slot_since", UtcDateTime, nullable=False),
    CheckConstraint("slot IN ('next', 'current', 'retired')", name="slot"),
    # One key a slot; retired keys may be many. Two processes that both make one: one wins.
    Index(
        "uq_signing_keys_slot",
        "algorithm",
        "slot",
        unique=True,
        postgresql_where=text("slot IN ('current', 'next')"),
        sqlite_where=text("slot IN ('current', 'next')"),
    ),
)

resource_servers = Table(
    "resource_servers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    # One in the whole installation: it is what the tokens' `aud` says.
    Column("identifier", Ordered, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("algorithm", Text(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index(None, "tenant_id", "id"),
)

#: Append only (a trigger refuses updates). No foreign keys: the trail outlives what it names.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("user_id", Text),
    Column("key_id", Text),
    Column("session_id", Text),
    Column("address", Text),
    Column("tenant_id", Text),
    Column("target", Text),
    Column("data", json_type(), nullable=False),
    Index(None, "at"),
    # The trail is read backwards, and by one of these.
    Index(None, "tenant_id", "at", "id"),
    Index(None, "tenant_id", "user_id", "at", "id"),
    Index(None, "tenant_id", "action", "at", "id"),
    Index(None, "tenant_id", "target", "at", "id"),
)
