"""Administrators of the demo's tenants, and calls in their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from keyturn.server.domain.model import Role, User, UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN
from tests.http.conftest import Running


@dataclass
class Person:
    """Somebody who calls: a token, and the tenant in x-tenant-id (None: none)."""

    service: Running
    user: User
    token: str
    tenant: str | None

    async def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Calls `/iam` + path. `json=`, `params=`, `headers=` as in httpx."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        if self.tenant is not None:
            headers.setdefault("x-tenant-id", self.tenant)
        return await self.service.client.request(method, f"/iam{path}", headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        if json is None:
            return await self.call("POST", path, **more)
        return await self.call("POST", path, json=json, **more)

    async def patch(self, path: str, json: Any, **more: Any) -> httpx.Response:
        return await self.call("PATCH", path, json=json, **more)

    async def put(self, path: str, json: Any, **more: Any) -> httpx.Response:
        return await self.call("PUT", path, json=json, **more)

    async def delete(self, path: str, **more: Any) -> httpx.Response:
        return await self.call("DELETE", path, **more)


async def person(
    service: Running,
    role: Role | None,
    tenant: str,
    *,
    kind: UserKind = UserKind.HUMAN,
    home: str | None = None,
) -> Person:
    """Somebody new with `role` in `tenant`, holding a token."""
    user = await service.add_user(kind, home=home or tenant)
    if role is not None:
        await service.give(user.id, tenant, role.id)
    key = await service.add_key(user_id=user.id, home_tenant_id=user.home_tenant_id)
    body = await service.exchange(key=key, user=user.username)
    return Person(service, user, body["access_token"], tenant)


@pytest.fixture
async def admin(service: Running) -> Person:
    """The administrator of acme."""
    return await person(service, TENANT_ADMIN, service.acme)


@pytest.fixture
async def root_admin(service: Running) -> Person:
    """The platform's administrator, in the root tenant."""
    username, key = service.admin
    answer = await service.token(grant_type="password", username=username, password=key)
    demo = service.demo.platform
    return Person(service, demo.user, answer.json()["access_token"], demo.tenant.id)
