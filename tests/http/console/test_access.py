"""Nobody sees or does more at the console than by REST: the table of tests/http/test_access.py, for
every view × every sort of person.

Whom an operation lets in is let in to the views that it opens, and nobody else is. A new view is in
the table by itself.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from keyturn.server.console.frame import View
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import OWN, TENANT_ADMIN, VIEWER
from keyturn.server.http.operation import Needs
from keyturn.server.tokens.passwords import Argon2Passwords
from tests.http.conftest import Running
from tests.http.console import walk
from tests.http.console.conftest import PASSWORD, Console, Enter, sign_in
from tests.http.management.conftest import person
from tests.http.test_access import ROOT_ONLY, expected

#: Views in a tenant that no operation opens, and why whoever holds a role there may see them.
FOR_ALL_MEMBERS = {
    "/t/{tenant_id}": "the overview: each part of it is asked for as an operation of its own",
    "/t/{tenant_id}/inspect": "the inspector: what it says is what the operations that it asks say",
}
PEOPLE = ("stranger", "viewer", "admin", "root_admin")
#: Ends the person's own sign-in, whatever the form holds.
ENDS = "/sign-out"


async def as_person(enter: Enter, service: Running, name: str) -> Console:
    """Somebody of that sort, at the pages of acme."""
    root = service.demo.platform.tenant.id
    home = {"stranger": service.globex, "root_admin": root}.get(name, service.acme)
    found = await enter(VIEWER if name == "viewer" else TENANT_ADMIN, tenant=home)
    found.tenant = found.rest.tenant = service.acme
    return found


def lets_in(service: Running, view: View, name: str) -> bool:
    """What the REST table says of the operation that opens a view in acme."""
    if view.opens is None:
        return name != "stranger"
    return expected(walk.operations(service)[view.opens], name) != 403


def of_tenants(service: Running, method: str = "") -> list[View]:
    found = [view for view in walk.views(service) if view.path.startswith(walk.IN_TENANT)]
    return [view for view in found if method in ("", view.method)]


class TestTable:
    async def test_every_view_of_a_tenant_names_the_operation_that_opens_it(
        self, service: Running
    ) -> None:
        known = walk.operations(service)
        for view in of_tenants(service):
            assert not view.public, view
            if view.opens is None:
                assert view.method == "GET", view
                assert view.path in FOR_ALL_MEMBERS, view
            else:
                assert view.opens in known, view

    async def test_what_a_form_changes_is_asked_for_by_who_may_change_it(
        self, service: Running
    ) -> None:
        forms = {view.path: view.opens for view in of_tenants(service, "POST")}
        for view in of_tenants(service, "GET"):
            assert forms.get(view.path, view.opens) == view.opens, view

    @pytest.mark.parametrize("name", PEOPLE)
    async def test_every_view_by_every_person(
        self, service: Running, enter: Enter, name: str
    ) -> None:
        who = await as_person(enter, service, name)
        wrong: dict[str, tuple[int, bool]] = {}
        seen = {True: 0, False: 0}
        before = await walk.rows(service)
        # Those that are refused come first: by then nothing may have changed.
        views = sorted(of_tenants(service), key=lambda view: lets_in(service, view, name))
        for view in views:
            admitted = lets_in(service, view, name)
            if admitted and before:
                assert await walk.rows(service) == before
                before = {}
            if walk.to_sign_in(await who.client.get("/console/tenants")):
                assert (await sign_in(who.client, who.user.username, PASSWORD)).is_redirect
            answer = await walk.ask(who, view, walk.address(view, service.acme))
            assert not walk.to_sign_in(answer), view
            if (answer.status_code != 403) != admitted:
                wrong[f"{view.method} {view.path}"] = (answer.status_code, admitted)
            assert answer.status_code < 500, (view, answer.text)
            seen[admitted] += 1
        assert wrong == {}, "view: (got, admitted)"
        if before:
            assert await walk.rows(service) == before
        assert seen[name != "stranger"] > 0

    async def test_nobody_is_asked_to_sign_in(self, service: Running) -> None:
        before = await walk.rows(service)
        for view in walk.views(service):
            if view.public:
                continue
            path = walk.address(view, service.acme)
            answer = await service.client.request(view.method, path)
            assert walk.to_sign_in(answer), view
            assert not answer.text
        assert await walk.rows(service) == before

    async def test_who_signed_in_sees_what_is_of_no_tenant(self, console: Console) -> None:
        for view in walk.views(console.service):
            if view.public or view.path.startswith(walk.IN_TENANT):
                continue
            if view.method == "GET":
                answer = await console.client.get(walk.address(view))
                # 409: an invitation that can't be answered, whether there was one or not.
                assert answer.status_code in (200, 303, 404, 409), view
                assert not walk.to_sign_in(answer)

    async def test_who_lost_every_role_is_refused_at_once(
        self, console: Console, service: Running
    ) -> None:
        await person(service, TENANT_ADMIN, service.acme)  # the last one stays
        assert (await console.get("")).status_code == 200
        path = f"/members/{console.user.id}/roles/{TENANT_ADMIN.id}"
        await service.administer("DELETE", path, service.acme)
        for view in of_tenants(service, "GET"):
            answer = await console.client.get(walk.address(view, service.acme))
            assert answer.status_code == 403 or walk.to_sign_in(answer), view

    async def test_what_is_the_platforms_is_refused_elsewhere_before_a_form_is_read(
        self, console: Console, service: Running
    ) -> None:
        found = [view for view in of_tenants(service) if view.opens in ROOT_ONLY]
        assert found
        for view in found:
            answer = await walk.ask(console, view, walk.address(view, service.acme), pem="x")
            assert answer.status_code == 403, view


class TestServiceUsers:
    async def test_never_sign_in_even_with_a_password(self, service: Running) -> None:
        user = await service.add_user(UserKind.SERVICE)
        await service.give(user.id, service.acme, TENANT_ADMIN.id)
        passwords = Argon2Passwords()
        hashed = await passwords.hash(PASSWORD)
        passwords.close()
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_password(user.id, hashed, service.clock())
        answer = await sign_in(service.client, user.username, PASSWORD)
        assert answer.status_code == 401
        assert not walk.cookie_of(service.client)

    async def test_a_token_or_a_key_is_no_cookie(self, console: Console, service: Running) -> None:
        tokens = await service.exchange()
        for worth in (tokens["access_token"], tokens["refresh_token"], service.api_key):
            for header in ({"Cookie": f"keyturn={worth}"}, {"Authorization": f"Bearer {worth}"}):
                service.client.cookies.clear()
                path = f"/console/t/{service.acme}"
                assert walk.to_sign_in(await service.client.get(path, headers=header))
        # Nor is a cookie a token, or a key.
        cookie = walk.cookie_of(console.client)
        assert (await service.get("/iam/users/me", cookie)).status_code == 401
        for name in (console.user.username, service.username):
            answer = await service.token(grant_type="password", username=name, password=cookie)
            assert answer.status_code == 400


class TestOtherTenants:
    async def test_are_refused_alike_whether_they_exist_or_not(
        self, console: Console, service: Running
    ) -> None:
        def told(answer: httpx.Response, tenant_id: str) -> tuple[int, str]:
            text = answer.text.replace(tenant_id, "T")
            return answer.status_code, re.sub(r"Request \S+<", "", text)

        globex = (
            await service.administer("GET", f"/tenants/{service.globex}", service.globex)
        ).json()
        for view in of_tenants(service):
            answers = set()
            for tenant_id in (service.globex, service.demo.platform.tenant.id, new_id()):
                answer = await walk.ask(console, view, walk.address(view, tenant_id))
                assert globex["name"] not in answer.text
                answers.add(told(answer, tenant_id))
            assert len(answers) == 1, view
            assert answers.pop()[0] == 403, view

    async def test_ids_that_are_none_are_no_tenants(self, console: Console) -> None:
        for wrong in ("x", "%00", "..%2f..", "'--", "%F0%9F%98%80", "1" * 600):
            answer = await console.client.get(f"/console/t/{wrong}/api-keys")
            assert answer.status_code in (400, 404)

    async def test_things_of_others_are_not_there(
        self, console: Console, enter: Enter, service: Running
    ) -> None:
        """By their right ids, under the path of one's own tenant."""
        globex = await enter(tenant=service.globex)
        made = await planted(globex)
        before = await walk.rows(service)
        for view in of_tenants(service):
            if not set(re.findall(r"{(\w+)}", view.path)) & made.keys():
                continue
            answer = await walk.ask(console, view, walk.address(view, service.acme, **made))
            assert MARKER not in answer.text, view
            if view.method == "GET":
                assert answer.status_code in (200, 403, 404), view
            else:
                assert answer.status_code >= 400, view
        assert await walk.rows(service) == before


