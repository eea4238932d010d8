"""A token request on its way: what was fetched and decided for it, and who its client is."""

from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.requests import OAuth2Payload

from ..domain.authority import Authority
from ..domain.model import KeyRecord
from ..domain.tokens import Acting
from ..services.audiences import OWN, unknown_target
from ..services.credentials import NOTHING, ClientCredentials, Evidence, names
from ..services.issuing import TokenAnswer
from ..services.recent_keys import Reading
from ..services.refreshing import Opened
from .calls import OAuthCall

AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"]

# Authlib refuses http:// by the request's URL. Whether plain http is allowed is decided once,
# at the start, from the settings; a proxy in front must not matter.
_URI = "https://issuer.invalid/token"
_PRISTINE = dict(vars(OAuth2Request("POST", _URI)))


class _Payload(OAuth2Payload):  # type: ignore[misc]  # authlib is untyped
    """The parameters, each once, for Authlib to read."""

    data: Any = None

    def __init__(self, params: Mapping[str, str]) -> None:
        self.data = params

    @property
    def datalist(self) -> dict[str, list[str]]:
        return {name: [value] for name, value in self.data.items()}


class TokenRequest(OAuth2Request):  # type: ignore[misc]  # authlib is untyped
    """A token request and what has been fetched and decided for it so far.

    `reading` is how its key is read.
    """

    def __init__(self, call: OAuthCall, reading: Reading) -> None:
        # What Authlib makes of each request, made once: it would look the URL over every time.
        self.__dict__.update(_PRISTINE)
        self.payload = _Payload(call.params)
        self.call = call
        self.reading = reading
        self.evidence: Evidence = NOTHING
        self.opened: Opened | None = None
        self.subject: KeyRecord | None = None
        self.acting: Acting | None = None
        self.authority: Authority | None = None
        self.answer: TokenAnswer | None = None
        self.target = OWN
        self.counted = False

    @property
    def form(self) -> Any:
        """The parameters, under the name that Authlib's grants read."""
        return self.call.params

    @property
    def record(self) -> KeyRecord | None:
        """The key of this request, proven or not."""
        if self.opened is not None:
            return self.opened.record
        return self.subject or self.evidence.record

    @property
    def proven(self) -> KeyRecord | None:
        """The key of whoever makes the request, if it is good: that of a client that
        authenticated, or the one that the token at hand came from.
        """
        if self.evidence.genuine:
            return self.evidence.record
        return self.opened.record if self.opened is not None else self.subject

    @property
    def audiences(self) -> list[str]:
        """As `resources`, by the parameter that token exchange has besides (RFC 8693, 2.1)."""
        return _listed(self.call, "audience")

    @property
    def resources(self) -> list[str]:
        """Whom the token is to be for (RFC 8707); empty when the request does not say.

        Raises Refusal `invalid_target` for a blank one.
        """
        return _listed(self.call, "resource")


def _listed(call: OAuthCall, name: str) -> list[str]:
    """The values of a parameter that may be repeated (http/body.py). Raises Refusal."""
    named = call.params.get(name, "")
    if named and not named.split():
        raise unknown_target("blank")
    return named.split()


class KeyClient(ClientMixin):  # type: ignore[misc]  # authlib is untyped
    """An OAuth client: whoever holds the key. It is not a thing of its own in Keyturn."""

    def __init__(self, method: str) -> None:
        self.method = method

    def check_grant_type(self, grant_type: str) -> bool:
        """Grants are switched on and off for all clients at once (setting `grants`)."""
        return True


def authenticate(request: TokenRequest) -> KeyClient | None:
    """The client of a request, or None: Authlib answers `invalid_client`, always the same.

    A client that only names itself must name the key it uses, or its user. That is asked only
    of a genuine key or refresh token: all others get their grant's one answer, `invalid_grant`.
    """
    client, evidence = request.call.client, request.evidence
    if request.payload.grant_type == "password":
        # A client secret can only be the key itself, once more.
        known = not client.secret or client.secret == request.form.get("password")
        known = known and (not evidence.genuine or _names(evidence.record, client))
    elif request.subject is not None:
        # Whoever holds the subject token may exchange it; a client that authenticates acts.
        known = not client.secret or (
            client.client_id is not None and _names(evidence.record, client)
        )
    elif client.secret:
        known = evidence.genuine and client.client_id is not None
        known = known and _names(evidence.record, client) and _owns_session(request)
    else:
        known = request.opened is None or _names(request.opened.record, client)
    return KeyClient(client.method) if known else None


def _names(record: KeyRecord | None, client: ClientCredentials) -> bool:
    return client.client_id is None or (record is not None and names(record, client.client_id))


def _owns_session(request: TokenRequest) -> bool:
    opened, record = request.opened, request.evidence.record
    return opened is None or (record is not None and record.key_id == opened.record.key_id)


def token_body(answer: TokenAnswer) -> dict[str, Any]:
    """The answer's fields (RFC 6749, 5.1), in the order its readers expect."""
    body: dict[str, Any] = {"access_token": answer.access_token}
    if answer.refresh_token is not None:
        body["refresh_token"] = answer.refresh_token
    body["token_type"] = "bearer"  # noqa: S105 - RFC 6750's name
    body["expires_in"] = answer.expires_in
    if answer.refresh_expires_in is not None:
        body["refresh_expires_in"] = answer.refresh_expires_in
    body["scope"] = " ".join(answer.scope)
    return body
