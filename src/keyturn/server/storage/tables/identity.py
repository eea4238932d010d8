"""Tenants, users, roles, memberships, invitations and API keys.

Every table with tenant data has `tenant_id` (in `users` it is the home tenant, in `api_keys`
the only tenant the key may be used in). Sets of words are text with a check, not enum types:
an enum type cannot be changed in the transaction of a migration on both dialects.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
    false,
    text,
)

from ..columns import Id, Ordered, Text, UtcDateTime, json_type
from .base import metadata

tenants = Table(
    "tenants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("parent_id", Id, ForeignKey("tenants.id")),
    # 1 for the root, NULL for all others: a unique column that lets one root exist. (Nothing
    # else does: in a unique constraint, parent ids that are NULL count as different.)
    Column("root", Integer, unique=True),
    Column("name", Text, nullable=False),
    # Folded by Python: SQLite's lower() knows ASCII only. So in all tables.
    Column("name_folded", Ordered, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("suspended_at", UtcDateTime),
    # A policy's fields (domain.policy); NULL: not settled here.
    Column("single_token", Boolean(create_constraint=False)),
    Column("max_api_key_lifetime", BigInteger),
    Column("api_key_idle_timeout", BigInteger),
    Column("service_users_administer", Boolean(create_constraint=False)),
    Column("offboarding", Text(16)),
    Column("max_api_keys", BigInteger),
    Column("max_service_users", BigInteger),
    Column("max_delegations", BigInteger),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("parent_id", "name_folded"),
    CheckConstraint("offboarding IN ('keep', 'disable', 'delete')", name="offboarding"),
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
    # So, too, finding that none was made by a clock that was behind its parent's.
    Index(
        "ix_tenants_inverted",
        "id",
        postgresql_where=text("id < parent_id"),
        sqlite_where=text("id < parent_id"),
    ),
    # So, too, finding that no tenant above a key settles this.
    Index(
        "ix_tenants_idle",
        "id",
        postgresql_where=text("api_key_idle_timeout IS NOT NULL"),
        sqlite_where=text("api_key_idle_timeout IS NOT NULL"),
    ),
    Index(
        "ix_tenants_single",
        "id",
        postgresql_where=text("single_token"),
        sqlite_where=text("single_token"),
    ),
)

#: One row: what holds for all users.
installation = Table(
    "installation",
    metadata,
    Column("id", Integer, primary_key=True),
    # No user's epoch is below it: raising it ends all that was ever issued.
    Column("epoch_floor", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

#: Every tenant with all its ancestors and itself (depth 0). So a role held above reaches a
#: tenant by one join, and pages over a subtree read one index in order.
tenant_tree = Table(
    "tenant_tree",
    metadata,
    Column("ancestor_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("descendant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("depth", Integer, nullable=False),
    # The descendant's: a search by name reads one range of one index, wherever in the tree.
    Column("name_folded", Ordered, nullable=False),
    CheckConstraint("depth >= 0", name="depth"),
    Index(None, "descendant_id", "ancestor_id"),
    Index(None, "ancestor_id", "name_folded", "descendant_id"),
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text(16), nullable=False),
    Column("username", Text, nullable=False),
    Column("username_folded", Text, nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("display_name_folded", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    # Sessions that began in an earlier epoch than this are over.
    Column("sessions_epoch", BigInteger, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    # No foreign key: who made it may be gone.
    Column("created_by", Id, index=True),
    Column("disabled_at", UtcDateTime),
    Column("single_token", Boolean(create_constraint=False)),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("kind IN ('human', 'service')", name="kind"),
    Index(None, "tenant_id", "kind", "id"),
    Index(None, "tenant_id", "kind", "display_name_folded"),
)

#: Humans' passwords, apart from what is read with every user.
passwords = Table(
    "passwords",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    Column("hash", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

#: What people sign in with beside their passwords (RFC 6238), once they have shown that they can.
second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # Sealed: it must be known to be compared with.
    Column("secret", LargeBinary, nullable=False),
    Column("confirmed_at", UtcDateTime, nullable=False),
    # The newest step of 30 seconds whose code was accepted: none is accepted twice.
    Column("last_step", BigInteger, nullable=False),
    # Hashes of the recovery codes that are left.
    Column("recovery", json_type(), nullable=False),
    # Codes in a row that were tried and not right.
    Column("wrong", Integer, nullable=False, server_default="0"),
    Column("version", BigInteger, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id")),
    Column("name", Text, nullable=False),
    Column("name_folded", Ordered, nullable=False),
    Column("description", Text, nullable=False),
    Column("permissions", json_type(), nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "name_folded"),
    Index(
        "uq_roles_built_in",
        "name_folded",
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
    Column("created_at", UtcDateTime, nullable=False),
    # A tenant's members page by page, and who holds one role there.
    Index(None, "tenant_id", "user_id"),
    Index(None, "role_id", "tenant_id", "user_id"),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("role_id", Id, ForeignKey("roles.id"), nullable=False, index=True),
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False),
    Column("state", Text(16), nullable=False),
    # SHA-256 of the code, which is random: it stands in the mail and in the answer alone.
    Column("code_hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("created_by", Id),
    Column("answered_at", UtcDateTime),
    CheckConstraint("state IN ('pending', 'accepted', 'declined', 'withdrawn')", name="state"),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "state", "id"),
    Index(None, "email_folded", "id"),
    # One open offer of a role to an address.
    Index(
        "uq_invitations_pending",
        "tenant_id",
        "email_folded",
        "role_id",
        unique=True,
        postgresql_where=text("state = 'pending'"),
        sqlite_where=text("state = 'pending'"),
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    # Not a UUID: the id stands in the key's text, in base62. It sorts by its time, too.
    Column("id", Ordered(22), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    # Its user's, who never moves: what a tenant's keys are listed by.
    Column("home_tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("tenant_id", Id, ForeignKey("tenants.id"), index=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("pepper_version", BigInteger, nullable=False),
    # The secret before the latest rotation.
    Column("old_hash", LargeBinary),
    Column("old_pepper_version", BigInteger),
    Column("rotated_at", UtcDateTime),
    Column("old_until", UtcDateTime),
    Column("old_ends_on_use", Boolean(create_constraint=False)),
    Column("role_ids", json_type()),
    Column("endpoint_ids", json_type()),
    Column("networks", json_type()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Id, index=True),
    Column("expires_at", UtcDateTime),
    Column("idle_timeout", BigInteger),
    Column("revoked_at", UtcDateTime),
    Column("revoked_reason", Text(32)),
    Column("last_used_at", UtcDateTime),
    Column("last_used_from", Text(64)),
    Column("use_count", BigInteger, nullable=False),
    # As in `users`, for this key's sessions.
    Column("sessions_epoch", BigInteger, nullable=False, server_default="0"),
    # A person's sign-in to the console (its name is the browser's). No list of keys has it.
    Column("for_console", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("version", BigInteger, nullable=False),
    Index(None, "user_id", "id"),
    Index(None, "user_id", "name"),
    Index(
        "ix_api_keys_console",
        "expires_at",
        postgresql_where=text("for_console"),
        sqlite_where=text("for_console = 1"),
    ),
    Index(None, "home_tenant_id", "id"),
    # Which end next.
    Index(
        "ix_api_keys_ends",
        "home_tenant_id",
        "expires_at",
        "id",
        postgresql_where=text("expires_at IS NOT NULL"),
        sqlite_where=text("expires_at IS NOT NULL"),
    ),
    # Which keys list a role or an endpoint; few list any. (SQLite reads those from end to end.)
    Index(
        "ix_api_keys_role_ids",
        "role_ids",
        postgresql_using="gin",
        postgresql_where=text("role_ids IS NOT NULL"),
        sqlite_where=text("role_ids IS NOT NULL"),
    ),
    Index(
        "ix_api_keys_endpoint_ids",
        "endpoint_ids",
        postgresql_using="gin",
        postgresql_where=text("endpoint_ids IS NOT NULL"),
        sqlite_where=text("endpoint_ids IS NOT NULL"),
    ),
)
