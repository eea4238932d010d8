"""The console: people's sign-ins, which are keys of their own kind, and second factors."""

import sqlalchemy as sa
from alembic import op

from keyturn.server.storage.columns import Id, UtcDateTime, json_type

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_keys",
        sa.Column("for_console", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    # Of no row yet: made in a moment, and old nodes go on by it.
    op.create_index(
        "ix_api_keys_console",
        "api_keys",
        ["expires_at"],
        postgresql_where=sa.text("for_console"),
        sqlite_where=sa.text("for_console = 1"),
    )
    op.create_table(
        "second_factors",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("confirmed_at", UtcDateTime, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("recovery", json_type(), nullable=False),
        sa.Column("wrong", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_second_factors"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_second_factors_user_id", ondelete="CASCADE"
        ),
    )
