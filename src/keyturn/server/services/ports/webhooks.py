"""Webhooks, what is to be delivered to them, and who delivers it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ...domain.webhooks import Delivery, DeliveryState, Disabled, Webhook
from .pages import Page, Slice


class Webhooks(Protocol):
    """The addresses that tenants have told of events."""

    async def add(self, webhook: Webhook) -> None: ...

    async def get(self, tenant_id: str, webhook_id: str) -> Webhook | None: ...

    async def in_tenant(self, tenant_id: str, part: Slice) -> Page[Webhook]:
        """The tenant's own, by id. Keys: the id."""
        ...

    async def save(self, webhook: Webhook) -> Webhook:
        """Writes all but id, tenant, creation and check; gives it with its next version."""
        ...

    async def remove(self, tenant_id: str, webhook_id: str) -> None:
        """Its deliveries go with it."""
        ...

    async def disable(self, webhook_id: str, at: datetime, reason: Disabled) -> bool:
        """False when it is gone, or was disabled before."""
        ...

    async def take_unchecked(self, now: datetime, older_than: timedelta) -> Webhook | None:
        """One that is told of something, of an active tenant, whose keys were last looked through
        longer than that ago. It counts as checked from now on: no other node takes it.
        """
        ...

    async def all_after(self, webhook_id: str | None, limit: int) -> tuple[Webhook, ...]:
        """All tenants', by id: for the rotation of the master secret."""
        ...

    async def reseal(self, webhook: Webhook) -> None:
        """Writes the secrets, which are the same under another seal, unless it has changed."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """How one try ended: in a last state, or in PENDING to be tried again at `due_at`.

    `begun` is False for one that does not count.
    """

    delivery: Delivery
    state: DeliveryState
    due_at: datetime | None
    status: int | None
    error: str | None
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A webhook that something is due for, and whose it is.

    `organisation_id` is the tenant below the root that its tenant is, or stands below; the root's
    own id for the root's.
    """

    webhook_id: str
    tenant_id: str
    organisation_id: str


class Deliveries(Protocol):
    """What is to be told to webhooks. Audit rows become deliveries where they are added."""

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """What a webhook was told, or is to be told, of the same event stays as it is."""
        ...

    async def get(self, webhook_id: str, delivery_id: str) -> Delivery | None: ...

    async def of_webhook(
        self, webhook_id: str, part: Slice, *, state: DeliveryState | None = None
    ) -> Page[Delivery]:
        """The newest first. Keys: the id."""
        ...

    async def retry(
        self, webhook_id: str, at: datetime, *, delivery_id: str | None = None, at_most: int
    ) -> int:
        """Makes dead ones pending, with all their tries before them; says how many."""
        ...

    async def pending(self, webhook_id: str, at_most: int) -> int:
        """How many of a webhook are pending; `at_most` when they are more."""
        ...

    async def waiting(self, now: datetime, at_most: int) -> tuple[Waiting, ...]:
        """Webhooks that something is due for now: enabled ones, of tenants that are active.

        One of each organisation first, then a second one of each; within one, the same by tenant.
        """
        ...

    async def claim(
        self, webhook_id: str, now: datetime, *, lease: timedelta, at_most: int
    ) -> tuple[Webhook | None, tuple[Delivery, ...]]:
        """What is due for a webhook, the longest due first. It is this caller's for `lease`; after
        that it is due again. None: the webhook is gone or disabled.
        """
        ...

    async def record(self, tried: Sequence[Tried], at: datetime) -> None:
        """Writes down how tries ended, but for those that were given up for lost meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receiver answered: a status, or why there is none in one of this code's own words.

    `retry_after`: the seconds that it asked for. `begun` is False when it was not even tried, for
    want of room.
    """

    status: int | None
    error: str | None = None
    retry_after: int | None = None
    begun: bool = True


class WebhookSender(Protocol):
    """Posts to addresses that somebody else chose."""

    async def check(self, url: str, owner: str) -> None:
        """Raises Refusal `invalid_request` for an address that nothing may be sent to, Unavailable.

        Of each `owner`, a tenant's id, few are looked up at once.
        """
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, owner: str) -> Answered:
        """Never raises for what the receiver, or the way to it, does. Takes a bounded time."""
        ...


class WebhookSecrets(Protocol):
    """The secrets that deliveries are signed with."""

    def new(self, webhook_id: str) -> tuple[str, bytes]:
        """A new secret, to be shown once, and the same sealed."""
        ...

    def signature(self, webhook: Webhook, now: datetime, content: bytes) -> str | None:
        """By each secret in force (Standard Webhooks). None when no master secret opens one."""
        ...

    def resealed(self, webhook: Webhook) -> Webhook | None:
        """Under the newest master secret; None when it is so already.

        Raises StorageNotReady for a secret that no master secret in force opens.
        """
        ...
