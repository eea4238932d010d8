"""Webhooks: addresses of a tenant that are told of events, and the deliveries to them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from .events import Event
from .ids import new_id

#: Webhooks of one tenant.
MAX_WEBHOOKS = 10
#: How long a delivery is kept, however it ended, and waits at the longest.
KEPT_FOR = timedelta(days=30)
#: How long a secret still signs beside the one that replaced it.
OVERLAP = timedelta(days=1)
#: Seconds from each try that failed to the next one. When none is left, the delivery is dead.
BACK_OFF = (5, 30, 120, 900, 3_600, 21_600, 86_400)
#: What is added to a pause at most, as a share of it: receivers that come back are not met by
#: everything at once.
JITTER = 0.2
#: How many days before its end a key is told of, and after how many without use.
EXPIRING_DAYS, UNUSED_DAYS = (30, 7, 1), 90


class Disabled(StrEnum):
    """Why a webhook is told nothing: somebody wished so, its receiver answered 410 (Gone), or the
    database was restored from a copy.
    """

    REQUEST = "request"
    GONE = "gone"
    RESTORED = "restored"


class DeliveryState(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of events of its tenant.

    `events` are their types; None: all, also those that there are not yet. The secrets are sealed;
    the old one signs, too, until `old_until`; None: it needs a new one before it is enabled.
    `checked_at`: when the tenant's keys were last looked
    through for what time alone does to them.
    """

    id: str
    tenant_id: str
    name: str
    url: str
    created_at: datetime
    secret: bytes | None = field(repr=False)
    events: tuple[str, ...] | None = None
    expiring_days: tuple[int, ...] = EXPIRING_DAYS
    unused_days: int = UNUSED_DAYS
    old_secret: bytes | None = field(default=None, repr=False)
    old_until: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: Disabled | None = None
    checked_at: datetime | None = None
    version: int = 1

    def wants(self, type_: str) -> bool:
        """Whether it is told of events of that type."""
        return self.disabled_at is None and (self.events is None or type_ in self.events)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook.

    `payload` is the body to the letter, the same at every try. `attempts` counts the tries that
    were begun; a try that another node has begun since is no longer this one's to record. `due_at`
    is when the next try is due, or when one that is under way is given up for lost. `status` and
    `error` are the latest try's; `error` is one of this code's own words.
    """

    id: str
    tenant_id: str
    webhook_id: str
    event_id: str
    type: str
    payload: str
    created_at: datetime
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    due_at: datetime | None = None
    status: int | None = None
    error: str | None = None
    ended_at: datetime | None = None

    @classmethod
    def of(cls, event: Event, webhook: Webhook, now: datetime) -> Self:
        """An event on its way, due at once."""
        return cls(
            id=new_id(),
            tenant_id=webhook.tenant_id,
            webhook_id=webhook.id,
            event_id=event.id,
            type=event.type,
            payload=event.written(),
            created_at=now,
            due_at=now,
        )


def pause_after(attempts: int, chance: float, asked: int | None = None) -> timedelta | None:
    """How long to wait after that many tries that failed; None: it is over.

    `chance`, from 0 to 1, spreads the pauses. `asked` are the seconds that the receiver asked for
    (Retry-After, RFC 9110, 10.2.3): honoured up to the longest pause that there is.
    """
    if attempts > len(BACK_OFF):
        return None
    seconds = BACK_OFF[attempts - 1] * (1 + JITTER * chance)
    return timedelta(seconds=max(seconds, min(asked or 0, BACK_OFF[-1])))