#: Begins what only who may read a kind of thing may see of it; `kind` follows.
MARKER = "only-for-"


async def planted(admin: Console) -> dict[str, str]:
    """One of each kind of thing, named by MARKER and its kind; their ids, by names in paths."""

    async def made(path: str, body: Any, **more: Any) -> Any:
        answer = await admin.rest.post(path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    name = MARKER
    user = await made(
        "/service-users",
        {"name": f"{name}users", "role_id": VIEWER.id, "description": f"{name}users"},
    )
    key = await made("/api-keys", {"user_id": user["id"], "name": f"{name}keys"})
    await admin.rest.put("/permissions/a:read", {"description": f"{name}roles"})
    role = await made(
        "/roles",
        {"name": f"{name}roles", "description": f"{name}roles", "permissions": ["a:read"]},
    )
    invitation = await made(
        "/invitations", {"email": f"{name}users@example.com", "role_id": VIEWER.id}
    )
    endpoint = await made(
        "/endpoints",
        {
            "service": f"{name}endpoints",
            "method": "GET",
            "path": f"/{name}endpoints/{{id}}",
            "name": f"{name}endpoints",
            "opened_by": [["a:read"]],
        },
    )
    server = await made(
        "/resource-servers",
        {
            "identifier": f"https://{name}resource-servers.example/",
            "name": f"{name}resource-servers",
        },
    )
    webhook = await made(
        "/webhooks",
        {"name": f"{name}webhooks", "url": "https://93.184.215.14/" + name + "webhooks"},
    )
    tokens = await admin.service.token(
        grant_type="password", username=user["email"], password=key["secret"]
    )
    return {
        "user_id": user["id"],
        "key_id": key["id"],
        "role_id": role["id"],
        "invitation_id": invitation["id"],
        "endpoint_id": endpoint["id"],
        "resource_server_id": server["id"],
        "server_id": server["id"],
        "webhook_id": webhook["id"],
        "session_id": tokens.json()["access_token"] and new_id(),
    }


_MARKED = re.compile(rf"{MARKER}[a-z-]+")


async def told_by_rest(who: Console, made: dict[str, str]) -> set[str]:
    """The marked names in all that the person can read by REST."""
    found: set[str] = set()
    for operation in who.service.service.surface.operations:
        if operation.method == "GET":
            path = re.sub(r"{(\w+)}", lambda m: made.get(m[1], new_id()), operation.path)
            found |= set(re.findall(_MARKED, (await who.rest.get(path)).text))
    return found


class TestEachPermissionAlone:
    async def test_opens_what_is_offered_and_shows_nothing_else(
        self, service: Running, enter: Enter
    ) -> None:
        made = await planted(await enter())
        shown: set[str] = set()
        for permission in ("", *sorted(OWN)):
            shown |= await self.walk(service, enter, permission, made)
        # What is looked for is there to be found.
        kinds = {found.removeprefix(MARKER) for found in shown}
        assert kinds >= {"users", "keys", "roles", "endpoints", "webhooks"}

    async def walk(
        self, service: Running, enter: Enter, permission: str, made: dict[str, str]
    ) -> set[str]:
        """Somebody who may do one thing; gives what pages showed them."""
        role = await service.add_role(
            service.acme, f"single {permission}", *([permission] if permission else ["x:y"])
        )
        who = await enter(role)
        known = walk.operations(service)
        get = of_tenants(service, "GET")
        told, shown = await told_by_rest(who, made), set[str]()
        offered: set[str] = set()
        for view in get:
            # The person's own id among them: pages of things that are theirs.
            path = walk.address(view, service.acme, **made)
            answer = await who.client.get(path)
            access = None if view.opens is None else known[view.opens].access
            assert access is None or isinstance(access, Needs)
            may = access is None or access.permission == permission
            if view.opens in ROOT_ONLY:
                may = False
            # A form that shows what is there is for who may read that, too.
            if not may or access is None or access.permission.endswith(":read"):
                assert (answer.status_code != 403) == may, (permission, view, answer.status_code)
            assert answer.status_code < 500, (view, answer.text)
            if answer.status_code == 403:
                assert MARKER not in answer.text
                continue
            offered |= links(answer.text, f"/console/t/{service.acme}")
            seen = set(re.findall(_MARKED, answer.text))
            assert seen <= told, (permission, view, seen - told)
            shown |= seen
        assert f"/console/t/{service.acme}" in offered
        for link in sorted(offered):
            answer = await who.client.get(link)
            assert answer.status_code == 200, (permission, link, answer.status_code)
        return shown


def links(page: str, below: str) -> set[str]:
    """What the navigation of a page offers in the tenant."""
    [navigation] = re.findall(r'<nav class="side".*?</nav>', page, re.DOTALL) or [""]
    return {link for link in re.findall(r'href="([^"]*)"', navigation) if link.startswith(below)}
