"""What goes on in a tenant, in numbers: which events of the audit trail count as what."""

from datetime import datetime, timedelta
from enum import StrEnum

#: Steps of one answer, at most: somewhat more than a year of days.
MAX_STEPS = 400

# The action of the trail, and of its grants the one that continues a session (RFC 6749, 6).
_ISSUED, _REFRESH = "token.issued", "refresh_token"
#: What the batch writer wrote: one row may stand for many alike, and says how many.
COUNTED = (_ISSUED, "token.refused", "request.throttled")
_REFUSALS = COUNTED[1:]
_REVOCATIONS = (
    *("api_key.revoked", "api_key.leaked", "signing_key.revoked", "token.revoked"),
    *("tokens.revoked", "session.revoked", "session.ended", "session.all_ended"),
    "session.reuse_detected",
)


class ActivityKind(StrEnum):
    """What is counted. Each event of a tenant's trail is one of them."""

    EXCHANGES = "exchanges"
    REFRESHES = "refreshes"
    REFUSALS = "refusals"
    REVOCATIONS = "revocations"
    CHANGES = "changes"


class Step(StrEnum):
    """How long each count is, in UTC."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """How long one is."""
        return timedelta(hours=1) if self is Step.HOUR else timedelta(days=1)

    def begin(self, at: datetime) -> datetime:
        """When the step began that `at` is in. `at` is in UTC."""
        hour = at.hour if self is Step.HOUR else 0
        return at.replace(hour=hour, minute=0, second=0, microsecond=0)


def kind_of(action: str, grant_type: str | None) -> ActivityKind:
    """As what an event counts. What is none of the others is a change."""
    if action == _ISSUED:
        return ActivityKind.REFRESHES if grant_type == _REFRESH else ActivityKind.EXCHANGES
    if action in _REFUSALS:
        return ActivityKind.REFUSALS
    return ActivityKind.REVOCATIONS if action in _REVOCATIONS else ActivityKind.CHANGES
