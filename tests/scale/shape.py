"""What a large installation is made of, as SQL.

A root, organisations below it, products below those; service users and humans at home in each,
who hold built-in and custom roles there, on organisations (so that they reach below), some of
them on the root; keys of every state; catalogues, invitations, an audit trail. One product, the
first, has much of everything. Rows lie as years of use would leave them: in the order of their
times, one tenant's among all others'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keyturn.server.domain.permissions import AUDITOR, EDITOR, TENANT_ADMIN, VIEWER

#: The catalogue's size does not follow the installation's: it is one organisation's interface.
ENDPOINTS = 2_000

#: Tables that grow with the installation.
GROWING = (
    "tenants",
    "tenant_tree",
    "users",
    "passwords",
    "roles",
    "memberships",
    "invitations",
    "api_keys",
    "sessions",
    "revocations",
    "permissions",
    "endpoints",
    "resource_servers",
    "kept_answers",
    "audit_events",
)


@dataclass(frozen=True)
class Size:
    """How large an installation is; all else follows from it."""

    tenants: int
    keys: int

    @property
    def organisations(self) -> int:
        """One in a hundred tenants, and at least two."""
        return max(2, self.tenants // 100)

    @property
    def first_product(self) -> int:
        """The number of the tenant with much of everything; the root's is 1."""
        return self.organisations + 2

    @property
    def big_keys(self) -> int:
        """Of the first product."""
        return self.keys // 10

    @property
    def big_users(self) -> int:
        """Of the first product."""
        return max(3, self.keys // 40)

    @property
    def events(self) -> int:
        """In the audit trail."""
        return self.keys * 3 // 2


#: What the service promises to bear.
LARGE = Size(20_000, 200_000)

#: What it is held against.
SMALL = Size(20, 200)


# Times lie in the two years before now. Ids tell them, as the service's do: UUIDv7, and for keys
# 22 letters of base62's alphabet; instead of random bits they have a number. (Functions of one
# expression: PostgreSQL puts it where they are called.)
PREPARE = """
CREATE FUNCTION pg_temp.uuid7(at timestamptz, number bigint) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008'
            || lpad(to_hex(number), 15, '0'))::uuid
$$;
CREATE FUNCTION pg_temp.key_id(at timestamptz, number bigint) RETURNS text LANGUAGE sql AS $$
    SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
           || lpad(to_hex(number), 10, '0')
$$;
CREATE FUNCTION pg_temp.part_of_time(part float8) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT date_trunc('milliseconds', now() - interval '2 years' * (1 - part))
$$;
"""


def steps(size: Size) -> Iterator[tuple[str, str]]:
    """What is made, and the statements that make it, in their order."""
    last_organisation, big = size.organisations + 1, size.first_product
    yield (
        f"tenants, {size.tenants:,}",
        # Some organisations have many products, most have few.
        f"""
        CREATE TEMP TABLE places ON COMMIT DROP AS
            SELECT n, pg_temp.uuid7(at, n) AS id, at,
                   CASE WHEN n = 1 THEN NULL WHEN n <= {last_organisation} THEN 1
                        WHEN n = {big} THEN 2
                        ELSE 2 + floor({size.organisations} * random() ^ 2)::int END AS parent,
                   CASE WHEN n = 1 THEN 'Platform'
                        WHEN n <= {last_organisation} THEN 'Organisation ' || (n - 1)
                        WHEN n = {big} THEN 'Largest product'
                        ELSE (ARRAY['Shop', 'Fleet', 'Ledger', 'Depot', 'Studio'])[1 + n % 5]
                             || ' ' || n END AS name
            FROM (SELECT n, pg_temp.part_of_time(n / {size.tenants * 2}.0) AS at
                  FROM generate_series(1, {size.tenants}) n) numbered;
        CREATE UNIQUE INDEX ON places (n);
        ANALYZE places;
        INSERT INTO tenants (id, parent_id, root, name, name_folded, created_at, suspended_at,
                             version)
            SELECT t.id, above.id, CASE WHEN t.n = 1 THEN 1 END, t.name, lower(t.name), t.at,
                   CASE WHEN t.n > {big} AND t.n % 500 = 0 THEN now() END, 1
            FROM places t LEFT JOIN places above ON above.n = t.parent
            ORDER BY t.n;
        INSERT INTO tenant_tree (ancestor_id, descendant_id, depth, name_folded)
            WITH RECURSIVE up AS (
                SELECT n AS below, n AS above, 0 AS depth FROM places
                UNION ALL
                SELECT up.below, places.parent, up.depth + 1
                FROM up JOIN places ON places.n = up.above WHERE places.parent IS NOT NULL
            )
            SELECT above.id, below.id, up.depth, lower(below.name)
            FROM up JOIN places above ON above.n = up.above JOIN places below ON below.n = up.below
            ORDER BY below.n, up.depth;
        """,
    )
    yield (
        "roles and registered permissions",
        # Three of each organisation, which all below can give, and one of every fourth product.
        f"""
        CREATE TEMP TABLE customs ON COMMIT DROP AS
            SELECT n, i, id AS tenant_id, at,
                   pg_temp.uuid7(at, n * 10 + i) AS id,
                   (ARRAY['operator', 'planner', 'retired role'])[i] || ' ' || n AS name
            FROM places CROSS JOIN generate_series(1, 3) i
            WHERE n BETWEEN 2 AND {last_organisation} OR (n >= {big} AND n % 4 = 0 AND i = 1);
        INSERT INTO roles (id, tenant_id, name, name_folded, description, permissions, version)
            SELECT id, tenant_id, name, lower(name), 'What a ' || name || ' needs.',
                   '["assets:read", "assets:write", "tenants:read", "users:read"]', 1
            FROM customs ORDER BY at, i;
        INSERT INTO permissions (tenant_id, name, description, created_at)
            SELECT id, 'resource' || lpad(i::text, 3, '0') || ':read', 'Reads it.', at
            FROM places CROSS JOIN generate_series(1, 300) i
            WHERE n BETWEEN 2 AND {last_organisation} AND (n = 2 OR i <= 20) ORDER BY i, n;
        """,
    )
    yield (
        "users and memberships",
        # At home in each tenant: a human (in organisations and the root five), and three service
        # users. All are members there; some of an organisation's services hold nothing else.
        f"""
        CREATE TEMP TABLE people ON COMMIT DROP AS
            SELECT n, i, human, tenant_id, at, pg_temp.uuid7(at, n * 100000::bigint + i) AS id,
                   CASE WHEN human THEN 'person-' || n || '-' || i || '@example.com'
                        ELSE 'service-' || n || '-' || i || '@services.example.com' END AS username,
                   parent, random() AS chance
            FROM (SELECT n, i, i <= humans AS human, id AS tenant_id, parent,
                         pg_temp.part_of_time(0.5 + 0.5 * random()) AS at
                  FROM (SELECT *, CASE WHEN n <= {last_organisation} THEN 5 ELSE 1 END AS humans
                        FROM places) homes
                  CROSS JOIN LATERAL generate_series(1, humans +
                      CASE WHEN n = {big} THEN {size.big_users} ELSE 3 END) i) homed;
        CREATE UNIQUE INDEX ON people (n, i);
        ANALYZE people;
        INSERT INTO users (id, kind, username, username_folded, display_name, display_name_folded,
                           description, tenant_id, epoch, created_at, created_by, disabled_at,
                           version)
            SELECT p.id, CASE WHEN p.human THEN 'human' ELSE 'service' END, p.username, p.username,
                   CASE WHEN p.human THEN 'Person ' ELSE 'Service ' END || p.i,
                   CASE WHEN p.human THEN 'person ' ELSE 'service ' END || p.i,
                   '', p.tenant_id, 1, p.at, maker.id,
                   CASE WHEN p.chance > 0.98 AND p.i > 2 THEN now() END, 1
            FROM people p JOIN people maker ON maker.n = p.n AND maker.i = 1
            ORDER BY p.at;
        INSERT INTO passwords (user_id, hash, changed_at)
            SELECT id, '$argon2id$', at FROM people WHERE human;
        INSERT INTO memberships (user_id, tenant_id, role_id, created_at)
            SELECT user_id, tenant_id, role_id, at FROM (
                SELECT p.id AS user_id, p.tenant_id, p.at,
                       CASE WHEN p.human THEN '{TENANT_ADMIN.id}'::uuid
                            WHEN p.chance < 0.5 THEN '{VIEWER.id}'
                            WHEN p.chance < 0.6 THEN '{AUDITOR.id}'
                            WHEN p.chance < 0.8 THEN coalesce(custom.id, '{EDITOR.id}')
                            ELSE '{EDITOR.id}' END AS role_id
                FROM people p
                LEFT JOIN customs custom ON custom.n = p.parent AND custom.i = 1 + p.i % 2
                UNION ALL
                SELECT p.id, above.id, p.at, '{VIEWER.id}'
                FROM people p JOIN places above ON above.n = p.parent
                WHERE p.parent > 1 AND NOT p.human AND p.chance > 0.9
                UNION ALL
                SELECT p.id, p.tenant_id, p.at, custom.id
                FROM people p JOIN customs custom ON custom.n = p.n AND custom.i = 1
                WHERE NOT p.human AND p.chance BETWEEN 0.2 AND 0.4
            ) given
            ORDER BY at;
        """,
    )
    yield (
        f"API keys, {size.keys:,}",
        # The largest product's first service user has a tenth of its keys, the others share.
        # Nobody holds a `retired role`, and no key is narrowed to one.
        f"""
        CREATE TEMP TABLE services ON COMMIT DROP AS
            SELECT row_number() OVER (PARTITION BY n = {big} ORDER BY n, i) - 1 AS rank, *
            FROM people WHERE NOT human OR n = 1;
        CREATE UNIQUE INDEX ON services ((n = {big}), rank);
        ANALYZE services;
        CREATE TEMP TABLE keyed ON COMMIT DROP AS
            SELECT k, k <= {size.big_keys} AS big,
                   CASE WHEN k <= {size.big_keys // 10} THEN 0
                        WHEN k <= {size.big_keys} THEN k % {size.big_users}
                        ELSE k % (SELECT count(*) FROM services WHERE n <> {big}) END AS rank,
                   pg_temp.part_of_time(0.5 + 0.5 * random()) AS at, random() AS chance
            FROM generate_series(1, {size.keys}) k;
        ANALYZE keyed;
        INSERT INTO api_keys (id, user_id, home_tenant_id, tenant_id, name, hash, pepper_version,
                              role_ids, endpoint_ids, networks, created_at, created_by,
                              expires_at, idle_timeout, revoked_at, revoked_reason,
                              last_used_at, last_used_from, use_count, version)
            SELECT pg_temp.key_id(keyed.at, k), s.id, s.tenant_id,
                   CASE WHEN chances.nth % 20 = 1 THEN s.tenant_id END, 'key ' || k,
                   sha256(k::text::bytea), 1,
                   CASE WHEN chances.nth % 20 = 2 THEN jsonb_build_array('{VIEWER.id}')
                        WHEN chances.nth % 20 = 3 AND custom.id IS NOT NULL
                        THEN jsonb_build_array(custom.id, '{EDITOR.id}') END,
                   NULL,
                   CASE WHEN chances.nth % 20 = 4 THEN '["10.0.0.0/8"]'::jsonb END,
                   keyed.at, maker.id,
                   CASE WHEN chances.nth % 20 = 5 THEN now() - interval '1 day'
                        WHEN chances.nth % 4 = 0 THEN now() + interval '90 days' END,
                   CASE WHEN chances.nth % 20 = 6 THEN 86400 END,
                   CASE WHEN chances.nth % 20 = 7 THEN now() END,
                   CASE WHEN chances.nth % 20 = 7 THEN 'revoked' END,
                   CASE WHEN chances.nth % 3 = 0 THEN now() - keyed.chance * interval '9 days' END,
                   CASE WHEN chances.nth % 3 = 0 THEN '192.0.2.1' END, 0, 1
            FROM keyed
            CROSS JOIN LATERAL (SELECT floor(keyed.chance * 6000)::int AS nth) chances
            JOIN services s ON (s.n = {big}) = keyed.big AND s.rank = keyed.rank
            JOIN people maker ON maker.n = s.n AND maker.i = 1
            LEFT JOIN customs custom ON custom.n = s.parent AND custom.i = 1
            ORDER BY keyed.at;
        INSERT INTO sessions (id, key_id, user_id, generation, rotated_at, expires_at)
            SELECT pg_temp.uuid7(created_at, row_number() OVER ()), id, user_id, 2, now(),
                   now() + interval '10 hours'
            FROM api_keys WHERE last_used_at > now() - interval '2 days';
        """,
    )
    yield (
        "catalogues",
        # One large catalogue, and a smaller one of every other organisation.
        f"""
        INSERT INTO endpoints (id, tenant_id, service, method, path, shape, segments, name,
                               opened_by, deprecated, experimental, administrative, created_at,
                               updated_at, version)
            SELECT pg_temp.uuid7(at, n * 100000::bigint + i), id, 'service' || i % 4,
                   (ARRAY['GET', 'POST', 'PUT', 'DELETE'])[1 + i % 4], path || '/{{id}}',
                   path || '/{{}}', 1 + array_length(string_to_array(path, '/'), 1) - 1,
                   'Endpoint ' || i, '[["assets:read"]]', i % 50 = 0, i % 70 = 0, false, at, at, 1
            FROM places CROSS JOIN generate_series(1, {ENDPOINTS}) i
            CROSS JOIN LATERAL (SELECT '/v' || i % 3 || '/resource' || i / 4 AS path) paths
            WHERE n BETWEEN 2 AND {last_organisation} AND (n = 2 OR i <= 100)
            ORDER BY at, i;
        INSERT INTO resource_servers (id, tenant_id, identifier, name, algorithm, created_at,
                                      version)
            SELECT pg_temp.uuid7(at, n * 100000::bigint + i), id,
                   'https://server-' || n || '-' || i || '.example', 'Server ' || i,
                   (ARRAY['ES256', 'RS256', 'Ed25519'])[1 + i % 3], at, 1
            FROM places CROSS JOIN generate_series(1, 1000) i
            WHERE n <= {last_organisation} AND (n = 2 OR i <= 20) OR n >= {big} AND i = 1
            ORDER BY i, at;
        UPDATE api_keys SET endpoint_ids = listed.ids
        FROM (SELECT jsonb_agg(id) AS ids FROM (
                  SELECT id FROM endpoints WHERE tenant_id = (SELECT id FROM places WHERE n = 2)
                  ORDER BY shape LIMIT 50) fifty) listed
        WHERE home_tenant_id = (SELECT id FROM places WHERE n = {big})
          AND name LIKE 'key %1';
        """,
    )
    yield (
        "invitations, revocations, kept answers",
        f"""
        INSERT INTO invitations (id, tenant_id, role_id, email, email_folded, state, code_hash,
                                 created_at, expires_at, created_by, answered_at)
            SELECT pg_temp.uuid7(offered.at, offered.i), places.id, '{VIEWER.id}', email, email,
                   state, sha256(('code ' || offered.i)::bytea), offered.at,
                   offered.at + interval '7 days', maker.id,
                   CASE WHEN state <> 'pending' THEN offered.at END
            FROM (SELECT i, 'guest-' || i / 3 || '@example.com' AS email,
                         (ARRAY['pending', 'accepted', 'accepted', 'declined'])[1 + i % 4] AS state,
                         CASE WHEN i % 5 = 0 THEN {big} ELSE 1 + i % {size.tenants} END AS n,
                         now() - i * interval '9 days' / {size.tenants} AS at
                  FROM generate_series(1, {size.tenants}) i) offered
            JOIN places USING (n) JOIN people maker ON maker.n = offered.n AND maker.i = 1
            ORDER BY offered.at;
        INSERT INTO revocations (kind, subject, expires_at, written_at)
            SELECT 'key', id, revoked_at + interval '1 hour', revoked_at FROM api_keys
            WHERE revoked_at IS NOT NULL;
        INSERT INTO kept_answers (id, request, sealed, expires_at)
            SELECT sha256(('answer ' || i)::bytea), sha256(i::text::bytea), sha256(i::text::bytea),
                   now() + i * interval '1 day' / {size.tenants}
            FROM generate_series(1, {size.tenants}) i;
        """,
    )
    yield (
        f"audit events, {size.events:,}",
        # One in ten is of the largest product, and half of those of its first user.
        f"""
        INSERT INTO audit_events (id, at, action, outcome, user_id, key_id, session_id, address,
                                  tenant_id, target, data)
            SELECT pg_temp.uuid7(e.at, e.i), e.at,
                   (ARRAY['token.issued', 'token.issued', 'token.issued', 'session.refreshed',
                          'api_key.created', 'api_key.revoked', 'member.added', 'role.updated'])
                       [1 + floor(8 * e.chance * e.chance)::int],
                   'success', p.id::text, NULL, NULL, '192.0.2.1', p.tenant_id::text,
                   p.id::text, '{{}}'
            FROM (SELECT i, i % 10 = 0 AS big, random() AS chance,
                         pg_temp.part_of_time(i / {size.events}.0) AS at,
                         1 + floor(random() * {size.tenants})::int AS n,
                         1 + floor(random() * 4)::int AS actor,
                         1 + floor(random() * {size.big_users})::int AS big_actor
                  FROM generate_series(1, {size.events}) i) e
            JOIN people p ON p.n = CASE WHEN e.big THEN {big} ELSE e.n END
                AND p.i = CASE WHEN NOT e.big THEN e.actor
                               WHEN e.chance < 0.5 THEN 1 ELSE e.big_actor END
            ORDER BY e.i;
        """,
    )
