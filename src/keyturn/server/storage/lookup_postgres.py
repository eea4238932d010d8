"""The hot path's one read on PostgreSQL: one prepared statement, one row back.

It reads by index and stops early, whatever the user's roles reach: behind each tenant a role
is held in, `limit + 1` tenants are read in the order of the index, and the first of them all
are kept. So a page of an administrator's 100,000 tenants costs what a page of 30 does.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import fields

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from ..domain.errors import Unavailable
from ..domain.model import KeyRecord, Role
from .engine import connect_postgres
from .faults import translated
from .lookup import Asked, KeyRow, check, record
from .urls import PostgresServer

#: Seconds the statement may take. It takes about one millisecond.
LOOKUP_SECONDS = 2.0

_SUSPENDED = """
    SELECT 1 FROM tenant_tree up CROSS JOIN LATERAL (
        SELECT 1 FROM tenants t
        WHERE t.id = up.ancestor_id AND t.suspended_at IS NOT NULL OFFSET 0
    ) above
    WHERE up.descendant_id = {tenant} OFFSET 0
"""

# $1 key id, $2 tenants or NULL, $3 after (the nil UUID: from the start), $4 limit.
#
# Each table is read by its own LATERAL subquery, for one row at a time. OFFSET 0 and
# MATERIALIZED are fences: the planner cannot merge these steps into one join and then choose,
# by statistics that change with every ANALYZE, to walk the whole tree for a handful of rows. ORDER
# BY is one, too: only the primary key has a user's memberships in that order, and on a table that
# is small yet, other indexes would look as good.
#
# Most installations have no policy about idle keys, nor about single tokens. They look once at an
# index that is empty.
#
# A row comes back also when there is no key: whether the server may be believed at all
# (read_only) matters most then.
LOOKUP = f"""
WITH found AS MATERIALIZED (
    SELECT k.id AS key_id, k.hash, k.pepper_version, k.expires_at, k.revoked_at, k.tenant_id,
           k.role_ids, u.id AS user_id, u.username, u.kind, u.disabled_at,
           GREATEST(u.epoch, everybody.epoch_floor) AS epoch,
           GREATEST(u.sessions_epoch, k.sessions_epoch, everybody.epoch_floor) AS sessions_epoch,
           u.single_token,
           u.tenant_id AS home_tenant_id, k.old_hash, k.old_pepper_version, k.old_until,
           k.old_ends_on_use, k.networks, k.endpoint_ids, k.idle_timeout,
           GREATEST(k.created_at, k.rotated_at, k.last_used_at) AS idle_since,
           CASE WHEN k.tenant_id IS NULL THEN $2::uuid[]
                WHEN $2::uuid[] IS NULL OR k.tenant_id = ANY ($2::uuid[]) THEN ARRAY[k.tenant_id]
                ELSE '{{}}'::uuid[] END AS wanted
    FROM api_keys k
    CROSS JOIN LATERAL (SELECT * FROM users WHERE users.id = k.user_id OFFSET 0) u
    CROSS JOIN LATERAL (SELECT epoch_floor FROM installation WHERE id = 1 OFFSET 0) everybody
    WHERE k.id = $1::text
), held AS MATERIALIZED (
    SELECT m.tenant_id, m.role_id
    FROM found f CROSS JOIN LATERAL (
        SELECT tenant_id, role_id FROM memberships
        WHERE memberships.user_id = f.user_id ORDER BY tenant_id, role_id OFFSET 0
    ) m
    WHERE f.role_ids IS NULL OR f.role_ids ? m.role_id::text
), tops AS MATERIALIZED (
    SELECT DISTINCT tenant_id FROM held
), walked AS MATERIALIZED (
    SELECT DISTINCT below.id
    FROM (SELECT t.tenant_id FROM tops t WHERE (SELECT wanted FROM found) IS NULL) top
    CROSS JOIN LATERAL (
        SELECT tree.descendant_id AS id FROM tenant_tree tree
        WHERE tree.ancestor_id = top.tenant_id AND tree.descendant_id > $3::uuid
          AND NOT EXISTS ({_SUSPENDED.format(tenant="tree.descendant_id")})
        ORDER BY tree.descendant_id LIMIT $4::int + 1
    ) below
    ORDER BY below.id LIMIT $4::int + 1
), named AS MATERIALIZED (
    SELECT DISTINCT w.id
    FROM found f CROSS JOIN LATERAL unnest(f.wanted) AS w (id)
    WHERE w.id > $3::uuid
      AND EXISTS (SELECT 1 FROM tenant_tree tree
                  WHERE tree.descendant_id = w.id
                    AND tree.ancestor_id = ANY (ARRAY(SELECT tenant_id FROM tops)) OFFSET 0)
      AND NOT EXISTS ({_SUSPENDED.format(tenant="w.id")})
), reached AS MATERIALIZED (
    SELECT id FROM walked UNION ALL SELECT id FROM named
)
SELECT f.key_id, f.hash, f.pepper_version, f.expires_at, f.revoked_at, f.tenant_id::text,
       f.user_id::text, f.username, f.kind, f.disabled_at, f.epoch, f.home_tenant_id::text,
       f.old_hash, f.old_pepper_version, f.old_until, f.old_ends_on_use,
       f.networks, f.endpoint_ids,
       (SELECT json_agg(e.opened_by)::text
        FROM (SELECT tenant_id, opened_by FROM endpoints WHERE id = ANY (ARRAY(
                  SELECT jsonb_array_elements_text(f.endpoint_ids)::uuid))
              AND NOT administrative OFFSET 0) e
        WHERE e.tenant_id = ANY (ARRAY(
            SELECT ancestor_id FROM tenant_tree WHERE descendant_id = f.home_tenant_id))
       ) AS openings,
       f.idle_since,
       LEAST(f.idle_timeout, CASE WHEN EXISTS (
           SELECT 1 FROM tenants WHERE api_key_idle_timeout IS NOT NULL
       ) THEN (
           SELECT min(t.api_key_idle_timeout) FROM tenants t
           WHERE t.api_key_idle_timeout IS NOT NULL AND t.id = ANY (ARRAY(
               SELECT ancestor_id FROM tenant_tree WHERE descendant_id = f.home_tenant_id))
       ) END) AS idle_timeout,
       f.sessions_epoch,
       coalesce(f.single_token, false) OR (EXISTS (
           SELECT 1 FROM tenants WHERE single_token
       ) AND EXISTS (
           SELECT 1 FROM tenants t
           WHERE t.single_token AND t.id = ANY (ARRAY(
               SELECT ancestor_id FROM tenant_tree WHERE descendant_id = f.home_tenant_id))
       )) AS single_token,
       server.read_only,
       (SELECT json_agg(json_build_array(r.id, t.name, h.role_id))::text
        FROM reached r
        CROSS JOIN LATERAL (SELECT name FROM tenants WHERE tenants.id = r.id OFFSET 0) t
        CROSS JOIN LATERAL (
            SELECT ancestor_id FROM tenant_tree WHERE descendant_id = r.id OFFSET 0
        ) tree
        JOIN held h ON h.tenant_id = tree.ancestor_id) AS held,
       (SELECT json_agg(json_build_array(r.id, r.name, r.permissions, r.tenant_id))::text
        FROM (SELECT DISTINCT role_id FROM held) h
        CROSS JOIN LATERAL (SELECT * FROM roles WHERE roles.id = h.role_id OFFSET 0) r) AS roles
FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) server
LEFT JOIN found f ON true
"""  # noqa: S608 - put together from constants

_SETTINGS = {
    # Planning this statement costs more than running it, and no parameter changes the plan.
    "plan_cache_mode": "force_generic_plan",
    # Tables that were small when the statement was prepared grow without telling it.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

# The statement's first columns are a KeyRow.
_KEY_COLUMNS = len(fields(KeyRow))

_NIL = "00000000-0000-0000-0000-000000000000"

# Errors of a connection or a prepared statement that outlived what they were made for.
_STALE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)

_Prepared = tuple["asyncpg.Connection[asyncpg.Record]", "PreparedStatement[asyncpg.Record]"]


class PostgresLookup:
    """Implements `ports.KeyLookup` with connections of its own.

    `size` bounds them, `wait` (seconds) the time for a free one. The last one used is the next
    one taken: under light load few stay warm. SQLAlchemy's pool would cost more than the read.
    """

    def __init__(self, server: PostgresServer, *, size: int, wait: float) -> None:
        self._server = server
        self._wait = wait
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Prepared] = []
        self._closed = False

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """See `ports.KeyLookup`.

        Raises Unavailable when no connection is free in time, and when the server turned
        read-only: it was replaced, and may not know the latest revocations.
        """
        asked = check(key_id, tenants, after, limit)
        if asked is None:
            return None
        with translated():
            row = await self._fetch(asked)
        return None if row["key_id"] is None else _record(asked, row)

    async def close(self) -> None:
        """Closes the idle connections, and those in use when they come back."""
        self._closed = True
        while self._idle:
            connection, _ = self._idle.pop()
            connection.terminate()

    async def _fetch(self, asked: Asked) -> asyncpg.Record:
        parameters = (asked.key_id, asked.tenants, asked.after or _NIL, asked.limit)
        if self._free.locked():
            try:
                async with asyncio.timeout(self._wait):
                    await self._free.acquire()
            except TimeoutError:
                raise Unavailable("no connection for the lookup became free in time") from None
        else:
            await self._free.acquire()
        try:
            prepared = self._pop()
            if prepared is not None:
                try:
                    return await self._run(prepared, parameters)
                except _STALE:
                    # The server was restarted, or the schema moved. What else is idle is as
                    # old. A read may be tried again, once, on a connection that is new.
                    self._drop_idle()
            return await self._run(await self._open(), parameters)
        finally:
            self._free.release()

    async def _run(self, prepared: _Prepared, parameters: tuple[object, ...]) -> asyncpg.Record:
        connection, statement = prepared
        try:
            row = await statement.fetchrow(*parameters, timeout=LOOKUP_SECONDS)
            if row is None or row["read_only"]:
                self._drop_idle()
                raise Unavailable("the database is read-only")
        except BaseException:
            # After an error or a cancellation, what is left on the wire is unknown.
            connection.terminate()
            raise
        if self._closed:
            connection.terminate()
        else:
            self._idle.append(prepared)
        return row

    def _pop(self) -> _Prepared | None:
        while self._idle:
            prepared = self._idle.pop()
            if not prepared[0].is_closed():
                return prepared
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    async def _open(self) -> _Prepared:
        connection = await connect_postgres(
            self._server, statement_seconds=LOOKUP_SECONDS, settings=_SETTINGS
        )
        try:
            return connection, await connection.prepare(LOOKUP)
        except BaseException:
            connection.terminate()
            raise


def _record(asked: Asked, row: asyncpg.Record) -> KeyRecord:
    roles = [
        Role(role_id, name, frozenset(permissions), tenant_id)
        for role_id, name, permissions, tenant_id in json.loads(row["roles"] or "[]")
    ]
    held = [(tenant, name, role) for tenant, name, role in json.loads(row["held"] or "[]")]
    return record(asked, KeyRow(*tuple(row)[:_KEY_COLUMNS]), held, roles)
