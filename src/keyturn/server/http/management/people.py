"""People about themselves: coming in by a code, their passwords, leaving."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.responses import Response

from ...services.management.people import Joined, Newcomer, PeopleManagement
from ..fields import Body, Name
from ..operation import Call, Operation, Own, Public, done, shown
from .api_keys import made_view
from .invitations import InvitationCode, offer_view

# What may be a password, the rules say (domain.passwords); this bounds what they look at.
_Password = Annotated[str, StringConstraints(max_length=1024)]


class FirstKey(Body):
    """A new person's first API key."""

    name: Name


class Acceptance(Body):
    """An invitation's code, and who accepts it."""

    code: Annotated[InvitationCode, Field(repr=False)]
    password: Annotated[_Password, Field(repr=False)]
    name: Name | None = None
    api_key: FirstKey | None = None


class Preview(Body):
    """An invitation's code, and nothing else yet."""

    code: Annotated[InvitationCode, Field(repr=False)]


class NewPassword(Body):
    """The password that the caller has (null: none yet), and the one to be."""

    current: Annotated[_Password | None, Field(repr=False)]
    new: Annotated[_Password, Field(repr=False)]


def people_operations(people: PeopleManagement, base: str) -> list[Operation]:
    """The operations of people. `base` is what the answers' `href` begin with."""

    def view(joined: Joined) -> dict[str, Any]:
        user, key = joined.user, joined.key
        return {
            "user": {
                "id": user.id,
                "kind": user.kind,
                "name": user.display_name,
                "email": user.username,
                "home_tenant_id": user.home_tenant_id,
            },
            "invitation": offer_view(joined.offer, f"{base}/users/me/invitations"),
            "api_key": None if key is None else made_view(key, f"{base}/users/me/api-keys"),
        }

    async def accept(call: Call) -> Response:
        given = await call.body(Acceptance)
        key_name = None if given.api_key is None else given.api_key.name
        newcomer = Newcomer(given.code, given.password, given.name, key_name)
        return shown(view(await people.join(newcomer, call.address)), status=201)

    async def preview(call: Call) -> Response:
        offer, inviter = await people.preview((await call.body(Preview)).code)
        told = {
            "inviter": inviter,
            "tenant_name": offer.tenant_name,
            "role_name": offer.role_name,
            "expires_at": offer.invitation.expires_at,
        }
        return shown(told)

    async def change_password(call: Call) -> Response:
        given = await call.body(NewPassword)
        await people.change_password(call.own, given.current, given.new)
        return done()

    async def leave(call: Call) -> Response:
        await people.leave(call.own, call.path("tenant_id"))
        return done()

    by_code = Public("the code is a secret of 256 random bits")
    return [
        Operation(
            "acceptInvitation", "POST", "/invitations/accept", by_code, accept, body=Acceptance
        ),
        Operation(
            "previewInvitation", "POST", "/invitations/preview", by_code, preview, body=Preview
        ),
        Operation(
            "changePassword",
            "POST",
            "/users/me/password",
            Own(),
            change_password,
            body=NewPassword,
        ),
        Operation("leaveTenant", "DELETE", "/users/me/memberships/{tenant_id}", Own(), leave),
    ]
