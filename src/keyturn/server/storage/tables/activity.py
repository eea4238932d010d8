"""The audit trail in numbers, and how far it is counted."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table

from ..columns import Id, Text, UtcDateTime
from .base import metadata

#: How many events of which kind a tenant had in an hour. No foreign keys: as the trail, it outlives
#: what it names.
activity = Table(
    "activity",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    # When it began.
    Column("hour", UtcDateTime, primary_key=True),
    Column("kind", Text(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Index(None, "hour"),
)

#: One row: the last event that is counted in `activity`, in the order of ids; none: no event is.
activity_cursor = Table(
    "activity_cursor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event_id", Id, nullable=False),
    # Where to look from for events that are not counted.
    Column("open_since", UtcDateTime, nullable=False),
    CheckConstraint("id = 1", name="one"),
)
