"""The hot path's one read on SQLite: a few indexed reads in one snapshot.

They run on the event loop's own thread. Under WAL a reader never waits for the writer, and
all of it takes a fraction of a millisecond, like a hop to another thread and back.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from ..domain.model import KeyRecord, Role
from ..spans import span
from .faults import translated
from .lookup import Asked, Held, KeyRow, check, record
from .urls import SqliteFile

_SYSTEM = {"db.system.name": "sqlite"}

# Only a recovery after a crash makes a reader wait, and it blocks the event loop: seconds.
_BUSY_SECONDS = 0.2

_FIND = """
    SELECT k.id, k.hash, k.pepper_version, k.expires_at, k.revoked_at, k.tenant_id,
           u.id, u.username, u.kind, u.disabled_at, max(u.epoch, everybody.epoch_floor),
           u.tenant_id,
           k.old_hash, k.old_pepper_version, k.old_until, k.old_ends_on_use,
           k.networks, k.endpoint_ids,
           (SELECT json_group_array(json(e.opened_by))
            FROM json_each(k.endpoint_ids) AS listed CROSS JOIN endpoints e ON e.id = listed.value
            CROSS JOIN tenant_tree home
            ON home.ancestor_id = e.tenant_id AND home.descendant_id = u.tenant_id
            WHERE NOT e.administrative),
           max(k.created_at, coalesce(k.rotated_at, ''), coalesce(k.last_used_at, '')),
           (SELECT min(seconds) FROM (
                SELECT k.idle_timeout AS seconds
                UNION ALL
                SELECT above.api_key_idle_timeout
                FROM tenant_tree up CROSS JOIN tenants above ON above.id = up.ancestor_id
                WHERE up.descendant_id = u.tenant_id
                  AND above.api_key_idle_timeout IS NOT NULL)),
           max(u.sessions_epoch, k.sessions_epoch, everybody.epoch_floor),
           coalesce(u.single_token, 0) OR EXISTS (
               SELECT 1 FROM tenant_tree up CROSS JOIN tenants above ON above.id = up.ancestor_id
               WHERE up.descendant_id = u.tenant_id AND above.single_token),
           k.for_console,
           k.role_ids
    FROM api_keys k JOIN users u ON u.id = k.user_id
    JOIN installation everybody ON everybody.id = 1
    WHERE k.id = ?
"""
_MEMBERSHIPS = """
    SELECT m.tenant_id, r.id, r.name, r.permissions, r.tenant_id
    FROM memberships m JOIN roles r ON r.id = m.role_id
    WHERE m.user_id = ?
"""
_ACTIVE = """
    NOT EXISTS (
        SELECT 1 FROM tenant_tree up JOIN tenants above ON above.id = up.ancestor_id
        WHERE up.descendant_id = tree.descendant_id AND above.suspended_at IS NOT NULL)
"""
# CROSS JOIN is SQLite's way to fix a join's order, whatever its statistics say.
_WALK = f"""
    SELECT tree.descendant_id FROM tenant_tree tree
    WHERE tree.ancestor_id = ? AND tree.descendant_id > ? AND {_ACTIVE}
    ORDER BY tree.descendant_id LIMIT ?
"""  # noqa: S608 - put together from constants
_REACHED = f"""
    SELECT t.id, t.name, tree.ancestor_id
    FROM json_each(?) AS wanted
    CROSS JOIN tenants t ON t.id = wanted.value
    CROSS JOIN tenant_tree tree ON tree.descendant_id = t.id
    WHERE {_ACTIVE}
"""  # noqa: S608 - put together from constants

# The columns of _FIND, but for the last one, and which of them are times.
_KEY_COLUMNS = [field.name for field in fields(KeyRow)]
_TIMES = ("expires_at", "revoked_at", "user_disabled_at", "old_until", "idle_since")


class SqliteLookup:
    """Implements `ports.KeyLookup` with a connection of its own, which cannot write."""

    def __init__(self, file: SqliteFile) -> None:
        with translated():
            self._connection = sqlite3.connect(
                file.uri("ro"),
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """See `ports.KeyLookup`."""
        asked = check(key_id, tenants, after, limit)
        if asked is None:
            return None
        with span("database lookup", _SYSTEM), translated():
            # One snapshot for all reads; ended at once, for it keeps the WAL from shrinking.
            self._connection.execute("BEGIN")
            try:
                return self._find(asked)
            finally:
                self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _find(self, asked: Asked) -> KeyRecord | None:
        found = self._connection.execute(_FIND, (asked.key_id,)).fetchone()
        if found is None:
            return None
        *columns, narrowed = found
        row = _key_row(columns)
        kept = None if narrowed is None else frozenset(json.loads(narrowed))
        held: dict[str, list[Role]] = {}
        roles: dict[str, Role] = {}
        for top, role_id, name, permissions, owner in self._connection.execute(
            _MEMBERSHIPS, (row.user_id,)
        ):
            if kept is None or role_id in kept:
                role = Role(role_id, name, frozenset(json.loads(permissions)), owner)
                roles[role_id] = role
                held.setdefault(top, []).append(role)
        wanted = json.dumps(self._wanted(asked, row.tenant_id, held))
        pairs: list[Held] = [
            (tenant_id, name, role.id)
            for tenant_id, name, above in self._connection.execute(_REACHED, (wanted,))
            for role in held.get(above, ())
        ]
        return record(asked, row, pairs, roles.values())

    def _wanted(self, asked: Asked, bound: str | None, tops: Iterable[str]) -> list[str]:
        """The tenants to look at: those named, the key's own, or one more than a page."""
        if bound is not None:
            named = asked.tenants is None or bound in asked.tenants
            return [bound] if named and bound > asked.after else []
        if asked.tenants is not None:
            return asked.tenants
        reached: set[str] = set()
        for top in tops:
            rows = self._connection.execute(_WALK, (top, asked.after, asked.limit + 1))
            reached.update(tenant_id for (tenant_id,) in rows)
        return sorted(reached)[: asked.limit + 1]


def _key_row(columns: Iterable[Any]) -> KeyRow:
    named: dict[str, Any] = dict(zip(_KEY_COLUMNS, columns, strict=True))
    return KeyRow(**named | {name: _time(named[name]) for name in _TIMES})


def _time(text: str | None) -> datetime | None:
    """A stored time (columns.UtcDateTime)."""
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)
