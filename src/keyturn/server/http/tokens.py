"""Tokens, and who their bearer is: the OAuth endpoints, `/users/me`, `/tenants/current`."""

from typing import Annotated, Any, Protocol

from pydantic import Field
from starlette.responses import Response

from ..domain.errors import Refusal, Unavailable, invalid_request
from ..domain.permissions import TENANTS_READ
from ..oauth.calls import OAuthCall, clean, read_client
from ..oauth.grants import GRANTS
from ..services.callers import PAGE, Callers, Needs
from ..services.counts import Counts
from .body import read_params
from .caller import header, tenant_choice
from .errors import NO_STORE, json_response
from .fields import Id, Query
from .limits import FAILED, NAMED
from .operation import Bearer, Call, Operation, Public

#: The grants' short names, by what requests call them.
_GRANTS = {grant.GRANT_TYPE: name for name, grant in GRANTS.items()}


class TokenEndpoint(Protocol):
    """Gives out tokens."""

    async def token(self, call: OAuthCall) -> dict[str, Any]: ...


class RevocationEndpoint(Protocol):
    """Ends tokens."""

    async def revoke(self, call: OAuthCall) -> bool: ...


class IntrospectionEndpoint(Protocol):
    """Says what a token is worth."""

    async def introspect(self, call: OAuthCall) -> dict[str, Any]: ...


class MeQuery(Query):
    """Which page of the caller's roles. `held`: said of each whether it is held there itself."""

    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE
    held: bool = False


def token_operations(
    tokens: TokenEndpoint,
    revocations: RevocationEndpoint,
    introspection: IntrospectionEndpoint,
    callers: Callers,
    counts: Counts,
) -> list[Operation]:
    """The operations that give out tokens and say what they are worth."""

    async def exchange(call: Call) -> Response:
        grant, outcome = "unknown", "error"
        try:
            asked = await _oauth(call, "password")
            grant = _GRANTS.get(asked.params.get("grant_type", ""), "unknown")
            answer = json_response(await tokens.token(asked), headers=NO_STORE)
            outcome = "issued"
        except Refusal as refusal:
            outcome = refusal.code.value
            raise
        except Unavailable:
            outcome = "unavailable"
            raise
        finally:
            counts.tokens[grant, outcome] += 1
        return answer

    async def revoke(call: Call) -> Response:
        if not await revocations.revoke(await _oauth(call)):
            call.request.scope[FAILED] = True
        return Response(status_code=200, headers=NO_STORE)

    async def introspect(call: Call) -> Response:
        body = await introspection.introspect(await _oauth(call))
        return json_response(body, headers=NO_STORE)

    async def me(call: Call) -> Response:
        query = call.query(MeQuery)
        me = await callers.me(call.arrival, after=query.after or "", limit=query.limit)
        body: dict[str, Any] = {
            "sub": me.user_id,
            "username": me.username,
            "kind": me.kind,
            "api_key_id": me.key_id,
            "roles": [
                {
                    "tenant_id": item.tenant_id,
                    "tenant_name": item.tenant_name,
                    "role_id": item.role.id,
                    "role_name": item.role.name,
                }
                for item in me.roles
            ],
        }
        if query.held:
            held = await callers.held(call.arrival)
            for item in body["roles"]:
                item["held_here"] = (item["tenant_id"], item["role_id"]) in held
        if me.next_after is not None:
            body["next_after"] = me.next_after
        return json_response(body, headers=NO_STORE)

    async def current_tenant(call: Call) -> Response:
        caller = call.tenant
        body = {
            "tenant_id": caller.tenant_id,
            "tenant_name": caller.tenant_name,
            "roles": caller.roles,
            "permissions": sorted(caller.permissions),
        }
        return json_response(body, headers=NO_STORE)

    in_body = Public("the credentials stand in the body, or in Basic (RFC 6749, 2.3)")
    here = Needs(TENANTS_READ)
    return [
        Operation("exchange", "POST", "/auth/token", in_body, exchange),
        Operation("revoke", "POST", "/auth/revoke", in_body, revoke),
        Operation("introspect", "POST", "/auth/introspect", in_body, introspect),
        Operation("me", "GET", "/users/me", Bearer(), me, query=MeQuery),
        Operation("currentTenant", "GET", "/tenants/current", here, current_tenant),
    ]


async def _oauth(call: Call, default_grant: str | None = None) -> OAuthCall:
    request = call.request
    if request.scope["query_string"]:
        raise invalid_request("Parameters belong into the body, not into the URL.")
    params, is_json = await read_params(request, call.max_body)
    params = clean(params)
    if is_json and default_grant and "grant_type" not in params:
        params["grant_type"] = default_grant
    client = read_client(header(request, b"authorization"), params)
    request.scope[NAMED] = params.get("username") or client.client_id
    return OAuthCall(params, client, tenant_choice(request), call.address)
