"""`/tokens/inspect`: what a pasted token is, and what it is worth."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.responses import Response

from ..services.callers import Needs
from ..services.inspecting import MAX_TEXT, Inspecting, Inspection, TokenState
from .fields import Body
from .limits import FAILED
from .operation import Call, Operation, shown


class PastedToken(Body):
    """A token, or an API key."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), Field(repr=False)]


def inspecting_operations(inspecting: Inspecting) -> list[Operation]:
    """The operation on what somebody holds in their hands."""

    async def inspect(call: Call) -> Response:
        text = (await call.body(PastedToken)).token.strip()
        found = await inspecting.inspect(call.tenant, text)
        if found.guessed:
            call.request.scope[FAILED] = True
        return shown(_view(found))

    read, path = Needs("sessions:read"), "/tokens/inspect"
    return [Operation("inspectToken", "POST", path, read, inspect, body=PastedToken)]


def _view(found: Inspection) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "header": found.header,
        "claims": found.claims,
        "signature": found.signature,
        "state": None if found.state is None else _state(found.state),
    }


def _state(state: TokenState) -> dict[str, Any]:
    user = state.user
    return {
        "active": not state.reasons,
        "reasons": state.reasons,
        "user_id": user.id,
        "kind": user.kind,
        "name": user.display_name,
        "email": user.username,
        "api_key_id": state.key_id,
        "session_id": state.session_id,
        "expires_at": state.expires_at,
        "may": [
            {
                "tenant_id": each.tenant_id,
                "tenant_name": each.tenant_name,
                "roles": each.roles,
                "permissions": each.permissions,
            }
            for each in state.may
        ],
    }
