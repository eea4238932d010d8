"""A call of an OAuth endpoint, and how the client in it names itself."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote_plus

from ..domain.errors import Refusal, bad_client, invalid_request
from ..domain.records import transient
from ..domain.trail import Actor
from ..services.credentials import ClientCredentials

# Everything a store, a log or a header could stumble over.
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def _unsafe(text: str) -> bool:
    # Nearly all texts are ASCII, and a look at those takes no time.
    return not (text.isascii() and text.isprintable()) and _UNSAFE.search(text) is not None


@transient
class OAuthCall:
    """Parameters (each once, none empty, free of control characters), client and tenant."""

    params: Mapping[str, str]
    client: ClientCredentials
    tenant_id: str | None
    address: str | None

    @property
    def actor(self) -> Actor:
        """For the audit trail, before anybody is authenticated."""
        return Actor(address=self.address)

    def __repr__(self) -> str:
        return f"OAuthCall(params={sorted(self.params)}, client={self.client!r})"


#: What an endpoint may miss, and its grants: a text never has another name in it.
Parameter = Literal[
    "grant_type",
    "username",
    "password",
    "refresh_token",
    "token",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
]


def missing(name: Parameter) -> Refusal:
    """RFC 6749, 5.2: a required parameter is not there, or empty."""
    return invalid_request(f"{name} is missing.")


def clean(params: Mapping[str, str]) -> dict[str, str]:
    """`params` without the empty ones, which count as omitted (RFC 6749, 3.2).

    Raises Refusal `invalid_request` for NUL and other control characters.
    """
    if _unsafe("".join(params.values())):
        raise invalid_request("A parameter contains a control character.")
    return {name: value for name, value in params.items() if value}


def read_client(authorization: str | None, params: Mapping[str, str]) -> ClientCredentials:
    """How the client named itself: Basic, body parameters, or neither (RFC 6749, 2.3.1).

    An empty secret counts as none: some libraries send `Basic id:`. Raises Refusal
    `invalid_client` for an Authorization header that is not Basic to the letter, and
    `invalid_request` for more than one way at once.
    """
    client_id, secret = params.get("client_id"), params.get("client_secret", "")
    if authorization is None:
        return ClientCredentials("client_secret_post" if secret else "none", client_id, secret)
    basic_id, basic_secret = _read_basic(authorization)
    if secret or (client_id is not None and basic_id and client_id != basic_id):
        raise invalid_request("The client must authenticate in one way only.")
    method = "client_secret_basic" if basic_secret else "none"
    return ClientCredentials(method, basic_id or client_id, basic_secret)


def _read_basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise bad_client("the Authorization scheme is not Basic")
    try:
        text = base64.b64decode(encoded.strip(" "), validate=True).decode()
        # RFC 6749, 2.3.1: both parts are form-encoded before they are put together.
        name, colon, secret = text.partition(":")
        pair = unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, UnicodeError, ValueError):
        raise bad_client("malformed Basic credentials") from None
    if not colon or _unsafe("".join(pair)):
        raise bad_client("malformed Basic credentials")
    return pair
