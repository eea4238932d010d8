"""How a database goes about the statements of a repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection, event

from keyturn.server.storage import Storage
from keyturn.server.storage.store import DatabaseTransaction

# PostgreSQL reads small tables from end to end; whether an index would do is the question here.
_SETTINGS = ("enable_seqscan", "enable_bitmapscan")


async def plan(
    storage: Storage,
    work: Callable[[DatabaseTransaction], Awaitable[object]],
    *,
    bitmaps: bool = False,
) -> str:
    """The plan of the last statement that `work` makes. `bitmaps`: a GIN index needs them."""
    seen: list[tuple[str, Any]] = []

    def note(_1: object, _2: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, parameters))

    def explain(connection: Connection) -> str:
        postgres = connection.dialect.name == "postgresql"
        if postgres:
            for setting in _SETTINGS:
                if not (bitmaps and setting == "enable_bitmapscan"):
                    connection.exec_driver_sql(f"SET LOCAL {setting} = off")
        statement, parameters = seen[-1]
        prefix = "EXPLAIN" if postgres else "EXPLAIN QUERY PLAN"
        rows = connection.exec_driver_sql(f"{prefix} {statement}", tuple(parameters))
        return "\n".join(str(row[-1]) for row in rows)

    engine = storage.store._engine
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        async with storage.store.transaction() as transaction:
            await work(transaction)
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
    async with engine.connect() as connection:
        return await connection.run_sync(explain)
