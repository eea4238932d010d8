"""Invitations to the person: accepted by their code, or declined."""

from starlette.responses import Response

from ...domain.errors import Refusal
from ..api import Document
from ..frame import View
from ..over import Over
from ..visit import Visit

_ALL = "/account/invitations"
_ONE = f"{_ALL}/{{invitation_id}}"


def views() -> list[View]:
    """Their pages."""
    return [
        View("GET", _ALL, everyone),
        View("GET", f"{_ONE}/accept", ask_accept),
        View("POST", f"{_ONE}/accept", accept),
        View("GET", f"{_ONE}/decline", ask_decline),
        View("POST", f"{_ONE}/decline", decline),
    ]


async def everyone(visit: Visit) -> Response:
    """Those that can be answered."""
    page = await visit.get("listMyInvitations")
    return visit.render("account/invitations.html", offers=page["items"])


async def ask_accept(visit: Visit) -> Response:
    """The form of the code: it shows that the letter reached this person."""
    return visit.render("account/invitation_accept.html", offer=await _offer(visit))


async def accept(visit: Visit) -> Response:
    """Accepts it."""
    try:
        await _answer(visit, {"state": "accepted", "code": visit.form.text("code")})
    except Refusal as refusal:
        visit.refused(refusal)
        offer = await _offer(visit)
        return visit.render("account/invitation_accept.html", 400, offer=offer)
    return visit.to("/account", "invitation-accepted")


async def ask_decline(visit: Visit) -> Response:
    """Asks whether to decline it."""
    offer = await _offer(visit)
    return visit.confirm(
        f"Decline the invitation to {offer['tenant_name']}?",
        ends=[f"the offer of the role {offer['role_name']}"],
        note="Its code is worth nothing then. You can be invited again.",
        label="Decline",
        action=f"{_ALL}/{offer['id']}/decline",
        back=_ALL,
    )


async def decline(visit: Visit) -> Response:
    """Declines it."""
    await _answer(visit, {"state": "declined"})
    return visit.to(_ALL, "invitation-declined")


async def _answer(visit: Visit, body: Document) -> None:
    path = {"invitation_id": visit.path("invitation_id")}
    await visit.ask("answerMyInvitation", path=path, body=body)


async def _offer(visit: Visit) -> Document:
    offers: list[Document] = (await visit.get("listMyInvitations"))["items"]
    for offer in offers:
        if offer["id"] == visit.path("invitation_id"):
            return offer
    raise Over(
        "This invitation can't be answered any more",
        "You answered it, or it was withdrawn, or it has expired. Whoever invited you can make"
        " another.",
        _ALL,
    )
