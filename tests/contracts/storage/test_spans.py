"""Statements in a trace: each is named by its kind and table, and naming one breaks none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import pytest
from sqlalchemy import func, literal, select, union_all

from keyturn.server import spans
from keyturn.server.parts import open_parts
from keyturn.server.services.bootstrap import make_demo
from keyturn.server.services.housekeeping import KEPT, Housekeeper
from keyturn.server.services.ports import AuditFilter, Perishable, Slice
from keyturn.server.settings import Settings
from keyturn.server.storage.columns import db_now
from keyturn.server.storage.tables import roles, users
from tests.live_server import new_master_secret


class Recorded:
    """A request that is traced (`spans.Span`)."""

    trace_id = "0" * 32

    def __init__(self) -> None:
        self.names: list[str] = []

    def child(
        self, name: str, attributes: Mapping[str, str], *, outward: bool
    ) -> AbstractContextManager[None]:
        self.names.append(name)
        return nullcontext()

    def end(self, route: str, status: int) -> None:
        raise AssertionError


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    request = Recorded()
    token = spans.current.set(request)
    yield request
    spans.current.reset(token)


async def test_whatever_is_asked(database_url: str, recorded: Recorded) -> None:
    settings = Settings(database_url=database_url, master_secret=new_master_secret())
    async with open_parts(settings) as parts:
        made = await make_demo(parts.store, parts.key_format)
        keeper = Housekeeper(parts.store, {**KEPT, Perishable.AUDIT_EVENTS: timedelta(days=1)})
        await keeper.tidy()
        async with parts.store.transaction() as tx:
            await tx.now()
            await tx.tenants.below(made.tenants[0].id)
            await tx.audit.events(made.tenants[0].id, AuditFilter(), Slice(10, None))
            await tx.revocations.tail(None)
    assert {"database INSERT users", "database SELECT tenants", "database COMMIT"} <= {
        *recorded.names
    }
    assert not any(made.user.username in name for name in recorded.names)


async def test_names(database_url: str, recorded: Recorded) -> None:
    settings = Settings(database_url=database_url, master_secret=new_master_secret())
    cte = select(users.c.id).cte("chosen")
    async with open_parts(settings) as parts, parts.store.transaction() as tx:
        unit = tx.unit  # type: ignore[attr-defined]
        recorded.names.clear()
        for statement in (
            select(db_now()),
            select(users.c.id).where(users.c.created_at < db_now()),
            select(func.count()).select_from(roles.join(users, literal(True))),
            select(cte.c.id),
            union_all(select(users.c.id), select(roles.c.id)),
        ):
            await unit.run(statement)
    assert recorded.names == [
        "database SELECT",
        "database SELECT users",
        "database SELECT",
        "database SELECT",
        "database COMPOUND_SELECT",
        "database COMMIT",
    ]
