"""How PostgreSQL goes about the very statements of the repositories: what they read, and how much.

On connections as old as a service's are: the first times PostgreSQL plans a statement for the
parameters it has; from the sixth time on it may keep one plan for all, made without knowing any.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import event

from keyturn.server.storage import Storage
from tests.scale.shape import GROWING

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

#: After so many times PostgreSQL considers a plan that fits all parameters.
_PLANNED_EACH = 5


@dataclass(frozen=True)
class Statement:
    """As the driver was given it: by which read, and for what."""

    name: str
    how: str
    text: str
    parameters: tuple[object, ...]


@dataclass(frozen=True)
class Plan:
    """A statement's plan, and what it cost to carry out."""

    statement: Statement
    root: Mapping[str, Any]

    @property
    def blocks(self) -> int:
        """How many blocks (8 KiB) were read, in memory or from the disk, repeated reads too."""
        return int(self.root["Shared Hit Blocks"] + self.root["Shared Read Blocks"])

    @property
    def read_whole(self) -> list[str]:
        """The growing tables that are read from end to end."""
        return [
            str(node["Relation Name"])
            for _, node in _walk(self.root)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
        ]

    def __str__(self) -> str:
        steps = "\n".join(_line(depth, node) for depth, node in _walk(self.root))
        return f"{self.statement.name}, {self.statement.how}:\n{steps}\nof {self.statement.text}\n"


@contextmanager
def captured(storage: Storage) -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    """The statements that the store's transactions make meanwhile, with their parameters."""
    seen: list[tuple[str, tuple[object, ...]]] = []

    def note(_1: object, _2: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, tuple(parameters)))

    engine = storage.store._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def plans(connection: Connection, statements: Sequence[Statement]) -> list[Plan]:
    """Each statement's plan on that connection.

    Those of one text are one prepared statement; it is used for the first's parameters before.
    """
    by_text: dict[str, list[Statement]] = {}
    for statement in statements:
        by_text.setdefault(statement.text, []).append(statement)
    found = []
    for text, group in by_text.items():
        await connection.execute(f"PREPARE asked AS {text}")
        for _ in range(_PLANNED_EACH):
            await connection.execute(_execute(group[0]))
        for statement in group:
            found.append(Plan(statement, await _explain(connection, statement)))
        await connection.execute("DEALLOCATE asked")
    return found


async def _explain(connection: Connection, statement: Statement) -> Mapping[str, Any]:
    said = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {_execute(statement)}"
    )
    # As SQLAlchemy sets its connections up, or as they come.
    root: Mapping[str, Any] = (json.loads(said) if isinstance(said, str) else said)[0]["Plan"]
    return root


def _execute(statement: Statement) -> str:
    values = ", ".join(map(_literal, statement.parameters))
    return f"EXECUTE asked({values})" if values else "EXECUTE asked"


def _literal(value: object) -> str:
    """In SQL; PREPARE knows its type."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"


def _walk(node: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield depth, node
    for child in node.get("Plans", ()):
        yield from _walk(child, depth + 1)


def _line(depth: int, node: Mapping[str, Any]) -> str:
    words = [node["Node Type"]]
    words += [str(node[name]) for name in ("Relation Name", "Index Name") if name in node]
    blocks = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    rows = f"(rows {node['Actual Rows']} × {node['Actual Loops']}, blocks {blocks})"
    conditions = [
        f"{name}: {node[name]}"
        for name in ("Index Cond", "Recheck Cond", "Filter", "Rows Removed by Filter")
        if name in node
    ]
    return "  " * depth + " ".join([*words, rows, *conditions])
