"""Members: who holds roles in the tenant itself."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..visit import ROOT, Visit, see_other

_ALL, _ONE = "/t/{tenant_id}/members", "/t/{tenant_id}/members/{user_id}"
_ROLE = f"{_ONE}/roles/{{role_id}}/take"

#: What becomes of what a departed person made, by the policy `offboarding`.
_OFFBOARDING = {
    "disable": "the API keys made by this person here (revoked), and service users (disabled)",
    "delete": "the API keys made by this person here (revoked), and service users (deleted)",
}
_KEPT = (
    "Service users and API keys that this person made here stay: so it is settled in the policy of"
    " the tenant."
)
_UNKNOWN = (
    "What becomes of service users and API keys that this person made here, the policy of the"
    " tenant says."
)


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listMembers"),
        View("GET", _ONE, one, "getMember"),
        View("GET", f"{_ONE}/remove", ask_remove, "removeMember"),
        View("POST", f"{_ONE}/remove", remove, "removeMember"),
        View("GET", _ROLE, ask_take, "takeRole"),
        View("POST", _ROLE, take, "takeRole"),
    ]


async def everyone(visit: Visit) -> Response:
    """Who holds roles in the tenant itself, page by page."""
    query = {"cursor": visit.asked("cursor"), "query": visit.asked("query")[:128]}
    return visit.render("members/all.html", page=await visit.get("listMembers", query=query))


async def one(visit: Visit) -> Response:
    """One member, with the roles held here."""
    return visit.render("members/one.html", member=await _member(visit))


async def ask_remove(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return await _ask_remove(visit)


async def remove(visit: Visit) -> Response:
    """Takes all roles that the member has here."""
    try:
        await visit.ask("removeMember", path={"user_id": visit.path("user_id")})
    except Refusal as refusal:
        visit.refused(refusal)
        return await _ask_remove(visit, 400)
    return _on(visit, "/members", "member-removed")


async def ask_take(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return await _ask_take(visit)


async def take(visit: Visit) -> Response:
    """Takes one role. Whoever had no other is a member no more."""
    user_id = visit.path("user_id")
    last = len((await _member(visit))["roles"]) == 1
    try:
        await visit.ask("takeRole", path={"user_id": user_id, "role_id": visit.path("role_id")})
    except Refusal as refusal:
        visit.refused(refusal)
        return await _ask_take(visit, 400)
    return _on(visit, "/members" if last else f"/members/{user_id}", "role-taken")


async def _ask_remove(visit: Visit, status: int = 200) -> Response:
    member = await _member(visit)
    ends, note = await _leaving(visit, member)
    at = f"/members/{member['user_id']}"
    return visit.confirm(
        f"Remove {member['name']} from {visit.tenant.tenant_name}?",
        ends=[*(f"the role {role['role_name']}" for role in member["roles"]), *ends],
        note=note,
        label="Remove",
        action=f"{at}/remove",
        back=at,
        status=status,
    )


async def _ask_take(visit: Visit, status: int = 200) -> Response:
    member, role_id = await _member(visit), visit.path("role_id").lower()
    names = [role["role_name"] for role in member["roles"] if role["role_id"] == role_id]
    name = names[0] if names else "this role"
    ends = [f"what {name} opens, for {member['name']}"]
    if names and len(member["roles"]) == 1:
        more, note = await _leaving(visit, member)
        ends += more
        note = f"It is the only role here: {member['name']} is a member no more. {note}"
    else:
        ends.append("all access tokens of today: new ones carry the other roles")
        note = ""
    at = f"/members/{member['user_id']}"
    return visit.confirm(
        f"Take the role {name} from {member['name']}?",
        ends=ends,
        note=note,
        label="Take away",
        action=f"{at}/roles/{role_id}/take",
        back=at,
        status=status,
    )


async def _leaving(visit: Visit, member: Document) -> tuple[list[str], str]:
    """What ends when a member goes, and what to know beside that."""
    ends = [f"all access tokens of {member['email']} of today: new ones open nothing here"]
    if member["user_id"] == visit.tenant.user_id:
        ends.append("your own way into this tenant: this is you")
    if member["kind"] == "service":
        return ends, "The service user stays, with its API keys: they open nothing here any more."
    tenant_id = visit.tenant.tenant_id
    settled = await visit.get_if("getTenantPolicy", tenant_id=tenant_id)
    if not settled:
        return ends, _UNKNOWN
    offboarding = settled["effective"].get("offboarding")
    if offboarding not in _OFFBOARDING:
        return ends, _KEPT
    return [*ends, _OFFBOARDING[offboarding]], "Nobody who holds a role above or below has left."


async def _member(visit: Visit) -> Document:
    return await visit.get("getMember", user_id=visit.path("user_id"))


def _on(visit: Visit, path: str, done: str) -> Response:
    """To the next page; who took something from themselves may not see it any more."""
    if visit.path("user_id").lower() == visit.tenant.user_id:
        return see_other(ROOT)
    return visit.to(path, done)
