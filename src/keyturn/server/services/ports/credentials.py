"""API keys, sessions and signing keys at rest, and the hot path's one read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ...domain.model import (
    ApiKey,
    KeyHash,
    KeyRecord,
    Rotation,
    Session,
    StoredSigningKey,
)
from ...domain.sessions import RefreshState
from .pages import Page, Slice


class KeyLookup(Protocol):
    """The hot path's one read: one prepared statement, outside of any transaction."""

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """The key with its user and the user's effective roles; None when there is none.

        `tenants` restricts the roles to these tenants (None: all); else they come in the
        order of their tenant ids, beginning behind `after`, from at most `limit` tenants.
        `more_tenants` is set when there are more. Revoked and expired keys are found, too.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a batch of uses did to one key.

    `rehash` moves it to the newest pepper. `ends_old`: the new secret of a rotated key was
    used, which ends the old one if the rotation said so.
    """

    key_id: str
    count: int
    at: datetime
    address: str | None
    rehash: KeyHash | None = None
    ends_old: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """What says whether a key's tokens are good: of the key, and of its user."""

    epoch: int
    disabled_at: datetime | None
    revoked_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys: of one user; revoked, or expired and not revoked, or neither; that expire before
    a time, or have not been made, rotated or used since one.
    """

    user_id: str | None = None
    revoked: bool | None = None
    expired: bool | None = None
    expires_before: datetime | None = None
    unused_since: datetime | None = None


#: All of them.
ALL_KEYS = KeyFilter()


class ApiKeys(Protocol):
    """API keys. Their hashes go in and never come out but by the lookup.

    Sign-ins to the console (`SignIns`) are none, but for `of_caller`, `hold`, `revoke` and
    `note_uses`.
    """

    async def add(self, key: ApiKey, key_hash: KeyHash) -> None: ...

    async def get(self, key_id: str) -> ApiKey | None: ...

    async def of_caller(self, key_id: str) -> ApiKey | None:
        """The key that a call came with: a sign-in to the console, too."""
        ...

    async def many(self, key_ids: Collection[str]) -> tuple[ApiKey, ...]:
        """Those that there are."""
        ...

    async def end_sessions(self, key_id: str, epoch: int) -> None:
        """No session of the key that began in an epoch of its user before this one goes on."""
        ...

    async def hold(self, key_id: str) -> Holding | None:
        """What is true of a key, and stays so until this transaction ends; None: it is gone."""
        ...

    async def at_home(
        self, tenant_id: str, part: Slice, wanted: KeyFilter = ALL_KEYS
    ) -> Page[ApiKey]:
        """The keys whose home the tenant is, by id. Keys: the id.

        Those that expire before a time, the soonest first. Keys: the time (ISO 8601) and the id.
        """
        ...

    async def of_user(
        self, user_id: str, part: Slice, *, newest_first: bool = False
    ) -> Page[ApiKey]:
        """A user's keys, by id. Keys: the id."""
        ...

    async def made_by(self, user_id: str, tenant_id: str) -> tuple[ApiKey, ...]:
        """Live keys of others, at home in the tenant or below, that this user made."""
        ...

    async def count_at_home(self, tenant_id: str, now: datetime, at_most: int) -> int:
        """How many can be used still, counted up to `at_most`."""
        ...

    async def count_of_user(self, user_id: str, now: datetime, at_most: int) -> int:
        """How many of the user's can be used still, counted up to `at_most`."""
        ...

    async def name_taken(self, user_id: str, name: str, now: datetime) -> bool:
        """Whether a key of that user that is neither revoked nor expired has the name."""
        ...

    async def save(self, key: ApiKey) -> ApiKey:
        """Writes name and narrowing; gives the key with its next version."""
        ...

    async def rotate(self, key_id: str, key_hash: KeyHash, rotation: Rotation) -> None:
        """Makes the present secret the old one, and `key_hash` the present one's."""
        ...

    async def revoke(self, key_id: str, at: datetime, reason: str) -> bool:
        """False when there is no such key or it was revoked before."""
        ...

    async def note_uses(self, uses: Sequence[KeyUse]) -> frozenset[str]:
        """Adds counts, keeps the latest time and its address, ends old secrets.

        Never waits for who else is at a key: gives the ids of those, for another time.
        """
        ...


class SessionSteps(Protocol):
    """The one write of a refresh, outside of any transaction."""

    async def advance(
        self, state: RefreshState, user_id: str, address: str | None
    ) -> datetime | None:
        """Spends `state.generation`: one conditional statement, one winner.

        Generation 0 writes the row (generation 1); later ones step it from n to n+1 if it
        stands at n and has not ended. Gives when, by the database's time: to the microsecond on
        PostgreSQL, to the millisecond on SQLite. None: somebody else did, or the session has
        ended, or there is no such row. `address` is where the refresh came from.
        """
        ...


class Sessions(Protocol):
    """Rows of sessions that were refreshed or ended; a fresh session has none."""

    async def get(self, session_id: str) -> Session | None: ...

    async def end(self, session: Session, reason: str) -> bool:
        """Ends the session, writing its row if it has none (its first refresh is then lost).

        `session.ended_at` is ignored: the database's time is taken. False when it had ended.
        """
        ...

    async def of_user(
        self, user_id: str, part: Slice, *, refreshed_since: datetime | None = None
    ) -> Page[Session]:
        """A user's sessions, the latest begun first. Keys: the id.

        With `refreshed_since`, those alone that were refreshed since then, have not ended, and
        were not superseded with all of their user's. (What became of their keys is not asked.)
        """
        ...

    async def of_key(
        self, key_id: str, part: Slice, *, refreshed_since: datetime | None = None
    ) -> Page[Session]:
        """A key's, as `of_user`."""
        ...


@dataclass(frozen=True, slots=True)
class UnmovedKey:
    """An API key with a hash under a master secret that is to go, and whose it is."""

    id: str
    username: str
    last_used_at: datetime | None


class Seals(Protocol):
    """What was hashed or sealed under other master secrets than those of the given versions."""

    async def keys_outside(self, versions: Collection[int], now: datetime) -> int:
        """How many API keys that can be used still."""
        ...

    async def some_keys_outside(
        self, versions: Collection[int], now: datetime, limit: int
    ) -> Sequence[UnmovedKey]:
        """The oldest of them."""
        ...

    async def answers_outside(self, versions: Collection[int], now: datetime) -> int:
        """How many kept answers that count still."""
        ...


class SigningKeys(Protocol):
    """Signing keys, the private part sealed."""

    async def hold(self) -> None:
        """Until this transaction ends, whoever else wants to change the keys waits."""
        ...

    async def all(self) -> tuple[StoredSigningKey, ...]:
        """The oldest first."""
        ...

    async def add(self, key: StoredSigningKey) -> bool:
        """False when there is that key, or its slot of that algorithm is taken."""
        ...

    async def move(self, kid: str, slot: str, at: datetime) -> None:
        """Brings a key into another slot, which must be free."""
        ...

    async def remove(self, kid: str) -> None: ...

    async def reseal(self, kid: str, sealed_private: bytes) -> None:
        """The same key, sealed anew."""
        ...
