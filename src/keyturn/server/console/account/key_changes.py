"""What becomes of one's own API key: another name, another secret, its end."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..frame import View
from ..nouns import api_key_changes
from ..over import need_live, need_not_revoked
from ..visit import Visit
from .keys import ALL, show_own_secret, username

_ONE = f"{ALL}/{{key_id}}"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", f"{_ONE}/rename", ask_rename),
        View("POST", f"{_ONE}/rename", rename),
        View("GET", f"{_ONE}/rotate", ask_rotate),
        View("POST", f"{_ONE}/rotate", rotate),
        View("GET", f"{_ONE}/revoke", ask_revoke),
        View("POST", f"{_ONE}/revoke", revoke),
    ]


async def ask_rename(visit: Visit) -> Response:
    """The form of its name: all else stays as it was made."""
    return await _rename_form(visit)


async def rename(visit: Visit) -> Response:
    """Renames it."""
    form, path = visit.form, {"key_id": visit.path("key_id")}
    body = {"name": form.text("name")}
    try:
        await visit.ask("renameOwnApiKey", path=path, body=body, if_match=form.or_none("etag"))
    except Refusal as refusal:
        visit.refused(refusal)
        return await _rename_form(visit, 400)
    return visit.to(f"{ALL}/{path['key_id']}", "saved")


async def ask_rotate(visit: Visit) -> Response:
    """Asks how long the old secret is to work."""
    return await _rotate_form(visit)


async def rotate(visit: Visit) -> Response:
    """Gives it another secret, and shows that. The form sent twice gives one, and the same."""
    form, path = visit.form, {"key_id": visit.path("key_id")}
    # Before: with the old secret may end what came before it, this very call's token, too.
    name = await username(visit)
    try:
        body = api_key_changes.rotation(form)
        made = await visit.ask(
            "rotateOwnApiKey", path=path, body=body, if_match=form.or_none("etag"), once=True
        )
    except Refusal as refusal:
        visit.refused(refusal)
        return await _rotate_form(visit, 400)
    return show_own_secret(visit, made.data, name, "The API key has another secret")


async def ask_revoke(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    key = await visit.get("getOwnApiKey", key_id=visit.path("key_id"))
    need_not_revoked(key, ALL)
    used = f"last used {visit.ago(key['last_used_at'])}"
    if key["last_used_from"]:
        used += f" from {key['last_used_from']}"
    return visit.confirm(
        f"Revoke {key['name']}?",
        ends=[
            f"your API key {key['name']}, {used}",
            "all its sessions, and its access tokens on every resource server, within a second",
        ],
        note="Programs that have this key get no token any more. It cannot be undone.",
        label="Revoke",
        action=f"{ALL}/{key['id']}/revoke",
        back=f"{ALL}/{key['id']}",
    )


async def revoke(visit: Visit) -> Response:
    """Revokes it."""
    key_id = visit.path("key_id")
    await visit.ask("revokeOwnApiKey", path={"key_id": key_id})
    return visit.to(f"{ALL}/{key_id}", "api-key-revoked")


async def _rename_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getOwnApiKey", path={"key_id": visit.path("key_id")})
    need_live(answer.data, ALL)
    return visit.render("account/key_rename.html", status, key=answer.data, etag=answer.etag)


async def _rotate_form(visit: Visit, status: int = 200) -> Response:
    answer = await visit.ask("getOwnApiKey", path={"key_id": visit.path("key_id")})
    return api_key_changes.rotation_page(visit, answer, status, at=ALL)
