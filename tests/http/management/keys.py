"""Helpers for tests of API keys: keys as administrators and their holders use them."""

from __future__ import annotations

from typing import Any

import httpx

from keyturn.server.domain.endpoints import Endpoint
from keyturn.server.domain.ids import new_id
from keyturn.server.services.ports import AuditFilter, Slice
from tests.http.conftest import Running
from tests.http.management.conftest import Person


def fields(answer: httpx.Response) -> list[str]:
    """The fields that a refusal names."""
    return [error["field"] for error in answer.json().get("errors", [])]


async def made(who: Person, path: str = "/api-keys", **wanted: Any) -> dict[str, Any]:
    """A new key, with its secret."""
    wanted.setdefault("name", f"key {new_id()}")
    if path == "/api-keys":
        wanted.setdefault("user_id", who.service.demo.user.id)
    answer = await who.post(path, wanted)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def exchange(
    service: Running,
    secret: str,
    username: str | None = None,
    *,
    tenant: str | None = None,
    address: str | None = None,
    **params: Any,
) -> httpx.Response:
    """Posts a key to the token endpoint. `address` needs a trusted proxy in the settings."""
    headers = {"x-tenant-id": tenant} if tenant else {}
    if address:
        headers["x-forwarded-for"] = address
    return await service.token(
        headers=headers,
        grant_type="password",
        username=username or service.username,
        password=secret,
        **params,
    )


async def holder(
    service: Running,
    secret: str,
    username: str | None = None,
    *,
    tenant: str | None = None,
    header: str | None = None,
    **params: Any,
) -> Person:
    """Somebody who calls with a token of that key; `header` is what x-tenant-id says then."""
    answer = await exchange(service, secret, username, tenant=tenant, **params)
    assert answer.status_code == 200, answer.text
    return Person(service, service.demo.user, answer.json()["access_token"], header)


async def add_endpoint(
    service: Running,
    tenant: str,
    method: str,
    path: str,
    *opened_by: str,
    of: str = "assets",
    administrative: bool = False,
) -> Endpoint:
    """An endpoint in a tenant's catalogue, opened by one group of permissions."""
    now = service.clock()
    endpoint = Endpoint(
        id=new_id(),
        tenant_id=tenant,
        service=of,
        method=method,
        path=path,
        name=path,
        opened_by=(frozenset(opened_by),),
        deprecated=False,
        experimental=False,
        administrative=administrative,
        created_at=now,
        updated_at=now,
        version=1,
    )
    async with service.service.parts.store.transaction() as tx:
        await tx.endpoints.add([endpoint])
    return endpoint


async def audited(service: Running, tenant: str, action: str) -> list[dict[str, Any]]:
    """The data of a tenant's events of that action, the newest first."""
    await service.service.usage.flush()
    async with service.service.parts.store.transaction() as tx:
        page = await tx.audit.events(tenant, AuditFilter(action=action), Slice(50))
    return [{**event.data, "target": event.target, "actor": event.actor} for event in page.items]


async def policy(root: Person, tenant: str, **settled: Any) -> None:
    answer = await root.put(f"/tenants/{tenant}/policy", settled)
    assert answer.status_code == 200, answer.text


async def role_id(service: Running, tenant: str, name: str) -> str:
    async with service.service.parts.store.transaction() as tx:
        [found] = [role for role in await tx.roles.in_tenant(tenant) if role.name == name]
    return found.id
