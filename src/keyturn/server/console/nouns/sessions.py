"""Sessions: what a user's or a key's tokens came from, and how to end them."""

from starlette.responses import Response

from ...domain.errors import Refusal, invalid_request
from ..api import Document
from ..frame import View
from ..visit import Visit

_ALL = "/t/{tenant_id}/sessions"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listSessions"),
        View("GET", f"{_ALL}/{{session_id}}/end", ask_end, "endSession"),
        View("POST", f"{_ALL}/{{session_id}}/end", end, "endSession"),
        View("GET", "/t/{tenant_id}/revocations", ask_revoke, "revokeTokens"),
        View("POST", "/t/{tenant_id}/revocations", revoke, "revokeTokens"),
    ]


async def everyone(visit: Visit) -> Response:
    """Those of one user or one key; before that, whose."""
    whose = {name: visit.asked(name) for name in ("user_id", "api_key_id") if visit.asked(name)}
    page: Document = {"items": [], "next_cursor": None}
    found: list[Document] = []
    if whose:
        query = {**whose, "live": bool(visit.asked("live")), "cursor": visit.asked("cursor")}
        try:
            page = await visit.get("listSessions", query=query)
        except Refusal as refusal:
            visit.refused(refusal)
    else:
        found = await _users(visit)
    return visit.render("sessions/all.html", page=page, whose=whose, found=found)


async def ask_end(visit: Visit) -> Response:
    """Asks whether to end one."""
    at = f"/sessions/{visit.path('session_id')}"
    return visit.confirm(
        "End this session?",
        ends=["its access tokens, on every resource server, within a second", "its refresh token"],
        note="The API key that it came from stays good.",
        label="End it",
        action=f"{at}/end",
        back="/sessions",
    )


async def end(visit: Visit) -> Response:
    """Ends it."""
    await visit.ask("endSession", path={"session_id": visit.path("session_id")})
    return visit.to("/sessions", "session-ended")


#: What can be ended by one call: the field of the API, and the words.
_KINDS = {
    "user_id": "all sessions and tokens of the user",
    "api_key_id": "all sessions and tokens that the key gave",
    "everything": "all sessions and tokens of everybody at home here and in the tenants below",
}


async def ask_revoke(visit: Visit) -> Response:
    """Asks whether to end all that a user or a key has, or everything."""
    kind, subject = _wanted(visit.asked("kind")), visit.asked("subject")
    note = "API keys stay good: who holds one exchanges it again."
    if kind == "everything":
        note += " You are signed out, too, if you are at home here."
    return visit.confirm(
        "End everything?" if kind == "everything" else "End all sessions?",
        ends=[_KINDS[kind]],
        note=note,
        label="End them",
        action="/revocations",
        back="/sessions",
        fields={"kind": kind, "subject": subject},
    )


async def revoke(visit: Visit) -> Response:
    """Ends them."""
    kind, subject = _wanted(visit.form.text("kind")), visit.form.text("subject")
    await visit.ask("revokeTokens", body={kind: True if kind == "everything" else subject})
    return visit.to("/sessions", "tokens-ended")


def _wanted(kind: str) -> str:
    if kind not in _KINDS:  # whoever says nothing does not mean everything
        raise invalid_request("Say what to end: of a user, of an API key, or everything.")
    return kind


async def _users(visit: Visit) -> list[Document]:
    """Service users and members of that name, to choose from."""
    query = {"query": visit.asked("query"), "limit": 20}
    users = await visit.get_if("listServiceUsers", query=query)
    members = await visit.get_if("listMembers", query=query)
    people = [
        {"id": member["user_id"], "name": member["name"], "email": member["email"]}
        for member in members.get("items", [])
        if member["kind"] == "human"
    ]
    return [*people, *users.get("items", [])]
