"""Who did what: the records of the audit trail (promise P9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from .tokens import AccessToken

#: What can stand in JSON.
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, for the audit trail. All None: the system itself.

    `token` is the access token that they came with, if they did.
    """

    user_id: str | None = None
    key_id: str | None = None
    session_id: str | None = None
    address: str | None = None
    token: AccessToken | None = None

    @property
    def acting(self) -> str | None:
        """The user who acts for this one (RFC 8693, 4.1)."""
        actor = self.token.actor if self.token is not None else None
        return None if actor is None else actor.user_id


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened. `data` never holds a secret, a token or a key."""

    action: str
    outcome: str
    actor: Actor = Actor()
    tenant_id: str | None = None
    target: str | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    at: datetime | None = None
    id: str = ""
