"""`/invitations`, and their answers: one's own, and those of service users at home here."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from starlette.responses import Response

from ...services.callers import Needs
from ...services.management.invitations import InvitationManagement, Invited
from ...services.management.offers import INVITE, Offer, OfferState
from ...services.ports import Page
from ..fields import Body, Email, Id, Name, PageQuery
from ..operation import Call, Operation, Own, done, listed, part, shown

_DAY = 86_400
InvitationCode = Annotated[str, StringConstraints(max_length=128)]


class NewInvitation(Body):
    """A role, offered to a mail address for some time (seconds)."""

    email: Email
    role_id: Id
    expires_in: Annotated[int, Field(ge=1, le=30 * _DAY)] = 7 * _DAY


class InvitationQuery(PageQuery):
    """Which of the tenant's invitations."""

    state: OfferState | None = None
    query: Name = ""


class InvitationAnswer(Body):
    """What becomes of a service user's invitation."""

    state: Literal["accepted", "declined"]

    @property
    def accepted(self) -> bool:
        """Whether it is to become a membership."""
        return self.state == "accepted"


class OwnInvitationAnswer(InvitationAnswer):
    """What becomes of one's own; `code` is the invitation's."""

    code: Annotated[InvitationCode | None, Field(repr=False)] = None


def offer_view(offer: Offer, at: str) -> dict[str, Any]:
    """An invitation as it is shown. `at` is what stands before its id in `href`."""
    invitation = offer.invitation
    return {
        "id": invitation.id,
        "href": f"{at}/{invitation.id}",
        "tenant_id": invitation.tenant_id,
        "tenant_name": offer.tenant_name,
        "role_id": invitation.role_id,
        "role_name": offer.role_name,
        "email": invitation.email,
        "state": offer.state,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "answered_at": invitation.answered_at,
        "created_by": invitation.created_by,
    }


def invitation_operations(invitations: InvitationManagement, base: str) -> list[Operation]:
    """The operations on invitations. `base` is what the answers' `href` begin with."""
    here, own = f"{base}/invitations", f"{base}/users/me/invitations"

    def view(offer: Offer) -> dict[str, Any]:
        return offer_view(offer, here)

    def own_view(offer: Offer) -> dict[str, Any]:
        return offer_view(offer, own)

    def of_user(call: Call) -> str:
        return f"{base}/service-users/{call.path('user_id').lower()}/invitations"

    def made(invited: Invited) -> Response:
        body = {**view(invited.offer), "code": invited.code, "mailed": invited.mailed}
        return shown(body, status=201, at=body["href"])

    async def list_invitations(call: Call) -> Response:
        query = call.query(InvitationQuery)
        page = part(query.limit, query.cursor)
        offers = await invitations.made_here(call.tenant, page, query.state, query.query)
        return listed(offers, view)

    async def invite(call: Call) -> Response:
        new = await call.body(NewInvitation)
        invited = await invitations.invite(
            call.tenant,
            new.email,
            new.role_id,
            good_for=new.expires_in,
            once=call.once(made),
        )
        return made(invited)

    async def read(call: Call) -> Response:
        return shown(view(await invitations.get(call.tenant, call.path("invitation_id"))))

    async def withdraw(call: Call) -> Response:
        await invitations.withdraw(call.tenant, call.path("invitation_id"))
        return done()

    async def list_own(call: Call) -> Response:
        return listed(Page(await invitations.own(call.own)), own_view)

    async def answer(call: Call) -> Response:
        given = await call.body(OwnInvitationAnswer)
        offer = await invitations.answer(
            call.own, call.path("invitation_id"), accepted=given.accepted, code=given.code
        )
        return shown(own_view(offer))

    async def list_of_user(call: Call) -> Response:
        offers = await invitations.of_service_user(call.tenant, call.path("user_id"))
        return listed(Page(offers), lambda offer: offer_view(offer, of_user(call)))

    async def answer_for(call: Call) -> Response:
        given = await call.body(InvitationAnswer)
        offer = await invitations.answer_for(
            call.tenant,
            call.path("user_id"),
            call.path("invitation_id"),
            accepted=given.accepted,
        )
        return shown(offer_view(offer, of_user(call)))

    read_them, write_them = Needs("users:read"), Needs(INVITE, administers=True)
    one = "/invitations/{invitation_id}"
    users = "/service-users/{user_id}/invitations"
    return [
        Operation(
            "listInvitations",
            "GET",
            "/invitations",
            read_them,
            list_invitations,
            query=InvitationQuery,
        ),
        Operation(
            "invite", "POST", "/invitations", write_them, invite, body=NewInvitation, creates=True
        ),
        Operation("getInvitation", "GET", one, read_them, read),
        Operation("withdrawInvitation", "DELETE", one, write_them, withdraw),
        Operation("listMyInvitations", "GET", "/users/me/invitations", Own(), list_own),
        Operation(
            "answerMyInvitation",
            "PATCH",
            "/users/me/invitations/{invitation_id}",
            Own(),
            answer,
            body=OwnInvitationAnswer,
        ),
        Operation("listServiceUserInvitations", "GET", users, read_them, list_of_user),
        Operation(
            "answerServiceUserInvitation",
            "PATCH",
            f"{users}/{{invitation_id}}",
            Needs("invitations:accept"),
            answer_for,
            body=InvitationAnswer,
        ),
    ]
