"""Signing keys, in the root tenant: which signs, which will, which did."""

from datetime import timedelta

from starlette.responses import Response

from ...domain.errors import Refusal
from ..frame import View
from ..timeline import timeline
from ..visit import Visit

_ALL, _ONE = "/t/{tenant_id}/signing-keys", "/t/{tenant_id}/signing-keys/{kid}"
#: How far ahead the timeline looks where nothing is planned.
_AHEAD = timedelta(days=1)


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listSigningKeys", root_only=True),
        View("GET", f"{_ALL}/rotate", ask_rotate, "rotateSigningKey", root_only=True),
        View("POST", f"{_ALL}/rotate", rotate, "rotateSigningKey", root_only=True),
        View("GET", f"{_ALL}/import", ask_import, "importSigningKey", root_only=True),
        View("POST", f"{_ALL}/import", bring, "importSigningKey", root_only=True),
        View("GET", f"{_ONE}/revoke", ask_revoke, "revokeSigningKey", root_only=True),
        View("POST", f"{_ONE}/revoke", revoke, "revokeSigningKey", root_only=True),
    ]


async def everyone(visit: Visit) -> Response:
    """All of them, on a timeline and in a table."""
    page = await visit.get("listSigningKeys")
    now = visit.templates.now()
    return visit.render(
        "signing_keys/all.html", page=page, line=timeline(page["items"], now, _AHEAD)
    )


async def ask_rotate(visit: Visit) -> Response:
    """Asks whether the next key is to sign."""
    keys = (await visit.get("listSigningKeys"))["items"]
    ready = [key for key in keys if key["slot"] == "next"]
    now = visit.templates.now().isoformat()
    early = [key for key in ready if key["ready_at"] and key["ready_at"] > now]
    note = "No token ends: those of the present key stay good until they expire."
    if early:
        note += " The next key was published only lately: verifiers that cached the keys before may"
        note += " refuse new tokens until they read them anew, so the service will say no for now."
    return visit.confirm(
        "Rotate the signing key?",
        note=note,
        label="Rotate",
        action="/signing-keys/rotate",
        back="/signing-keys",
    )


async def rotate(visit: Visit) -> Response:
    """Has the next key sign."""
    try:
        body = {"algorithm": visit.form.or_none("algorithm")}
        await visit.ask("rotateSigningKey", body=body)
    except Refusal as refusal:
        visit.refused(refusal)
        return await everyone(visit)
    return visit.to("/signing-keys", "signing-key-rotated")


async def ask_import(visit: Visit) -> Response:
    """The form to bring a private key along."""
    return visit.render("signing_keys/import.html")


async def bring(visit: Visit) -> Response:
    """Takes it in. It is never shown again, not even when it was refused."""
    try:
        await visit.ask("importSigningKey", body={"pem": visit.form.exact("pem")})
    except Refusal as refusal:
        visit.refused(refusal)
        visit.forget("pem")
        return visit.render("signing_keys/import.html", 400)
    return visit.to("/signing-keys", "signing-key-imported")


async def ask_revoke(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    kid = visit.path("kid")
    return visit.confirm(
        "Take this signing key away?",
        ends=[
            "every access token that it signed, yours perhaps among them",
            "its publication: who only checks signatures accepts its tokens until they read the"
            " keys anew",
        ],
        note=f"For a key that somebody else has. Refresh tokens stay good. Key {kid}",
        label="Take it away",
        action=f"/signing-keys/{kid}/revoke",
        back="/signing-keys",
    )


async def revoke(visit: Visit) -> Response:
    """Takes it away."""
    await visit.ask("revokeSigningKey", path={"kid": visit.path("kid")})
    return visit.to("/signing-keys", "signing-key-revoked")
