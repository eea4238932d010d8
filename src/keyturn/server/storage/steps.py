"""The one write of a refresh (promise P3): a session steps to its next generation, or does not.

One statement decides a race: the database lets exactly one caller change the row. A concurrent
caller waits for the winner's commit, and sees the row as it left it.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from ..domain.sessions import RefreshState
from .columns import db_now
from .store import DatabaseStore
from .tables import sessions

if TYPE_CHECKING:
    from .driver import Lines

_FIRST: dict[str, BindParameter[Any]] = {
    name: bindparam(f"{name}_")
    for name in (
        *("id", "key_id", "user_id", "generation", "expires_at"),
        *("epoch", "tenant_id", "last_used_from"),
    )
}
_NEXT = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("id_"),
        sessions.c.generation == bindparam("spent"),
        sessions.c.ended_at.is_(None),
    )
    .values(
        generation=bindparam("generation_"),
        rotated_at=db_now(),
        last_used_from=bindparam("last_used_from_"),
    )
    .returning(sessions.c.rotated_at)
)


def _first(dialect: Any) -> Any:
    """Generation 0 has no row yet: it is written as generation 1."""
    statement = dialect.insert(sessions).values(rotated_at=db_now(), **_FIRST)
    return statement.on_conflict_do_nothing().returning(sessions.c.rotated_at)


def _values(state: RefreshState, user_id: str, address: str | None) -> dict[str, Any]:
    values = {
        "id_": state.session_id,
        "generation_": state.generation + 1,
        "last_used_from_": address,
    }
    if state.generation:
        return {**values, "spent": state.generation}
    return {
        **values,
        "key_id_": state.key_id,
        "user_id_": user_id,
        "expires_at_": datetime.fromtimestamp(state.session_ends_at, UTC),
        "epoch_": state.epoch,
        "tenant_id_": state.ceiling.tenant_id,
    }


class DatabaseSteps:
    """Implements `ports.SessionSteps` for SQLite: in a transaction, as all that it writes."""

    _first = _first(sqlite)

    def __init__(self, store: DatabaseStore) -> None:
        self._store = store

    async def advance(
        self, state: RefreshState, user_id: str, address: str | None
    ) -> datetime | None:
        """See `ports.SessionSteps`."""
        statement = _NEXT if state.generation else self._first
        async with self._store.transaction() as tx:
            result = await tx.unit.run(statement, _values(state, user_id, address))
            at: datetime | None = result.scalar_one_or_none()
            return at


class PostgresSteps:
    """Implements `ports.SessionSteps` by one prepared statement, committed by itself."""

    def __init__(self, lines: "Lines") -> None:
        self._lines = lines
        self._first = _Compiled(_first(postgresql))
        self._next = _Compiled(_NEXT)

    async def advance(
        self, state: RefreshState, user_id: str, address: str | None
    ) -> datetime | None:
        """See `ports.SessionSteps`. Raises Unavailable: it may have stepped or not."""
        statement = self._next if state.generation else self._first
        values = _values(state, user_id, address)
        row = await self._lines.fetch(
            statement.text, tuple(values[name] for name in statement.names), reads=False
        )
        return None if row is None else row["rotated_at"]


class _Compiled:
    """A statement as the driver takes it: its text, and its parameters in order."""

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self.names = tuple(compiled.positiontup)
