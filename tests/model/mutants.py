"""Seeded bugs: each breaks one promise, and the machine must notice.

A mutant replaces one function in both nodes, while they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from keyturn.server.domain.authority import granted
from keyturn.server.domain.model import Session
from keyturn.server.domain.sessions import RefreshState
from keyturn.server.revocation.follower import Follower
from keyturn.server.revocation.lists import KeptList
from keyturn.server.revocation.redis import Link, Reading
from keyturn.server.services import refreshing
from keyturn.server.services.management.changes import Change
from keyturn.server.storage.steps import PostgresSteps


@dataclass(frozen=True)
class Mutant:
    """`what` is wrong; `seed()` seeds it, as long as its block lasts."""

    name: str
    what: str
    seed: Callable[[], AbstractContextManager[Any]]


# --- P3 ------------------------------------------------------------------------------------------


def _any_generation(session: Session, generation: int, now: datetime, grace: int) -> bool:
    young = now < session.rotated_at + timedelta(seconds=grace)
    return session.ended_at is None and generation < session.generation and young


def _for_ever(session: Session, generation: int, now: datetime, grace: int) -> bool:
    return session.ended_at is None and session.generation == generation + 1


_advance = PostgresSteps.advance
_read = Link.read
_publish = KeptList.publish


async def _advance_without_comparing(
    self: PostgresSteps, state: RefreshState, *more: Any
) -> datetime | None:
    if state.generation == 0:
        return await _advance(self, state, *more)
    row = await self._lines.fetch(
        "UPDATE sessions SET generation = $2, rotated_at = clock_timestamp() WHERE id = $1"
        " RETURNING rotated_at",
        (state.session_id, state.generation + 1),
        reads=False,
    )
    return None if row is None else row["rotated_at"]


def _no_reason(*_: object) -> str:
    return ""


def _without_ceiling(record: Any, ceiling: Any, *, tenant_id: str | None = None, scope: Any) -> Any:
    return granted(record, tenant_id=tenant_id or ceiling.tenant_id, scope=scope)


async def _reuse_without_end(*_: object) -> None:
    return None


# --- epochs --------------------------------------------------------------------------------------


def _not_reauthorised(self: Change, user_ids: object) -> None:
    return None


# --- P4 ------------------------------------------------------------------------------------------


async def _always_complete(self: Link, subjects: Sequence[Any]) -> Reading:
    return replace(await _read(self, subjects), complete=True)


async def _only_here(self: KeptList, entries: Sequence[Any]) -> None:
    self._follower.tell(entries)


async def _no_news(self: Follower) -> None:
    self._read_at = asyncio.get_running_loop().time()


MUTANTS = (
    Mutant(
        "grace ignores the generation",
        "an older refresh token is answered, too, while the session's last step is young",
        lambda: patch.object(refreshing, "is_retry", _any_generation),
    ),
    Mutant(
        "grace never ends",
        "a spent refresh token gets its successor however late",
        lambda: patch.object(refreshing, "is_retry", _for_ever),
    ),
    Mutant(
        "epoch not raised",
        "tokens from before a change of what a user may do stay good",
        lambda: patch.object(Change, "reauthorise", _not_reauthorised),
    ),
    Mutant(
        "marker not checked",
        "a Redis that was flushed is believed",
        lambda: patch.object(Link, "read", _always_complete),
    ),
    Mutant(
        "compare-and-swap dropped",
        "any generation advances the session",
        lambda: patch.object(PostgresSteps, "advance", _advance_without_comparing),
    ),
    Mutant(
        "reuse goes unpunished",
        "the session lives on",
        lambda: patch.object(refreshing.Refreshing, "_end_reused", _reuse_without_end),
    ),
    Mutant(
        "refresh does not look at key and user",
        "what was revoked or disabled is refreshed",
        lambda: patch.object(refreshing, "why_not", _no_reason),
    ),
    Mutant(
        "ceiling forgotten",
        "a refresh gives more than was first granted",
        lambda: patch.object(refreshing, "regranted", _without_ceiling),
    ),
    Mutant(
        "revocation not told to Redis",
        "the other node hears of it by its tail only",
        lambda: patch.object(KeptList, "publish", _only_here),
    ),
    Mutant(
        "tail dropped",
        "a revoker without Redis is never heard",
        lambda: patch.object(Follower, "catch_up", _no_news),
    ),
)
