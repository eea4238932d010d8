"""Who may call what: all operations × all sorts of callers, made from what the operations declare.

Each operation is called with a neutral request (ids of nothing, an empty body), so that an
admitted call ends at something missing and changes nothing. A new operation is in the table by
itself; if its neutral request ends otherwise, it must say so in `OTHERWISE`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from keyturn.server.http.operation import Bearer, Needs, Operation, Own, Public
from keyturn.server.http.routes import routes
from tests.http.conftest import Running
from tests.http.contract import document
from tests.http.management.conftest import Person, person

#: Where an admitted neutral request ends, if not by the rule in `neutral`.
OTHERWISE: dict[str, int] = {
    "exchange": 400,
    "revoke": 400,
    "introspect": 400,
    "reportLeaks": 404,
    "setTenantPolicy": 404,
    "listSessions": 400,
    "revokeTokens": 400,
    "endOwnSessions": 204,
}
#: Ends the caller's token, whatever is asked: it comes last.
LAST = "endOwnSessions"

#: The root tenant's alone: refused in acme, whoever asks there.
ROOT_ONLY = {"listSigningKeys", "importSigningKey", "rotateSigningKey", "revokeSigningKey"}

CALLERS = ("nobody", "stranger", "viewer", "service_user", "admin", "root_admin")


def neutral(operation: Operation) -> tuple[dict[str, Any], int]:
    """A request that changes nothing, and what an admitted caller gets for it."""
    names = re.findall(r"{(\w+)}", operation.path)
    more: dict[str, Any] = {}
    if isinstance(operation.access, Public) and operation.body is None:
        more["data"] = {"nothing": "x"}
    elif operation.body is not None:
        more["json"] = {}
    if operation.id in OTHERWISE:
        return more, OTHERWISE[operation.id]
    required = operation.body is not None and any(
        field.is_required() for field in operation.body.model_fields.values()
    )
    asked = operation.query is not None and any(
        field.is_required() for field in operation.query.model_fields.values()
    )
    if required or asked:
        return more, 400
    return more, 404 if names else 200


def expected(operation: Operation, caller: str) -> int:
    """The status that this caller gets."""
    access = operation.access
    admitted = neutral(operation)[1]
    if isinstance(access, Public):
        return admitted
    if caller == "nobody":
        return 401
    if operation.id == "verifyCall" and caller == "stranger":
        return 403  # it is asked about the tenant in x-tenant-id
    if isinstance(access, Bearer | Own):
        return admitted
    assert isinstance(access, Needs)
    if operation.id in ROOT_ONLY:
        return 403
    refused = {
        "stranger": True,
        "viewer": access.permission not in VIEWER.permissions,
        "service_user": access.administers,
        "admin": False,
        "root_admin": False,
    }[caller]
    return 403 if refused else admitted


async def as_caller(service: Running, name: str) -> Person | None:
    if name == "nobody":
        return None
    if name == "root_admin":
        username, key = service.admin
        answer = await service.token(grant_type="password", username=username, password=key)
        user = service.demo.platform.user
        return Person(service, user, answer.json()["access_token"], service.acme)
    if name == "stranger":
        found = await person(service, TENANT_ADMIN, service.globex)
        found.tenant = service.acme
        return found
    role = VIEWER if name == "viewer" else TENANT_ADMIN
    kind = UserKind.SERVICE if name == "service_user" else UserKind.HUMAN
    return await person(service, role, service.acme, kind=kind)


@pytest.mark.parametrize("name", CALLERS)
async def test_every_operation_by_every_caller(service: Running, name: str) -> None:
    caller = await as_caller(service, name)
    wrong: dict[str, tuple[int, int]] = {}
    operations = service.service.surface.operations
    for operation in sorted(operations, key=lambda operation: operation.id == LAST):
        more, _ = neutral(operation)
        path = re.sub(r"{\w+}", new_id(), operation.path)
        # Public ones are told who calls in the body: a token is not looked at.
        if caller is None or isinstance(operation.access, Public):
            headers = {"x-tenant-id": service.acme}
            answer = await service.client.request(
                operation.method, f"/iam{path}", headers=headers, **more
            )
        else:
            answer = await caller.call(operation.method, path, **more)
        if answer.status_code != expected(operation, name):
            wrong[operation.id] = (answer.status_code, expected(operation, name))
    assert wrong == {}, "operation: (got, expected)"


async def test_tenant_bound_calls_need_the_tenant_named(service: Running) -> None:
    admin = await person(service, TENANT_ADMIN, service.acme)
    admin.tenant = None
    for operation in service.service.surface.operations:
        if isinstance(operation.access, Needs):
            more, _ = neutral(operation)
            path = re.sub(r"{\w+}", new_id(), operation.path)
            assert (await admin.call(operation.method, path, **more)).status_code == 400


async def test_every_route_is_an_operation_or_a_published_document(service: Running) -> None:
    surface = service.service.surface
    declared = {surface.base_path + operation.path for operation in surface.operations}
    others = {route.path for route in routes(surface)} - declared
    assert all(path.startswith(("/.well-known/", "/health/")) for path in others)


async def test_what_administers_users_says_so(service: Running) -> None:
    """P6: service users are kept from it, and from lifting that."""
    for operation in service.service.surface.operations:
        if isinstance(operation.access, Needs):
            administers = operation.access.permission in {
                "users:write",
                "roles:write",
                "tokens:revoke",
            }
            assert operation.access.administers == (
                administers or operation.id == "setTenantPolicy"
            )


async def test_openapi_repeats_each_permission(service: Running) -> None:
    wrong: dict[str, tuple[object, object]] = {}
    for operation in service.service.surface.operations:
        item = document()["paths"][f"/iam{operation.path}"][operation.method.lower()]
        assert item["operationId"] == operation.id
        needed = operation.access.permission if isinstance(operation.access, Needs) else None
        if item.get("x-permission") != needed:
            wrong[operation.id] = (item.get("x-permission"), needed)
        schemes = [name for alternative in item["security"] for name in alternative]
        if not isinstance(operation.access, Public) and schemes != ["bearer"]:
            wrong[operation.id] = (schemes, ["bearer"])
    assert wrong == {}, "operation: (openapi.yaml, code)"
