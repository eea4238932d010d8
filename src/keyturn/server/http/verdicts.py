"""The verdict on one call, for proxies that ask before they pass it on."""

from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Refusal, invalid_request, not_a_member
from ..services.verifying import Asked, Verdict, Verifying
from .caller import header, tenant_choice
from .errors import NO_STORE, json_response
from .fields import Query
from .operation import Bearer, Call, Operation


class VerifyQuery(Query):
    """What the call needs."""

    audience: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    permission: Annotated[str, StringConstraints(max_length=2_048)] | None = None
    service: Annotated[str, StringConstraints(max_length=128)] | None = None
    headers: Literal["original", "forwarded"] = "original"


def verdict_operations(verifying: Verifying) -> list[Operation]:
    """The operation that a proxy calls."""

    async def verify(call: Call) -> Response:
        return _told(await verifying.decide(call.arrival, _asked(call)))

    access = Bearer(for_proxies=True)
    return [Operation("verifyCall", "GET", "/auth/verify", access, verify, query=VerifyQuery)]


def _asked(call: Call) -> Asked:
    """What a proxy asks. It knows two kinds of refusal only: 401 and 403."""
    request, query = call.request, call.query(VerifyQuery)
    method, path = _told_call(request, query.headers)
    if query.service is not None and path is None:
        raise invalid_request("Method and path of the call are missing.", field="service")
    any_of = (query.permission or "").split()
    if query.permission is not None and not any_of:
        raise invalid_request("Which permission?", field="permission")
    return Asked(
        tenant_id=_tenant(request),
        audience=query.audience,
        any_of=any_of,
        service=query.service,
        method=method if query.service is not None else None,
        path=path if query.service is not None else None,
    )


def _tenant(request: Request) -> str | None:
    try:
        return tenant_choice(request)
    except Refusal as refusal:
        raise not_a_member(refusal.public) from None


def _told_call(request: Request, headers: str) -> tuple[str | None, str | None]:
    """Method and path of the call, by the headers that this proxy sets.

    By no others: a proxy hands on what it does not set, and the client would choose.
    """
    method = header(request, f"x-{headers}-method".encode())
    uri = header(request, f"x-{headers}-uri".encode())
    if method is None or uri is None:
        return None, None
    # As it was sent, but for the query: any reading of it might not be the resource server's.
    return method, uri.partition("?")[0]


def _told(verdict: Verdict) -> Response:
    token, endpoint = verdict.token, verdict.endpoint
    body = {
        "sub": token.user_id,
        "username": verdict.username,
        "client_id": token.key_id,
        "sid": token.session_id,
        "jti": token.jti,
        "exp": token.expires_at,
        "tenant_id": verdict.tenant_id,
        "roles": verdict.roles,
        "permissions": sorted(verdict.permissions),
        "endpoint": None
        if endpoint is None
        else {
            "id": endpoint.id,
            "service": endpoint.service,
            "method": endpoint.method,
            "path": endpoint.path,
        },
    }
    headers = {
        **NO_STORE,
        "X-Keyturn-User": token.user_id,
        "X-Keyturn-Key": token.key_id,
        "X-Keyturn-Session": token.session_id,
        "X-Keyturn-Tenant": verdict.tenant_id or "",
        # Names may have any characters; a header may not.
        "X-Keyturn-Roles": ",".join(quote(name, safe="") for name in verdict.roles),
        "X-Keyturn-Permissions": " ".join(sorted(verdict.permissions)),
    }
    return json_response(body, headers=headers)
