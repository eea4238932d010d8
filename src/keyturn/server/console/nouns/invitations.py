"""Invitations: roles offered to mail addresses."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..over import Over
from ..visit import ROOT, Visit
from .choosing import MOST, roles_to_give

_ALL, _ONE = "/t/{tenant_id}/invitations", "/t/{tenant_id}/invitations/{invitation_id}"

_STATES = ("pending", "accepted", "declined", "withdrawn", "expired")
_DAY = 86_400


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone, "listInvitations"),
        View("GET", f"{_ALL}/new", ask_new, "invite"),
        View("POST", f"{_ALL}/new", invite, "invite"),
        View("GET", f"{_ONE}/withdraw", ask_withdraw, "withdrawInvitation"),
        View("POST", f"{_ONE}/withdraw", withdraw, "withdrawInvitation"),
    ]


async def everyone(visit: Visit) -> Response:
    """Those that wait for an answer, and on request the others."""
    state = visit.asked("state") or "pending"
    query = {
        "cursor": visit.asked("cursor"),
        "state": state if state in _STATES else "",
        "query": visit.asked("query")[:128],
    }
    page = await visit.get("listInvitations", query=query)
    return visit.render(
        "invitations/all.html",
        page=page,
        state=state,
        states=(*_STATES, "all"),
        people=await _people(visit) if page["items"] else {},
    )


async def ask_new(visit: Visit) -> Response:
    """Whom to invite, and into which role."""
    return await _new_form(visit)


async def invite(visit: Visit) -> Response:
    """Offers the role, and shows the code this once."""
    form = visit.form
    body: Document = {"email": form.text("email"), "role_id": form.text("role_id")}
    try:
        if (expires_in := form.number("expires_in")) is not None:
            body["expires_in"] = expires_in
        made = await visit.ask("invite", body=body, once=True)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _new_form(visit, 400)
    # What stands behind a # is sent to no server, and so is in no server's log.
    link = f"{visit.origin}{ROOT}/invitation#code={made.data['code']}"
    return visit.render("invitations/made.html", invitation=made.data, link=link)


async def ask_withdraw(visit: Visit) -> Response:
    """Asks, and says what it ends."""
    return await _ask_withdraw(visit)


async def withdraw(visit: Visit) -> Response:
    """Withdraws it, unless it was answered before."""
    path = {"invitation_id": visit.path("invitation_id")}
    try:
        await visit.ask("withdrawInvitation", path=path)
    except Refusal as refusal:
        visit.refused(refusal)
        return await _ask_withdraw(visit, 400)
    return visit.to("/invitations", "invitation-withdrawn")


async def _ask_withdraw(visit: Visit, status: int = 200) -> Response:
    offer = await visit.get("getInvitation", invitation_id=visit.path("invitation_id"))
    if offer["state"] != "pending":
        title = f"The invitation of {offer['email']} is {offer['state']}"
        raise Over(title, "There is nothing left to withdraw.", "/invitations")
    return visit.confirm(
        f"Withdraw the invitation of {offer['email']}?",
        ends=[f"the code that was sent: nobody comes in as {offer['role_name']} by it"],
        note="It stays listed. You can invite the same address again.",
        label="Withdraw",
        action=f"/invitations/{offer['id']}/withdraw",
        back="/invitations",
        status=status,
    )


async def _new_form(visit: Visit, status: int = 200) -> Response:
    days = [(str(count * _DAY), text) for count, text in _DAYS]
    return visit.render(
        "invitations/new.html", status, roles=await roles_to_give(visit), good_for=days
    )


_DAYS = ((1, "1 day"), (3, "3 days"), (7, "7 days"), (30, "30 days"))


async def _people(visit: Visit) -> dict[str, str]:
    """Names by id, to say who invited: of the first members, and one's own."""
    page = await visit.get_if("listMembers", query={"limit": MOST})
    names = {member["user_id"]: member["name"] for member in page.get("items", [])}
    return {**names, visit.tenant.user_id: "you"}
