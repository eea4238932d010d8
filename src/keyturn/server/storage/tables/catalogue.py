"""The permission registry, the endpoint catalogue, and answers kept for a repeated request."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
)

from ..columns import Id, Ordered, Text, UtcDateTime, json_type
from .base import metadata

permissions = Table(
    "permissions",
    metadata,
    Column("tenant_id", Id, ForeignKey("tenants.id"), primary_key=True),
    Column("name", Ordered, primary_key=True),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.id"), nullable=False),
    Column("service", Text, nullable=False),
    Column("method", Text(16), nullable=False),
    Column("path", Text, nullable=False),
    # The path without its parameters' names, and how many segments it has (domain.endpoints).
    Column("shape", Ordered, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("name", Text, nullable=False),
    # Groups of permissions: any group opens it, held wholly.
    Column("opened_by", json_type(), nullable=False),
    Column("deprecated", Boolean(create_constraint=False), nullable=False),
    Column("experimental", Boolean(create_constraint=False), nullable=False),
    Column("administrative", Boolean(create_constraint=False), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "service", "method", "shape"),
    Index(None, "tenant_id", "shape", "method", "id"),
    Index(None, "tenant_id", "method", "segments"),
)

#: What a creation answered, for a day: a caller whose answer was lost sends it again.
kept_answers = Table(
    "kept_answers",
    metadata,
    # SHA-256 of who asked, where, and the Idempotency-Key.
    Column("id", LargeBinary, primary_key=True),
    # SHA-256 of what was asked.
    Column("request", LargeBinary, nullable=False),
    # The answer, sealed: a new key's secret stands in it.
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)
