"""The kind of entry that tells resource servers of a tenant's changed policy."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Text, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KINDS = (
    "kind IN ('token', 'session', 'key', 'user', 'tenant', 'signing_key', 'everything', 'policy')"
)


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_revocations_kind"), "revocations")
        op.create_check_constraint(op.f("ck_revocations_kind"), "revocations", _KINDS)
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
        sa.CheckConstraint(_KINDS, name=op.f("ck_revocations_kind")),
        sa.Index("ix_revocations_expires_at", "expires_at"),
        sa.Index("ix_revocations_written_at", "written_at"),
    )
    with op.batch_alter_table("revocations", copy_from=whole, recreate="always"):
        pass
