"""Pages of a tenant with 10,000 service users and 100,000 events in its trail answer as fast as
those of a small one: compared within one run, never by a time of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Table, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.storage.store import DatabaseStore
from keyturn.server.storage.tables import (
    api_keys,
    audit_events,
    endpoints,
    memberships,
    roles,
    sessions,
    users,
)
from tests.http.conftest import Running
from tests.http.console.conftest import Console, Enter

#: How many times as long the large tenant's page may take: noise, and lists that are fuller.
RATIO = 10
ROUNDS = 5
SIZE = 10_000
#: Rows of one statement.
_AT_ONCE = 5_000
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
NOW = datetime.now(UTC)

#: What is asked for, in the words of the tenant: `{user}` is one of its service users, of many
#: sessions and keys.
PAGES = (
    *("", "?period=year"),
    *("/service-users", "/service-users?query=robot+00", "/service-users?query=nobody"),
    "/service-users?below=1",
    *("/api-keys", "/api-keys?state=active", "/api-keys?state=expired", "/api-keys?state=idle"),
    *("/api-keys?state=revoked", "/api-keys?expires=30", "/api-keys?unused=90"),
    *("/api-keys?user_id={user}", "/api-keys/new", "/api-keys/new?query=robot+00"),
    *("/members", "/members?query=robot+00", "/members?query=nobody", "/members/add"),
    *("/members/add?query=robot", "/service-users/{user}", "/service-users/{user}/delete"),
    *("/audit", "/audit?action=token.issued", "/audit?action=api_key.revoked"),
    *("/audit?action=nothing.like.that", "/audit?actor={user}", "/audit?target={user}"),
    *("/audit?since={since}", "/audit?until={until}", "/audit?since={since}&until={until}"),
    *("/audit?action=token.issued&actor={user}&since={since}", "/audit?target=nothing"),
    *("/sessions?user_id={user}", "/sessions?user_id={user}&live=1", "/sessions?query=robot+00"),
    *("/roles", "/roles/new", "/permissions", "/invitations", "/revocations?kind=everything"),
)
#: Lists that are followed to a page deep inside, and how deep.
DEEP, PAGES_DOWN = ("/audit", "/service-users", "/api-keys", "/members", "/audit?actor={user}"), 12


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both: each plans its own way."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def engine_of(service: Running) -> AsyncEngine:
    """What statements go to that no repository makes."""
    store = service.service.parts.store
    assert isinstance(store, DatabaseStore)
    return store._engine


class Filling:
    """What is put into a tenant, table by table."""

    def __init__(self, service: Running, tenant: str, size: int) -> None:
        self._service, self._tenant, self._size = service, tenant, size
        self.people = [new_id() for _ in range(size)]
        self._tag = tenant[-12:]

    async def all(self) -> str:
        """Fills it. Gives the id of a user who has much."""
        size, tag = self._size, self._tag
        await self._put(users, (self._user(n, user_id) for n, user_id in enumerate(self.people)))
        await self._put(memberships, (self._member(user_id) for user_id in self.people))
        busy = self.people[size // 2]
        keys = [key_id(f"{tag}{n}") for n in range(size)]
        await self._put(api_keys, (self._key(n, k) for n, k in enumerate(keys)))
        await self._put(sessions, (self._session(n, keys[size // 2], busy) for n in range(size)))
        await self._put(audit_events, (self._event(n, busy) for n in range(size * 10)))
        await self._put(roles, (self._role(n) for n in range(min(size, 300))))
        await self._put(endpoints, (self._endpoint(n) for n in range(min(size, 1_000))))
        return busy

    async def _put(self, table: Table, rows: Iterator[dict[str, Any]]) -> None:
        waiting = list(rows)
        async with engine_of(self._service).begin() as connection:
            for start in range(0, len(waiting), _AT_ONCE):
                await connection.execute(insert(table), waiting[start : start + _AT_ONCE])

    def _user(self, number: int, user_id: str) -> dict[str, Any]:
        name = f"robot {number:05}"
        return {
            "id": user_id,
            "kind": "service",
            "username": f"{number}-{self._tag}@services.example",
            "username_folded": f"{number}-{self._tag}@services.example",
            "display_name": name,
            "display_name_folded": name,
            "description": "One of many.",
            "tenant_id": self._tenant,
            "epoch": 1,
            "created_at": NOW,
            "version": 1,
        }

    def _member(self, user_id: str) -> dict[str, Any]:
        given = {"user_id": user_id, "tenant_id": self._tenant, "created_at": NOW}
        return {**given, "role_id": VIEWER.id}

    def _key(self, number: int, its_id: str) -> dict[str, Any]:
        # One in a hundred has ended in each way; every fourth is at home with one user.
        ended = number % 100
        middle = self._size // 2
        return {
            "id": its_id,
            "user_id": self.people[middle if number % 4 == 0 else number],
            "home_tenant_id": self._tenant,
            "name": f"key {number}",
            "hash": f"hash {self._tag} {number}".encode(),
            "pepper_version": 1,
            "created_at": NOW - timedelta(days=200),
            "expires_at": NOW + timedelta(days=-1 if ended == 1 else 1 + number % 700),
            "idle_timeout": 86_400 if ended == 2 else None,
            "revoked_at": NOW if ended == 3 else None,
            "revoked_reason": "revoked" if ended == 3 else None,
            "last_used_at": NOW - timedelta(days=number % 180),
            "use_count": number,
            "version": 1,
        }

    def _session(self, number: int, its_key: str, user_id: str) -> dict[str, Any]:
        return {
            "id": new_id(),
            "key_id": its_key,
            "user_id": user_id,
            "generation": 1,
            "rotated_at": NOW,
            "expires_at": NOW + timedelta(days=1),
            "ended_at": NOW if number % 10 else None,
            "end_reason": "signed out" if number % 10 else None,
        }

    def _event(self, number: int, busy: str) -> dict[str, Any]:
        at = NOW - timedelta(minutes=number)
        return {
            "id": id_of(at),
            "at": at,
            "action": "api_key.revoked" if number % 1_000 == 0 else "token.issued",
            "outcome": "granted",
            "user_id": busy if number % 10 == 0 else self.people[number % self._size],
            "address": "192.0.2.1",
            "tenant_id": self._tenant,
            "target": busy if number % 20 == 0 else self.people[number % self._size],
            "data": {"count": 1, "grant_type": "password"},
        }

    def _role(self, number: int) -> dict[str, Any]:
        name = f"role {number:04}"
        told = {"name": name, "name_folded": name, "description": "One of many."}
        return {
            **told,
            "id": new_id(),
            "tenant_id": self._tenant,
            "permissions": ["users:read"],
            "version": 1,
        }

    def _endpoint(self, number: int) -> dict[str, Any]:
        return {
            "id": new_id(),
            "tenant_id": self._tenant,
            "service": "fleet",
            "method": "GET",
            "path": f"/hosts/{number}",
            "shape": f"/hosts/{number}",
            "segments": 2,
            "name": f"host {number}",
            "opened_by": [["users:read"]],
            "deprecated": False,
            "experimental": False,
            "administrative": False,
            "created_at": NOW,
            "updated_at": NOW,
            "version": 1,
        }


def id_of(at: datetime) -> str:
    """As the service makes them (UUIDv7): the time, and what is random."""
    text = f"{int(at.timestamp() * 1000):012x}{new_id().replace('-', '')[12:]}"
    return str(UUID(text))


def key_id(seed: str) -> str:
    """22 letters, in no order."""
    number = hash(seed) % 36**22
    return "".join(_ALPHABET[(number * 7 + abs(hash(f"{seed}{i}"))) % 36] for i in range(22))


async def followed(console: Console, path: str) -> str:
    """The page so many pages down a list, or its last one."""
    for _ in range(PAGES_DOWN):
        page = await console.page(path)
        found = re.search(r'rel="next" href="([^"]+)"|href="([^"]+)" rel="next"', page)
        if found is None:
            break
        path = (found[1] or found[2]).replace("&amp;", "&")
    return path


async def timed(console: Console, path: str) -> float:
    begin = perf_counter()
    answer = await console.get(path)
    taken = perf_counter() - begin
    assert answer.status_code == 200, (path, answer.text[:500])
    return taken


class TestPages:
    async def test_take_as_long_as_those_of_a_small_tenant(
        self, service: Running, enter: Enter, record_property: Any
    ) -> None:
        large, small = await enter(), await enter(tenant=service.globex)
        people = [
            await Filling(service, service.acme, SIZE).all(),
            await Filling(service, service.globex, 60).all(),
        ]
        # What is older than minutes has been added up, as the service does all the time.
        while True:
            async with service.service.parts.store.transaction() as tx:
                if await tx.activity.roll_up(_AT_ONCE) < _AT_ONCE:
                    break
        async with engine_of(service).begin() as connection:
            await connection.execute(text("ANALYZE"))
        times = {
            "since": (NOW - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M"),
            "until": (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M"),
        }

        def asked(path: str) -> tuple[str, str]:
            one, other = (path.format(user=user, **times) for user in people)
            return one, other

        pairs = [asked(path) for path in PAGES]
        deep = [asked(path) for path in DEEP]
        pairs += [(await followed(large, one), other) for one, other in deep]
        slow: dict[str, tuple[float, float]] = {}
        for (one, other), name in zip(pairs, [*PAGES, *(f"deep {p}" for p in DEEP)], strict=True):
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                taken[0].append(await timed(large, one))
                taken[1].append(await timed(small, other))
            of_large, of_small = median(taken[0]), median(taken[1])
            record_property(name, f"{of_large * 1000:.1f} / {of_small * 1000:.1f} ms")
            print(f"{name:60} {of_large * 1000:8.1f} {of_small * 1000:8.1f}")
            if of_large > RATIO * of_small:
                slow[name] = (of_large, of_small)
        assert slow == {}, "page: (seconds of the large tenant, of the small one)"
