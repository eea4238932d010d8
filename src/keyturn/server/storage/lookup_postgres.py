"""The hot path's one read on PostgreSQL: one prepared statement, one row back.

It reads by index and stops early, whatever the user's roles reach: behind each tenant a role
is held in, `limit + 1` tenants are read in the order of the index, and the first of them all
are kept. So a page of an administrator's 100,000 tenants costs what a page of 30 does.

Nor are all tenants looked at that a user holds roles in: a tenant's id is a time, and none is made
before the one above it. So what is reached from the first `limit + 1` of them comes before all
that the others reach. Where clocks disagreed, and a tenant's id is below its parent's, all are
looked at.
"""

import json
from collections.abc import Sequence
from dataclasses import fields

import asyncpg

from ..domain.errors import Unavailable
from ..domain.model import KeyRecord, Role
from .driver import Lines
from .lookup import Asked, KeyRow, check, record

#: Seconds the statement may take. It takes about one millisecond.
LOOKUP_SECONDS = 2.0

_SUSPENDED = """
    SELECT 1 FROM tenant_tree up CROSS JOIN LATERAL (
        SELECT 1 FROM tenants t
        WHERE t.id = up.ancestor_id AND t.suspended_at IS NOT NULL OFFSET 0
    ) above
    WHERE up.descendant_id = {tenant} OFFSET 0
"""

# A membership of a role that the key may use; and, where no tenants are asked for, one that counts.
_ROLE = """((SELECT role_ids FROM found) IS NULL
            OR (SELECT role_ids FROM found) ? memberships.role_id::text)"""
_COUNTS = f"(SELECT wanted FROM found) IS NULL AND {_ROLE}"  # noqa: S608 - of constants

# $1 key id, $2 tenants or NULL, $3 after (the nil UUID: from the start), $4 limit. Tenants come as
# texts: of an array of UUIDs the driver would ask the server what that is, on each new connection.
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
           k.old_ends_on_use, k.networks, k.endpoint_ids, k.idle_timeout, k.for_console,
           GREATEST(k.created_at, k.rotated_at, k.last_used_at) AS idle_since,
           CASE WHEN k.tenant_id IS NULL THEN $2::text[]::uuid[]
                WHEN $2 IS NULL OR k.tenant_id::text = ANY ($2) THEN ARRAY[k.tenant_id]
                ELSE '{{}}'::uuid[] END AS wanted
    FROM api_keys k
    CROSS JOIN LATERAL (SELECT * FROM users WHERE users.id = k.user_id OFFSET 0) u
    CROSS JOIN LATERAL (SELECT epoch_floor FROM installation WHERE id = 1 OFFSET 0) everybody
    WHERE k.id = $1::text
), tops AS MATERIALIZED (
    SELECT tenant_id FROM memberships
    WHERE user_id = (SELECT user_id FROM found) AND tenant_id <= $3::uuid AND {_COUNTS}
    UNION ALL (
        SELECT DISTINCT tenant_id FROM memberships
        WHERE user_id = (SELECT user_id FROM found) AND tenant_id > $3::uuid AND {_COUNTS}
          AND NOT EXISTS ({_SUSPENDED.format(tenant="memberships.tenant_id")})
        ORDER BY tenant_id
        LIMIT (SELECT CASE WHEN EXISTS (SELECT 1 FROM tenants WHERE id < parent_id) THEN NULL
                           ELSE $4::int + 1 END)
    )
), reached AS MATERIALIZED (
    (
        SELECT DISTINCT below.id
        FROM tops CROSS JOIN LATERAL (
            SELECT tree.descendant_id AS id FROM tenant_tree tree
            WHERE tree.ancestor_id = tops.tenant_id AND tree.descendant_id > $3::uuid
              AND NOT EXISTS ({_SUSPENDED.format(tenant="tree.descendant_id")})
            ORDER BY tree.descendant_id LIMIT $4::int + 1
        ) below
        ORDER BY below.id LIMIT $4::int + 1
    )
    UNION ALL
    SELECT DISTINCT w.id
    FROM found f CROSS JOIN LATERAL unnest(f.wanted) AS w (id)
    WHERE w.id > $3::uuid AND NOT EXISTS ({_SUSPENDED.format(tenant="w.id")})
), given AS MATERIALIZED (
    SELECT r.id, t.name, m.role_id
    FROM reached r
    CROSS JOIN LATERAL (SELECT name FROM tenants WHERE tenants.id = r.id OFFSET 0) t
    CROSS JOIN LATERAL (
        SELECT ancestor_id FROM tenant_tree WHERE descendant_id = r.id OFFSET 0
    ) tree
    CROSS JOIN LATERAL (
        SELECT role_id FROM memberships
        WHERE user_id = (SELECT user_id FROM found) AND tenant_id = tree.ancestor_id
          AND {_ROLE} OFFSET 0
    ) m
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
       f.for_console,
       server.read_only,
       (SELECT json_agg(json_build_array(g.id, g.name, g.role_id))::text FROM given g) AS held,
       (SELECT json_agg(json_build_array(r.id, r.name, r.permissions, r.tenant_id))::text
        FROM (SELECT DISTINCT role_id FROM given) g
        CROSS JOIN LATERAL (SELECT * FROM roles WHERE roles.id = g.role_id OFFSET 0) r) AS roles
FROM (SELECT current_setting('transaction_read_only') = 'on' AS read_only) server
LEFT JOIN found f ON true
"""  # noqa: S608 - put together from constants

# The statement's first columns are a KeyRow.
_KEY_COLUMNS = len(fields(KeyRow))

_NIL = "00000000-0000-0000-0000-000000000000"


class PostgresLookup:
    """Implements `ports.KeyLookup`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

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
        parameters = (asked.key_id, asked.tenants, asked.after or _NIL, asked.limit)
        row = await self._lines.fetch(LOOKUP, parameters, reads=True)
        if row is None or row["read_only"]:
            self._lines.drop_idle()
            raise Unavailable("the database is read-only")
        return None if row["key_id"] is None else _record(asked, row)


def _record(asked: Asked, row: asyncpg.Record) -> KeyRecord:
    # By json: tokens made of texts that orjson gave out take a tenth more time, measured.
    roles = [
        Role(role_id, name, frozenset(permissions), tenant_id)
        for role_id, name, permissions, tenant_id in json.loads(row["roles"] or "[]")
    ]
    held = [(tenant, name, role) for tenant, name, role in json.loads(row["held"] or "[]")]
    return record(asked, KeyRow(*tuple(row)[:_KEY_COLUMNS]), held, roles)
