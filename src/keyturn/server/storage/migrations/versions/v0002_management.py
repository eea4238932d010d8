"""Passwords, invitations, the registry of permissions, the endpoint catalogue, kept answers."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, Ordered, Text, UtcDateTime, json_type

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _people()
    _catalogue()
    op.create_table(
        "kept_answers",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kept_answers"),
    )
    _index("kept_answers", "expires_at")


def _people() -> None:
    op.create_table(
        "passwords",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("hash", Text, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_passwords"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_passwords_user_id"),
    )
    op.create_table(
        "invitations",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("role_id", Id, nullable=False),
        sa.Column("email", Text, nullable=False),
        sa.Column("email_folded", Text, nullable=False),
        sa.Column("state", Text(16), nullable=False),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("created_by", Id),
        sa.Column("answered_at", UtcDateTime),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("code_hash", name="uq_invitations_code_hash"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_invitations_tenant_id"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="fk_invitations_role_id"),
        sa.CheckConstraint(
            "state IN ('pending', 'accepted', 'declined', 'withdrawn')",
            name=op.f("ck_invitations_state"),
        ),
    )
    _index("invitations", "role_id")
    _index("invitations", "expires_at")
    _index("invitations", "tenant_id", "id")
    _index("invitations", "tenant_id", "state", "id")
    _index("invitations", "email_folded", "id")
    pending = sa.text("state = 'pending'")
    op.create_index(
        "uq_invitations_pending",
        "invitations",
        ["tenant_id", "email_folded", "role_id"],
        unique=True,
        postgresql_where=pending,
        sqlite_where=pending,
    )


def _catalogue() -> None:
    op.create_table(
        "permissions",
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("name", Ordered, nullable=False),
        sa.Column("description", Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_permissions"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_permissions_tenant_id"),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant_id", Id, nullable=False),
        sa.Column("service", Text, nullable=False),
        sa.Column("method", Text(16), nullable=False),
        sa.Column("path", Text, nullable=False),
        sa.Column("shape", Ordered, nullable=False),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("opened_by", json_type(), nullable=False),
        sa.Column("deprecated", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("experimental", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("administrative", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_endpoints"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_endpoints_tenant_id"),
        sa.UniqueConstraint(
            "tenant_id",
            "service",
            "method",
            "shape",
            name="uq_endpoints_tenant_id_service_method_shape",
        ),
    )
    _index("endpoints", "tenant_id", "shape", "method", "id")
    _index("endpoints", "tenant_id", "method", "segments")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
