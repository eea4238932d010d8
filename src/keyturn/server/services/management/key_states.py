"""Whether a key still works, and if not, why: so that "why did my job break" has an answer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ...domain.model import ApiKey, User
from ...domain.policy import effective
from ...domain.trail import Json
from ..ports import Page, Transaction

#: Why a key was revoked, as it is stored. (Storage writes the last one: ports.Tenants.remove.)
REVOKED, OFFBOARDING, TENANT_DELETED = "revoked", "offboarding", "tenant_deleted"
LEAKED = "leaked"
#: Written by `ports.Restored`.
RESTORED = "restored"

_REVOKED: Mapping[str | None, str] = {
    REVOKED: "It was revoked.",
    OFFBOARDING: "The person who made it has left.",
    RESTORED: "The database was restored from a copy, in which it could be one that was revoked.",
    TENANT_DELETED: "The tenant that it was bound to was deleted.",
    LEAKED: "It was found where others can read it, or reported so by who has it.",
}


class KeyState(StrEnum):
    """What a key is worth now."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    IDLE = "idle"
    USER_DISABLED = "user_disabled"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as it is listed: its state, the reason for it when it is not active, and whose it is.

    `user` is None for one that has just gone.
    """

    key: ApiKey
    state: KeyState = KeyState.ACTIVE
    reason: str | None = None
    user: User | None = None


async def listed(tx: Transaction, key: ApiKey) -> ListedKey:
    """The key with its state."""
    page = await listed_page(tx, key.home_tenant_id, Page((key,)))
    return page.items[0]


async def listed_page(tx: Transaction, home_tenant_id: str, page: Page[ApiKey]) -> Page[ListedKey]:
    """Keys of one home, with their states, which agree with `KeyRecord.live`."""
    now = await tx.now()
    idle_timeout = effective(await tx.tenants.policies(home_tenant_id)).api_key_idle_timeout
    users = await tx.users.many({key.user_id for key in page.items})
    items = (
        _listed(key, users.get(key.user_id), idle_timeout=idle_timeout, now=now)
        for key in page.items
    )
    return Page(tuple(items), page.next)


def told(key: ApiKey) -> dict[str, Json]:
    """What the audit trail tells of a key: what it may do, none of its use."""
    every = asdict(key)
    names = ("name", "user_id", "tenant_id", "role_ids", "endpoint_ids", "networks", "idle_timeout")
    data: dict[str, Json] = {name: every[name] for name in names if every[name] is not None}
    if key.expires_at is not None:
        data["expires_at"] = key.expires_at.isoformat()
    return data


def _listed(
    key: ApiKey, user: User | None, *, idle_timeout: int | None, now: datetime
) -> ListedKey:
    state, why = KeyState.ACTIVE, None
    if key.revoked_at is not None:
        state, why = KeyState.REVOKED, _REVOKED.get(key.revoked_reason, _REVOKED[REVOKED])
    elif key.expires_at is not None and now >= key.expires_at:
        state, why = KeyState.EXPIRED, "Its expiry has passed."
    elif _idle(key, idle_timeout, now):
        state, why = KeyState.IDLE, "It went unused for too long."
    elif user is not None and user.disabled_at is not None:
        state, why = KeyState.USER_DISABLED, "Its user is disabled."
    return ListedKey(key, state, why, user)


def _idle(key: ApiKey, policy: int | None, now: datetime) -> bool:
    timeouts = [seconds for seconds in (key.idle_timeout, policy) if seconds is not None]
    if not timeouts:
        return False
    rotated_at = key.rotation.at if key.rotation is not None else None
    times = [at for at in (key.created_at, rotated_at, key.last_used_at) if at is not None]
    return now - max(times) > timedelta(seconds=min(timeouts))
