"""The epoch floor, the sessions' epochs, resource servers, and when signing keys changed slots."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, Ordered, Text, UtcDateTime, json_type

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("epoch_floor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_installation"),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_one")),
    )
    op.execute("INSERT INTO installation (id, epoch_floor) VALUES (1, 0)")
    for table in ("users", "api_keys"):
        op.add_column(
            table, sa.Column("sessions_epoch", sa.BigInteger, nullable=False, server_default="0")
        )
    op.add_column("sessions", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("tenant_id", Id))
    op.add_column("sessions", sa.Column("last_used_from", Text(64)))
    for column in ("user_id", "key_id"):
        op.drop_index(f"ix_sessions_{column}", "sessions")
        _index("sessions", column, "id")
    op.add_column("tenants", sa.Column("max_delegations", sa.BigInteger))
    single = sa.text("single_token")
    op.create_index(
        "ix_tenants_single", "tenants", ["id"], postgresql_where=single, sqlite_where=single
    )
    op.create_table(
        "resource_servers",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("identifier", Ordered, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("algorithm", Text(16), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_resource_servers"),
        sa.UniqueConstraint("identifier", name="uq_resource_servers_identifier"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_resource_servers_tenant_id"
        ),
    )
    _index("resource_servers", "tenant_id", "id")
    _revocations()
    _signing_keys()


def _revocations() -> None:
    """Two kinds more."""
    kinds = "kind IN ('token', 'session', 'key', 'user', 'tenant', 'signing_key', 'everything')"
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_revocations_kind"), "revocations")
        op.create_check_constraint(op.f("ck_revocations_kind"), "revocations", kinds)
        return
    whole = sa.Table(
        "revocations",
        sa.MetaData(),
        sa.Column("kind", Text(16), nullable=False),
        sa.Column("subject", Text(64), nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("written_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_revocations"),
        sa.CheckConstraint(kinds, name=op.f("ck_revocations_kind")),
        sa.Index("ix_revocations_expires_at", "expires_at"),
        sa.Index("ix_revocations_written_at", "written_at"),
    )
    with op.batch_alter_table("revocations", copy_from=whole, recreate="always"):
        pass


def _signing_keys() -> None:
    """When a key came into its slot: until now, when it was made."""
    since = sa.Column("slot_since", UtcDateTime)
    op.add_column("signing_keys", since)
    op.execute("UPDATE signing_keys SET slot_since = created_at")
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("signing_keys", "slot_since", nullable=False)
        return
    slots = sa.text("slot IN ('current', 'next')")
    whole = sa.Table(
        "signing_keys",
        sa.MetaData(),
        sa.Column("kid", Text(64), nullable=False),
        sa.Column("algorithm", Text(16), nullable=False),
        sa.Column("slot", Text(16), nullable=False),
        sa.Column("public_jwk", json_type(), nullable=False),
        sa.Column("sealed_private", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("slot_since", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
        sa.CheckConstraint(
            "slot IN ('next', 'current', 'retired')", name=op.f("ck_signing_keys_slot")
        ),
        sa.Index("uq_signing_keys_slot", "algorithm", "slot", unique=True, sqlite_where=slots),
    )
    with op.batch_alter_table("signing_keys", copy_from=whole, recreate="always"):
        pass


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
