"""The tables, for queries. `migrations/` makes them; a test holds one against the other.

Every table with tenant data has `tenant_id` (in `users` it is the home tenant, in `api_keys`
the only tenant the key may be used in). Sets of words are text with a check, not enum types:
an enum type cannot be changed in the transaction of a migration on both dialects.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from .columns import Id, Text, UtcDateTime, json_type

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("parent_id", Id, ForeignKey("tenants.id")),
    # 1 for the root, NULL for all others: a unique column that lets one root exist. (Nothing
    # else does: in a unique constraint, parent ids that are NULL count as different.)
    Column("root", Integer, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("suspended_at", UtcDateTime),
    UniqueConstraint("parent_id", "name"),
    CheckConstraint(
        "(parent_id IS NULL AND root = 1) OR (parent_id IS NOT NULL AND root IS NULL)", name="root"
    ),
    # Almost always empty: finding no suspended ancestor costs next to nothing.
    Index(
        "ix_tenants_suspended",
        "id",
        postgresql_where=text("suspended_at IS NOT NULL"),
        sqlite_where=text("suspended_at IS NOT NULL"),
    ),
)

#: Every tenant with all its ancestors and itself (depth 0). So a role held above reaches a
#: tenant by one join, and pages over a subtree read one index in order.
tenant_tree = Table(
    "tenant_tree",
    metadata,
    Column("ancestor_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("descendant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("depth", Integer, nullable=False),
    CheckConstraint("depth >= 0", name="depth"),
    Index(None, "descendant_id", "ancestor_id"),
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text(16), nullable=False),
    Column("username", Text, nullable=False),
    # The username folded by Python: SQLite's lower() knows ASCII only.
    Column("username_folded", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
    CheckConstraint("kind IN ('human', 'service')", name="kind"),
)

roles = Table(
    "roles",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id")),
    Column("name", Text, nullable=False),
    Column("permissions", json_type(), nullable=False),
    UniqueConstraint("tenant_id", "name"),
    Index(
        "uq_roles_built_in",
        "name",
        unique=True,
        postgresql_where=text("tenant_id IS NULL"),
        sqlite_where=text("tenant_id IS NULL"),
    ),
)

memberships = Table(
    "memberships",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("role_id", Id, ForeignKey("roles.id"), primary_key=True),
    Column("state", Text(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("state IN ('invited', 'accepted', 'declined')", name="state"),
    # Not with the user's id behind it: the lookup, which seeks a user's rows, could take it for
    # the better one while the table is small.
    Index(None, "tenant_id"),
    Index(None, "role_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    # Not a UUID: the id stands in the key's text, in base62.
    Column("id", Text(22), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False, index=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), index=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("pepper_version", BigInteger, nullable=False),
    Column("role_ids", json_type()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("last_used_from", Text(64)),
    Column("use_count", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key_id", Text(22), ForeignKey("api_keys.id"), nullable=False, index=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False, index=True),
    Column("generation", BigInteger, nullable=False),
    Column("rotated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("ended_at", UtcDateTime),
    Column("end_reason", Text),
    CheckConstraint("generation >= 0", name="generation"),
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
    CheckConstraint("kind IN ('token', 'session', 'key', 'user', 'tenant')", name="kind"),
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
    Index(None, "tenant_id", "at"),
    Index(None, "at"),
)
