"""What is read in an installation: every list, search and lookup, from several viewpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from keyturn.server.domain.model import InvitationState, RevocationKind, UserKind
from keyturn.server.services.ports import AuditFilter, KeyFilter, Slice, Transaction

#: How many items a page has by default.
PAGE = 50

#: The most that a policy's limit lets be counted here.
AT_MOST = 100


@dataclass(frozen=True)
class Viewpoint:
    """A tenant, and one of each of what is in it."""

    name: str
    tenant: str
    service: str
    human: str
    username: str
    key: str
    email: str
    role: str
    endpoint: str
    session: str


@dataclass(frozen=True)
class Landmarks:
    """The viewpoints of a seeded database, and keys that are looked up."""

    views: tuple[Viewpoint, ...]
    keys: dict[str, str]

    @classmethod
    async def find(cls, url: str) -> Landmarks:
        """Reads them from the database. The small product comes first: it is the usual case."""
        connection = await asyncpg.connect(url)
        try:
            views = []
            for name, where in _TENANTS.items():
                row = await connection.fetchrow(_VIEWPOINT, where)
                assert row is not None, f"there is no {name}"
                views.append(Viewpoint(name, *row))
            keys = {name: await connection.fetchval(query) for name, query in EXCHANGES.items()}
            return cls(tuple(views), keys)
        finally:
            await connection.close()


_TENANTS = {
    "small product": "Studio %4",
    "root": "Platform",
    "largest organisation": "Organisation 1",
    "largest product": "Largest product",
}

_VIEWPOINT = """
WITH viewed AS (
    SELECT id FROM tenants WHERE name LIKE $1 ORDER BY created_at LIMIT 1
)
SELECT viewed.id::text, service.id::text, human.id::text, service.username,
       (SELECT id FROM api_keys WHERE user_id = service.id LIMIT 1),
       (SELECT email FROM invitations WHERE state = 'pending' ORDER BY tenant_id = viewed.id DESC,
            created_at DESC LIMIT 1),
       (SELECT id::text FROM roles WHERE name LIKE 'retired%'
        ORDER BY tenant_id = viewed.id DESC LIMIT 1),
       (SELECT endpoints.id::text FROM endpoints ORDER BY tenant_id = viewed.id DESC LIMIT 1),
       (SELECT id::text FROM sessions LIMIT 1)
FROM viewed
CROSS JOIN LATERAL (SELECT * FROM users WHERE tenant_id = viewed.id AND kind = 'service'
                    ORDER BY length(username), username LIMIT 1) service
CROSS JOIN LATERAL (SELECT * FROM users WHERE tenant_id = viewed.id AND kind = 'human'
                    ORDER BY username LIMIT 1) human
