"""The audit trail in numbers: counted up by the hour, but for its last minutes.

Events are counted in the order of their ids, which have the time at which they were written: what
happened long ago and was written late (the database was away) adds to its hour all the same. So
nothing is written with an event, and none is counted twice.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    case,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..domain.activity import COUNTED, ActivityKind, Step, kind_of
from ..domain.ids import least_id, made_at
from .columns import Id, UtcDateTime, db_now, greater
from .tables import activity, activity_cursor, audit_events
from .unit import Unit

# Older ids come no more: a transaction ends within seconds, and a node whose clock is so far behind
# gives tokens that are over when they come.
_SETTLED = timedelta(minutes=5)
# Of what is not counted up, what happened longer before is left until it is: to find it, all that a
# tenant ever did would have to be read.
_LATE = timedelta(hours=1)
_NIL = "00000000-0000-0000-0000-000000000000"


class _step_of(FunctionElement[datetime]):  # noqa: N801 - reads like the SQL function it is
    """When the step began that a time is in, in UTC."""

    type = UtcDateTime()
    inherit_cache = True


class _hour_of(_step_of):  # noqa: N801
    inherit_cache = True
    unit, letters, rest = "hour", 13, ":00:00.000000"


class _day_of(_step_of):  # noqa: N801
    inherit_cache = True
    unit, letters, rest = "day", 10, " 00:00:00.000000"


@compiles(_hour_of, "postgresql")
@compiles(_day_of, "postgresql")
def _postgres(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    return f"date_trunc('{element.unit}', {compiler.process(element.clauses, **kw)}, 'UTC')"


@compiles(_hour_of, "sqlite")
@compiles(_day_of, "sqlite")
def _sqlite(element: Any, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return f"(substr({text}, 1, {element.letters}) || '{element.rest}')"


_STEPS: Mapping[Step, type[_step_of]] = {Step.HOUR: _hour_of, Step.DAY: _day_of}

_GRANT_TYPE = audit_events.c.data["grant_type"].as_string()
_TIMES: ColumnElement[int] = func.sum(
    case(
        (audit_events.c.action.in_(COUNTED), audit_events.c.data["count"].as_integer()),
        else_=1,
    )
)
_COUNTED_UP = func.coalesce(select(activity_cursor.c.event_id).scalar_subquery(), literal(_NIL, Id))


class ActivityRepository:
    """Implements `ports.Activity`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def roll_up(self, at_most: int) -> int:
        """Along the primary key of the trail."""
        now: datetime = (await self._unit.run(select(db_now()))).scalar_one()
        found = (await self._unit.run(select(activity_cursor.c.event_id))).scalar()
        after, id_ = found or _NIL, audit_events.c.id
        some = (
            select(id_)
            .where(id_ > after, id_ < least_id(now - _SETTLED))
            .order_by(id_)
            .limit(at_most)
            .subquery()
        )
        ended = select(some.c.id, func.count().over().label("times"))
        last = (await self._unit.run(ended.order_by(some.c.id.desc()).limit(1))).first()
        if last is None:
            return 0
        await self._add(await self._counted(after, last.id))
        row = {"event_id": last.id, "open_since": made_at(last.id) - _LATE}
        statement = self._unit.insert(activity_cursor).values(id=1, **row)
        await self._unit.run(
            statement.on_conflict_do_update(index_elements=[activity_cursor.c.id], set_=row)
        )
        return int(last.times)

    async def counts(
        self, tenant_id: str, since: datetime, until: datetime, step: Step
    ) -> Mapping[tuple[datetime, ActivityKind], int]:
        """In one statement, so that nothing is counted up in between."""
        began = _STEPS[step]
        rolled = (
            select(
                began(activity.c.hour).label("began"),
                activity.c.kind,
                null().cast(String).label("action"),
                null().cast(String).label("grant_type"),
                func.sum(activity.c.count).label("times"),
            )
            .where(
                activity.c.tenant_id == tenant_id,
                activity.c.hour >= since,
                activity.c.hour < until,
            )
            .group_by("began", activity.c.kind)
        )
        open_since = func.coalesce(
            select(activity_cursor.c.open_since).scalar_subquery(), literal(since, UtcDateTime)
        )
        open_ = _grouped(began, null().cast(String).label("kind")).where(
            and_(
                audit_events.c.tenant_id == tenant_id,
                audit_events.c.at >= greater(open_since, literal(since, UtcDateTime)),
                audit_events.c.at < until,
                audit_events.c.id > _COUNTED_UP,
            )
        )
        counts: Counter[tuple[datetime, ActivityKind]] = Counter()
        for row in await self._unit.run(union_all(rolled, open_)):
            kind = ActivityKind(row.kind) if row.kind else kind_of(row.action, row.grant_type)
            counts[row.began, kind] += int(row.times)
        return counts

    async def _counted(self, after: str, last: str) -> Counter[tuple[str, datetime, str]]:
        statement = (
            _grouped(_hour_of, audit_events.c.tenant_id)
            .where(
                audit_events.c.id > after,
                audit_events.c.id <= last,
                audit_events.c.tenant_id.is_not(None),
            )
            .group_by(audit_events.c.tenant_id)
        )
        counts: Counter[tuple[str, datetime, str]] = Counter()
        for row in await self._unit.run(statement):
            kind = kind_of(row.action, row.grant_type).value
            counts[row.tenant_id, row.began, kind] += int(row.times)
        return counts

    async def _add(self, counts: Counter[tuple[str, datetime, str]]) -> None:
        rows = [
            {"tenant_id": tenant_id, "hour": hour, "kind": kind, "count": count}
            for (tenant_id, hour, kind), count in sorted(counts.items())
        ]
        if rows:
            statement = self._unit.insert(activity)
            more = activity.c.count + statement.excluded.count
            await self._unit.run(
                statement.on_conflict_do_update(
                    index_elements=activity.primary_key.columns, set_={"count": more}
                ),
                rows,
            )


def _grouped(began: type[_step_of], first: ColumnElement[Any]) -> Select[Any]:
    """Events by step, action and grant type, and how many there were of each.

    By the names of what is selected: its parameters would be others, to PostgreSQL, where it is
    said again.
    """
    return select(
        began(audit_events.c.at).label("began"),
        first,
        audit_events.c.action,
        _GRANT_TYPE.label("grant_type"),
        _TIMES.label("times"),
    ).group_by("began", audit_events.c.action, "grant_type")
