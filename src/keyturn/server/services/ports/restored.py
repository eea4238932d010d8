"""A database restored from a copy: what must not stay, and who remembers that it was newer."""

from datetime import datetime
from typing import Protocol

from ...domain.model import Revocation


class Restored(Protocol):
    """Ends, all at once, what was revoked after the copy was made for all that it knows."""

    async def revoke_keys(self, at: datetime) -> int:
        """Revokes all API keys that were not; says how many."""
        ...

    async def end_sign_ins(self, at: datetime) -> int:
        """Ends all sign-ins to the console, which are no API keys; says how many."""
        ...

    async def forget_second_factors(self) -> int:
        """Deletes them all: one that was replaced since would be good again; says how many."""
        ...

    async def withdraw_invitations(self, at: datetime) -> int:
        """Withdraws all that wait for an answer: their codes are worth nothing then."""
        ...

    async def forget_passwords(self) -> int:
        """Deletes the hashes of all passwords."""
        ...

    async def disable_webhooks(self, at: datetime) -> int:
        """All, and drops their secrets, which may have been replaced since; says how many."""
        ...

    async def give_up_deliveries(self, at: datetime) -> int:
        """What waits for a webhook waits no more; says how many."""
        ...

    async def forget_answers(self) -> None:
        """Deletes the answers kept for repeated requests: keys' secrets stand in them."""
        ...


class Memory(Protocol):
    """Remembers, outside of the database, one event of each installation's trail."""

    async def recall(self, installation: str) -> str | None:
        """The event's id; None when none is remembered. Raises Unavailable."""
        ...

    async def keep(self, installation: str, event_id: str) -> None:
        """In the place of the one before. Raises Unavailable."""
        ...

    async def forget(self, installation: str) -> None:
        """Raises Unavailable."""
        ...

    async def entries(self) -> tuple[Revocation, ...]:
        """The revocations that it knows of, if it is one that does. Raises Unavailable."""
        ...
