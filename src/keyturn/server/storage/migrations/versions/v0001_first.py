"""The first schema."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, Ordered, Text, UtcDateTime, json_type

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _tenants()
    _users()
    _tokens()
    _audit()


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", Id, nullable=False),
        sa.Column("parent_id", Id),
        sa.Column("root", sa.Integer),
        sa.Column("name", Text, nullable=False),
        sa.Column("name_folded", Ordered, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("suspended_at", UtcDateTime),
        sa.Column("single_token", sa.Boolean(create_constraint=False)),
        sa.Column("max_api_key_lifetime", sa.BigInteger),
        sa.Column("api_key_idle_timeout", sa.BigInteger),
        sa.Column("service_users_administer", sa.Boolean(create_constraint=False)),
        sa.Column("offboarding", Text(16)),
        sa.Column("max_api_keys", sa.BigInteger),
        sa.Column("max_service_users", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.ForeignKeyConstraint(["parent_id"], ["tenants.id"], name="fk_tenants_parent_id"),
        sa.UniqueConstraint("root", name="uq_tenants_root"),
        sa.UniqueConstraint("parent_id", "name_folded", name="uq_tenants_parent_id_name_folded"),
        sa.CheckConstraint(
            "offboarding IN ('keep', 'disable', 'delete')", name=op.f("ck_tenants_offboarding")
        ),
        sa.CheckConstraint(
            "(parent_id IS NULL AND root = 1) OR (parent_id IS NOT NULL AND root IS NULL)",
            name=op.f("ck_tenants_root"),
        ),
    )
    suspended = sa.text("suspended_at IS NOT NULL")
    op.create_index(
        "ix_tenants_suspended",
        "tenants",
        ["id"],
        postgresql_where=suspended,
        sqlite_where=suspended,
    )
    idle = sa.text("api_key_idle_timeout IS NOT NULL")
    op.create_index("ix_tenants_idle", "tenants", ["id"], postgresql_where=idle, sqlite_where=idle)
    op.create_table(
        "tenant_tree",
        sa.Column("ancestor_id", Id, nullable=False),
        sa.Column("descendant_id", Id, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("name_folded", Ordered, nullable=False),
        sa.PrimaryKeyConstraint("ancestor_id", "descendant_id", name="pk_tenant_tree"),
        sa.ForeignKeyConstraint(["ancestor_id"], ["tenants.id"], name="fk_tenant_tree_ancestor_id"),
        sa.ForeignKeyConstraint(
            ["descendant_id"], ["tenants.id"], name="fk_tenant_tree_descendant_id"
        ),
        sa.CheckConstraint("depth >= 0", name=op.f("ck_tenant_tree_depth")),
    )
    _index("tenant_tree", "descendant_id", "ancestor_id")
    _index("tenant_tree", "ancestor_id", "name_folded", "descendant_id")


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", Text(16), nullable=False),
        sa.Column("username", Text, nullable=False),
        sa.Column("username_folded", Text, nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("display_name_folded", Text, nullable=False),
        sa.Column("description", Text, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", Id),
        sa.Column("disabled_at", UtcDateTime),
        sa.Column("single_token", sa.Boolean(create_constraint=False)),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_users_tenant_id"),
        sa.UniqueConstraint("username_folded", name="uq_users_username_folded"),
        sa.CheckConstraint("kind IN ('human', 'service')", name=op.f("ck_users_kind")),
    )
    _index("users", "created_by")
    _index("users", "tenant_id", "kind", "id")
    _index("users", "tenant_id", "kind", "display_name_folded")
    op.create_table(
        "roles",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id),
        sa.Column("name", Text, nullable=False),
        sa.Column("name_folded", Ordered, nullable=False),
        sa.Column("description", Text, nullable=False),
        sa.Column("permissions", json_type(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_roles"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_roles_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name_folded", name="uq_roles_tenant_id_name_folded"),
    )
    built_in = sa.text("tenant_id IS NULL")
    op.create_index(
        "uq_roles_built_in",
        "roles",
        ["name_folded"],
        unique=True,
        postgresql_where=built_in,
        sqlite_where=built_in,
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("role_id", Id, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "tenant_id", "role_id", name="pk_memberships"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_memberships_tenant_id"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_memberships_role_id"),
    )
    _index("memberships", "tenant_id", "user_id")
    _index("memberships", "role_id", "tenant_id", "user_id")


def _tokens() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Ordered(22), nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("home_tenant_id", Id, nullable=False),
        sa.Column("tenant_id", Id),
        sa.Column("name", Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("pepper_version", sa.BigInteger, nullable=False),
        sa.Column("old_hash", sa.LargeBinary),
        sa.Column("old_pepper_version", sa.BigInteger),
        sa.Column("rotated_at", UtcDateTime),
        sa.Column("old_until", UtcDateTime),
        sa.Column("old_ends_on_use", sa.Boolean(create_constraint=False)),
        sa.Column("role_ids", json_type()),
        sa.Column("endpoint_ids", json_type()),
        sa.Column("networks", json_type()),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("created_by", Id),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("idle_timeout", sa.BigInteger),
        sa.Column("revoked_at", UtcDateTime),
        sa.Column("revoked_reason", Text(32)),
        sa.Column("last_used_at", UtcDateTime),
        sa.Column("last_used_from", Text(64)),
        sa.Column("use_count", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id"),
        sa.ForeignKeyConstraint(
            ["home_tenant_id"], ["tenants.id"], name="fk_api_keys_home_tenant_id"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_api_keys_tenant_id"),
    )
    _index("api_keys", "user_id", "id")
    _index("api_keys", "user_id", "name")
    _index("api_keys", "home_tenant_id", "id")
    _index("api_keys", "tenant_id")
    _index("api_keys", "created_by")
    for column in ("role_ids", "endpoint_ids"):
        listing = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_api_keys_{column}",
            "api_keys",
            [column],
            postgresql_using="gin",
            postgresql_where=listing,
            sqlite_where=listing,
        )
    op.create_table(
        "sessions",
        sa.Column("id", Id, nullable=False),
        sa.Column("key_id", Ordered(22), nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("rotated_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("end_reason", Text),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_sessions_key_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id"),
        sa.CheckConstraint("generation >= 0", name=op.f("ck_sessions_generation")),
    )
    for column in ("key_id", "user_id", "expires_at"):
        _index("sessions", column)
    op.create_table(
        "revocations",
        sa.Column("kind", Text(16), nullable=False),
        sa.Column("subject", Text(64), nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("written_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_revocations"),
        sa.CheckConstraint(
            "kind IN ('token', 'session', 'key', 'user', 'tenant')",
            name=op.f("ck_revocations_kind"),
        ),
    )
    _index("revocations", "expires_at")
    _index("revocations", "written_at")
    op.create_table(
        "signing_keys",
        sa.Column("kid", Text(64), nullable=False),
        sa.Column("algorithm", Text(16), nullable=False),
        sa.Column("slot", Text(16), nullable=False),
        sa.Column("public_jwk", json_type(), nullable=False),
        sa.Column("sealed_private", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
        sa.CheckConstraint(
            "slot IN ('next', 'current', 'retired')", name=op.f("ck_signing_keys_slot")
        ),
    )
    slots = sa.text("slot IN ('current', 'next')")
    op.create_index(
        "uq_signing_keys_slot",
        "signing_keys",
        ["algorithm", "slot"],
        unique=True,
        postgresql_where=slots,
        sqlite_where=slots,
    )


def _audit() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("outcome", Text, nullable=False),
        sa.Column("user_id", Text),
        sa.Column("key_id", Text),
        sa.Column("session_id", Text),
        sa.Column("address", Text),
        sa.Column("tenant_id", Text),
        sa.Column("target", Text),
        sa.Column("data", json_type(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    _index("audit_events", "at")
    _index("audit_events", "tenant_id", "at", "id")
    for column in ("user_id", "action", "target"):
        _index("audit_events", "tenant_id", column, "at", "id")
    # Append only. Deleting whole rows stays possible: retention is an operator's decision.
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit_events is append only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_events_append_only BEFORE UPDATE ON audit_events "
            "FOR EACH ROW EXECUTE FUNCTION audit_events_append_only()"
        )
    else:
        op.execute(
            "CREATE TRIGGER audit_events_append_only BEFORE UPDATE ON audit_events "
            "BEGIN SELECT RAISE(ABORT, 'audit_events is append only'); END"
        )


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
