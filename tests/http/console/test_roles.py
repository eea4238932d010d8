"""Roles and permissions at the console."""

from __future__ import annotations

import html

from keyturn.server.domain.permissions import TENANT_ADMIN, VIEWER
from tests.http.console.conftest import Console, Enter


async def made(console: Console, **fields: object) -> str:
    """A role of the tenant; its id."""
    new = {"name": "field engineer", "permissions": ["assets:read"], **fields}
    await console.rest.put("/permissions/assets:read", {"description": "Read <assets>."})
    answer = await console.rest.post("/roles", new)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class TestRoles:
    async def test_the_matrix_says_what_each_has(self, console: Console) -> None:
        role = await made(console)
        text = await console.page("/roles")
        assert "field engineer" in text
        assert f"/roles/{role}" in text
        assert text.count("built in") == 4
        assert "Read &lt;assets&gt;." in text
        row = text[text.index("<code>assets:read</code>") :]
        row = row[: row.index("</tr>")]
        assert row.count(">yes<") == 1
        assert row.count(">no<") == len(await listed(console)) - 1

    async def test_many_roles_come_in_pages(self, console: Console) -> None:
        for number in range(10):
            await made(console, name=f"role {number:02}")
        text = await console.page("/roles")
        assert "More roles" in text
        assert "viewer" not in text.split("<thead>")[1].split("</thead>")[0]
        rest = html.unescape(text.split('rel="next" href="')[1].split('"')[0])
        assert "viewer" in await console.page(rest)

    async def test_one_is_made_like_another(self, console: Console) -> None:
        form = await console.page(f"/roles/new?like={VIEWER.id}")
        assert form.count(" checked") == len(VIEWER.permissions)
        new = {"name": "<i>reader</i>", "permissions": ["roles:read", "users:read"]}
        text = await console.done("/roles/new", new)
        assert "&lt;i&gt;reader&lt;/i&gt;" in text
        [role] = [r for r in await listed(console) if r["name"] == new["name"]]
        assert role["permissions"] == ["roles:read", "users:read"]

    async def test_refusals_stand_at_their_fields(self, console: Console) -> None:
        await made(console)
        answer = await console.post("/roles/new", {"permissions": ["roles:read"]})
        assert 'id="e-name"' in answer.text
        answer = await console.post("/roles/new", {"name": "a", "permissions": ["no:body"]})
        assert 'id="e-permissions"' in answer.text
        answer = await console.post("/roles/new", {"name": "field engineer"})
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text

    async def test_one_is_changed(self, console: Console) -> None:
        role = await made(console)
        new = {"name": "engineer", "permissions": ["assets:read", "users:read"]}
        text = await console.done(f"/roles/{role}/edit", new)
        assert "engineer" in text
        [found] = [r for r in await listed(console) if r["id"] == role]
        assert (found["name"], found["permissions"]) == ("engineer", ["assets:read", "users:read"])

    async def test_what_somebody_changed_meanwhile_is_not_overwritten(
        self, console: Console
    ) -> None:
        role = await made(console)
        answer = await console.post(
            f"/roles/{role}/edit", {"name": "mine", "permissions": [], "etag": '"7"'}
        )
        assert answer.status_code == 400
        [found] = [r for r in await listed(console) if r["id"] == role]
        assert found["name"] == "field engineer"

    async def test_built_in_ones_are_only_read(self, console: Console) -> None:
        text = await console.page(f"/roles/{TENANT_ADMIN.id}")
        assert "not to be changed" in text
        assert "/edit" not in text
        assert "/delete" not in text
        answer = await console.post(f"/roles/{TENANT_ADMIN.id}/delete")
        assert answer.status_code == 409
        assert "is built in" in answer.text

    async def test_one_that_nobody_holds_is_deleted(self, console: Console) -> None:
        role = await made(console)
        await console.done(f"/roles/{role}/delete")
        assert role not in {r["id"] for r in await listed(console)}

    async def test_one_that_is_held_is_deleted_when_asked_twice(self, console: Console) -> None:
        role = await made(console)
        await console.rest.post("/members", {"user_id": console.user.id, "role_id": role})
        assert console.user.username in await console.page(f"/roles/{role}")
        assert console.user.username in await console.page(f"/roles/{role}/delete")
        answer = await console.post(f"/roles/{role}/delete")
        assert answer.status_code == 400
        assert 'name="force"' in answer.text
        await console.done(f"/roles/{role}/delete", {"force": "yes"})
        assert (await console.get(f"/roles/{role}")).status_code == 404

    async def test_a_viewer_reads_and_is_offered_nothing(self, enter: Enter) -> None:
        viewer = await enter(VIEWER)
        text = await viewer.page("/roles")
        assert "/roles/new" not in text
        assert "/permissions/register" not in await viewer.page("/permissions")
        for path in ("/roles/new", f"/roles/{VIEWER.id}/edit", "/permissions/register"):
            assert (await viewer.get(path)).status_code == 403


class TestPermissions:
    async def test_one_is_registered_and_described_anew(self, console: Console) -> None:
        new = {"name": "assets:write", "description": "Write <assets>."}
        text = await console.done("/permissions/register", new)
        assert "Write &lt;assets&gt;." in text
        await console.done("/permissions/register", {**new, "description": "Other"})
        assert "Other" in await console.page("/permissions")

    async def test_refusals_stand_at_their_fields(self, console: Console) -> None:
        for name in ("assets", "Assets:Write", "", "a/b:c", "users:read"):
            answer = await console.post("/permissions/register", {"name": name})
            assert answer.status_code == 400, name
            assert 'id="e-name"' in answer.text, name

    async def test_one_is_deleted_unless_a_role_has_it(self, console: Console) -> None:
        role = await made(console)
        at = "/permissions/assets:read/delete"
        answer = await console.post(at)
        assert answer.status_code == 400
        assert "has the permission" in answer.text
        await console.done(f"/roles/{role}/delete")
        await console.done(at)
        assert "assets:read" not in await console.page("/permissions")


async def listed(console: Console) -> list[dict[str, object]]:
    items: list[dict[str, object]] = (await console.rest.get("/roles")).json()["items"]
    return items
