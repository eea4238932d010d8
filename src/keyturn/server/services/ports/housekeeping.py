"""What has ended and is only in the way."""

from datetime import timedelta
from enum import StrEnum
from typing import Protocol


class Perishable(StrEnum):
    """What comes with its end, and is deleted some time after it."""

    SESSIONS = "sessions"
    REVOCATIONS = "revocations"
    INVITATIONS = "invitations"
    KEPT_ANSWERS = "kept_answers"
    WEBHOOK_DELIVERIES = "webhook_deliveries"
    SIGN_INS = "sign_ins"
    ACTIVITY = "activity"
    AUDIT_EVENTS = "audit_events"


class Housekeeping(Protocol):
    """Deletes what has ended."""

    async def lock(self) -> bool:
        """Whether this transaction may delete: while it lasts, no other one may. Never waits."""
        ...

    async def delete(self, what: Perishable, *, kept: timedelta, at_most: int) -> int:
        """Deletes what ended longer than `kept` ago, by the database's time; says how many.

        What others are at is left to the next time. Of audit events the newest that has ended
        stays.
        """
        ...
