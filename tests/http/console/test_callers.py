"""Who may call an endpoint, at the console."""

from __future__ import annotations

from keyturn.server.domain.permissions import VIEWER
from tests.http.console.conftest import Console, Enter
from tests.http.management.conftest import person


async def test_members_are_told_with_their_roles_and_keys(console: Console, enter: Enter) -> None:
    service = console.service
    body = {"service": "fleet", "method": "GET", "path": "/hosts/{id}", "name": "Read a host"}
    opened = {**body, "opened_by": [["hosts:read"]]}
    made = (await console.rest.post("/endpoints", opened)).json()
    role = await service.add_role(service.acme, "reading <i>", "hosts:read")
    reader = await person(service, role, service.acme)
    page = await console.page(f"/endpoints/{made['id']}")
    _, _, told = page.partition("Members who may call it")
    assert reader.user.username in told
    assert '<span class="badge ">reading &lt;i&gt;</span>' in told
    assert "/api-keys/" in told
    assert console.user.username not in told
    viewer = await enter(VIEWER)
    shown = await viewer.page(f"/endpoints/{made['id']}")
    assert ("Members who may call it" in shown) == ("users:read" in VIEWER.permissions)
