"""What a request says of its caller: the bearer token, the chosen tenant."""

from starlette.requests import Request
from starlette.types import Scope

from ..domain.errors import Code, Refusal, bad_token, invalid_request
from ..domain.ids import parse_id


def header(request: Request, name: bytes) -> str | None:
    """The value of a header that may stand once; None when it is missing.

    Raises Refusal `invalid_request` when it is repeated: two readers might choose differently.
    """
    by_name = headers_once(request.scope)
    if by_name is not None:
        value = by_name.get(name)
        return None if value is None else value.decode("latin-1")
    values = [value for key, value in request.scope["headers"] if key == name]
    if not values:
        return None
    if len(values) > 1:
        raise invalid_request("A header is repeated.", detail=name.decode())
    text: str = values[0].decode("latin-1")
    return text


def headers_once(scope: Scope) -> dict[bytes, bytes] | None:
    """All headers by name, for any number of looks; None when one of them is repeated."""
    known: dict[bytes, bytes] | None = scope.get("keyturn.headers")
    if known is None:
        known = dict(scope["headers"])
        if len(known) < len(scope["headers"]):
            return None
        scope["keyturn.headers"] = known
    return known


def bearer(request: Request) -> str:
    """The access token in `Authorization` (RFC 6750, 2.1); nowhere else is looked.

    Raises Refusal `missing_token` without the header, `invalid_token` for garbage in it.
    """
    value = header(request, b"authorization")
    if value is None:
        raise Refusal(Code.MISSING_TOKEN, "This call needs an access token.")
    scheme, _, token = value.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise bad_token("not a bearer token")
    return token


def tenant_choice(request: Request) -> str | None:
    """The tenant id in `x-tenant-id`, None when the header is missing.

    Raises Refusal `invalid_request` when it is repeated or not a tenant id.
    """
    value = header(request, b"x-tenant-id")
    if value is None:
        return None
    tenant_id = parse_id(value.strip(" "))
    if tenant_id is None:
        raise invalid_request("x-tenant-id must be one tenant id.")
    return tenant_id


def chosen_tenant(request: Request) -> str:
    """The tenant of a tenant-bound call. Raises Refusal `invalid_request` without one."""
    tenant_id = tenant_choice(request)
    if tenant_id is None:
        raise invalid_request("This call needs the header x-tenant-id.")
    return tenant_id