"""

_LIVE = "revoked_at IS NULL AND expires_at IS NULL"

#: Queries for keys of each kind that is exchanged.
EXCHANGES = {
    "an ordinary key": f"""
        SELECT k.id FROM api_keys k JOIN tenants t ON t.id = k.home_tenant_id
        WHERE t.name LIKE 'Studio %' AND role_ids IS NULL AND {_LIVE} LIMIT 1""",
    "a key of the root's administrator": f"""
        SELECT k.id FROM api_keys k JOIN users u ON u.id = k.user_id
        JOIN tenants t ON t.id = u.tenant_id
        WHERE t.root = 1 AND u.kind = 'human' AND k.tenant_id IS NULL AND role_ids IS NULL
          AND {_LIVE} LIMIT 1""",
    "a key narrowed to 50 endpoints": f"""
        SELECT id FROM api_keys WHERE jsonb_array_length(endpoint_ids) = 50 AND {_LIVE} LIMIT 1""",
    "a key narrowed to roles": f"""
        SELECT id FROM api_keys WHERE role_ids IS NOT NULL AND {_LIVE} LIMIT 1""",
}

Read = Callable[[Transaction, Viewpoint, Slice], Awaitable[object]]

SERVICE, HUMAN = UserKind.SERVICE, UserKind.HUMAN
_NOW = datetime.now(UTC)
_CODE = hashlib.sha256(b"code 7").digest()
_ANSWER = hashlib.sha256(b"answer 7").digest()

#: By name. Whatever gives a Page is read from its beginning and from its middle.
READS: dict[str, Read] = {
    "tenants.get": lambda work, view, _: work.tenants.get(view.tenant),
    "tenants.root": lambda work, *_: work.tenants.root(),
    "tenants.reaches": lambda work, view, _: work.tenants.reaches(view.tenant, view.tenant),
    "tenants.policies": lambda work, view, _: work.tenants.policies(view.tenant),
    "tenants.occupied": lambda work, view, _: work.tenants.occupied(view.tenant),
    "tenants.children": lambda work, view, part: work.tenants.children(view.tenant, part),
    "tenants.children, common name": lambda work, view, part: work.tenants.children(
        view.tenant, part, name="Shop"
    ),
    "tenants.children, rare name": lambda work, view, part: work.tenants.children(
        view.tenant, part, name="Largest"
    ),
    "tenants.descendants": lambda work, view, part: work.tenants.descendants(view.tenant, part),
    "tenants.descendants, common name": lambda work, view, part: work.tenants.descendants(
        view.tenant, part, name="shop"
    ),
    "tenants.descendants, rare name": lambda work, view, part: work.tenants.descendants(
        view.tenant, part, name="largest"
    ),
    "tenants.descendants, name of others": lambda work, view, part: work.tenants.descendants(
        view.tenant, part, name="organisation"
    ),
    "tenants.descendants, no name": lambda work, view, part: work.tenants.descendants(
        view.tenant, part, name="zebra"
    ),
    "users.get": lambda work, view, _: work.users.get(view.service),
    "users.by_username": lambda work, view, _: work.users.by_username(view.username),
    "users.named": lambda work, view, _: work.users.named(view.tenant, SERVICE, "Service 3"),
    "users.at_home, services": lambda work, view, part: work.users.at_home(
        view.tenant, SERVICE, part
    ),
    "users.at_home, humans": lambda work, view, part: work.users.at_home(view.tenant, HUMAN, part),
    "users.at_home, services below": lambda work, view, part: work.users.at_home(
        view.tenant, SERVICE, part, below=True
    ),
    "users.at_home, humans below": lambda work, view, part: work.users.at_home(
        view.tenant, HUMAN, part, below=True
    ),
    "users.count_at_home": lambda work, view, _: work.users.count_at_home(
        view.tenant, SERVICE, AT_MOST
    ),
    "users.many": lambda work, view, _: work.users.many([view.service, view.human]),
    "users.password": lambda work, view, _: work.users.password(view.human),
    "roles.get": lambda work, view, _: work.roles.get(view.role),
    "roles.many": lambda work, view, _: work.roles.many([view.role]),
    "roles.in_tenant": lambda work, view, _: work.roles.in_tenant(view.tenant),
    "roles.in_use": lambda work, view, _: work.roles.in_use(view.role),
    "memberships.of_user": lambda work, view, _: work.memberships.of_user(view.service),
    "memberships.members": lambda work, view, part: work.memberships.members(view.tenant, part),
    "team.members": lambda work, view, part: work.team.members(view.tenant, part),
    "memberships.member": lambda work, view, _: work.memberships.member(view.tenant, view.service),
    "memberships.administrators": lambda work, view, _: work.memberships.administrators(
        view.tenant
    ),
    "memberships.holders": lambda work, view, _: work.memberships.holders(view.role),
    "invitations.by_code": lambda work, *_: work.invitations.by_code(_CODE),
    "invitations.in_tenant": lambda work, view, part: work.invitations.in_tenant(view.tenant, part),
    "invitations.in_tenant, pending": lambda work, view, part: work.invitations.in_tenant(
        view.tenant, part, state=InvitationState.PENDING
    ),
    "invitations.in_tenant, withdrawn": lambda work, view, part: work.invitations.in_tenant(
        view.tenant, part, state=InvitationState.WITHDRAWN
    ),
    "invitations.count_pending": lambda work, view, _: work.invitations.count_pending(
        view.tenant, AT_MOST
    ),
    "invitations.pending_for": lambda work, view, _: work.invitations.pending_for(view.email, _NOW),
    "api_keys.get": lambda work, view, _: work.api_keys.get(view.key),
    "api_keys.at_home": lambda work, view, part: work.api_keys.at_home(view.tenant, part),
    "api_keys.at_home, of a user": lambda work, view, part: work.api_keys.at_home(
        view.tenant, part, KeyFilter(user_id=view.service)
    ),
    "api_keys.at_home, ends next": lambda work, view, part: work.api_keys.at_home(
        view.tenant,
        part,
        KeyFilter(revoked=False, expired=False, expires_before=_NOW + timedelta(days=30)),
    ),
    "api_keys.of_user": lambda work, view, part: work.api_keys.of_user(view.service, part),
    "api_keys.of_user, newest first": lambda work, view, part: work.api_keys.of_user(
        view.service, part, newest_first=True
    ),
    "api_keys.count_at_home": lambda work, view, _: work.api_keys.count_at_home(
        view.tenant, _NOW, AT_MOST
    ),
    "api_keys.count_of_user": lambda work, view, _: work.api_keys.count_of_user(
        view.service, _NOW, AT_MOST
    ),
    "api_keys.name_taken": lambda work, view, _: work.api_keys.name_taken(
        view.service, "nightly build", _NOW
    ),
    "sessions.get": lambda work, view, _: work.sessions.get(view.session),
    "sessions.of_user": lambda work, view, part: work.sessions.of_user(view.service, part),
    "sessions.of_user, live": lambda work, view, part: work.sessions.of_user(
        view.service, part, refreshed_since=_NOW - timedelta(minutes=30)
    ),
    "sessions.of_key": lambda work, view, part: work.sessions.of_key(view.key, part),
    "sessions.of_key, live": lambda work, view, part: work.sessions.of_key(
        view.key, part, refreshed_since=_NOW - timedelta(minutes=30)
    ),
    "api_keys.many": lambda work, view, _: work.api_keys.many([view.key]),
    "permissions.visible": lambda work, view, part: work.permissions.visible(view.tenant, part),
    "permissions.known": lambda work, view, _: work.permissions.known(
        view.tenant, ["resource001:read", "unknown:read"]
    ),
    "permissions.count": lambda work, view, _: work.permissions.count(view.tenant),
    "endpoints.get": lambda work, view, _: work.endpoints.get(view.endpoint),
    "endpoints.entries": lambda work, view, _: work.endpoints.entries(view.tenant),
    "endpoints.candidates": lambda work, view, _: work.endpoints.candidates(
        view.tenant, ["GET"], 3
    ),
    "endpoints.of_service": lambda work, view, _: work.endpoints.of_service(
        view.tenant, "service1"
    ),
    "endpoints.count": lambda work, view, _: work.endpoints.count(view.tenant),
    "endpoints.listed_by": lambda work, view, _: work.endpoints.listed_by([view.service]),
    "resource_servers.get": lambda work, view, _: work.resource_servers.get(view.endpoint),
    "resource_servers.in_tenant": lambda work, view, part: work.resource_servers.in_tenant(
        view.tenant, part
    ),
    "resource_servers.named": lambda work, *_: work.resource_servers.named(
        ["https://server-2-7.example", "https://unknown.example"]
    ),
    "resource_servers.reached": lambda work, view, _: work.resource_servers.reached(
        view.tenant, [view.tenant]
    ),
    "audit.events": lambda work, view, part: work.audit.events(view.tenant, AuditFilter(), part),
    "audit.events, by time": lambda work, view, part: work.audit.events(
        view.tenant,
        AuditFilter(since=_NOW - timedelta(days=500), until=_NOW - timedelta(days=400)),
        part,
    ),
    "audit.events, of an actor": lambda work, view, part: work.audit.events(
        view.tenant, AuditFilter(user_id=view.human), part
    ),
    "audit.events, of an action": lambda work, view, part: work.audit.events(
        view.tenant, AuditFilter(action="api_key.created"), part
    ),
    "audit.events, of a rare action": lambda work, view, part: work.audit.events(
        view.tenant, AuditFilter(action="tenant.suspended"), part
    ),
    "audit.events, of a target": lambda work, view, part: work.audit.events(
        view.tenant, AuditFilter(target=view.human), part
    ),
    "audit.events, of an actor and action": lambda work, view, part: work.audit.events(
        view.tenant, AuditFilter(user_id=view.human, action="token.issued"), part
    ),
    "audit.events, of an action by time": lambda work, view, part: work.audit.events(
        view.tenant,
        AuditFilter(until=_NOW - timedelta(days=300), action="api_key.created"),
        part,
    ),
    "revocations.find": lambda work, view, _: work.revocations.find(
        [(RevocationKind.KEY, view.key), (RevocationKind.USER, view.service)]
    ),
    "revocations.tail": lambda work, *_: work.revocations.tail(_NOW.isoformat()),
    "kept_answers.find": lambda work, *_: work.kept_answers.find(_ANSWER, _NOW),
}
