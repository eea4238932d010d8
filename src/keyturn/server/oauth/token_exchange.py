"""The token exchange grant (RFC 8693), which Authlib does not have."""

from typing import Any

from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from ..domain.authority import parse_scope
from ..domain.errors import bad_client, invalid_request
from ..domain.ids import parse_id
from ..domain.tokens import Acting
from ..services.credentials import Evidence, names
from ..services.token_exchange import MAX_ENDPOINTS, Presented, Wanted
from .calls import Parameter, missing
from .phases import Phases
from .requests import token_body

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693, 2.1
#: RFC 8693, 3. Access tokens here are JWTs, so both names mean the same.
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
_TYPES = (ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt")


class TokenExchangeGrant(Phases, BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """An access token for an access token: another tenant of it, or less than it has.

    A client that authenticates with a key of another user, or presents an `actor_token`, acts
    for the subject token's user from then on (4.1).
    """

    GRANT_TYPE = TOKEN_EXCHANGE

    subject: Presented
    actor: Presented | None = None
    wanted: Wanted

    async def fetch(self) -> None:
        form, call = self.request.form, self.request.call
        exchange = self.server.exchange
        subject = self._token("subject_token", "subject_token_type")
        if form.get("requested_token_type", ACCESS_TOKEN) not in _TYPES:
            raise invalid_request("Only access tokens are given out for tokens.")
        if call.client.secret:
            record = await self.credentials.client(call.client, call.address)
            if not record.roles:
                raise bad_client("no role in any tenant that is active")
            self.request.evidence = Evidence(None, record, True, "")
        self.subject = await exchange.examine(subject, call.address, call.tenant_id)
        self.request.subject = self.subject.record
        if "actor_token" in form or "actor_token_type" in form:
            actor = self._token("actor_token", "actor_token_type")
            self.actor = await exchange.examine(actor, call.address, None, actor=True)
        self.wanted = await self._wanted()
        self.request.authority = await exchange.decide(self.subject, self.wanted)

    def validate_token_request(self) -> None:
        """Who the client is, if it says so. All else was decided while it was fetched."""
        client = self.request.call.client
        self.request.client = self.authenticate_token_endpoint_client()
        # Without a secret it can only be the one that the subject token was given to.
        named = client.client_id if not client.secret else None
        if named is not None and not names(self.subject.record, named):
            raise bad_client("the subject token was issued to another client")

    async def spend(self) -> None:
        authority = self.request.authority
        assert authority is not None  # noqa: S101 - for mypy: it was fetched
        self.answer = await self.server.exchange.issue(self.subject, self.wanted, authority)

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        """RFC 8693, 2.2.1."""
        self.request.answer = self.answer
        body = token_body(self.answer)
        body["issued_token_type"] = ACCESS_TOKEN
        self.save_token(body)
        return 200, body, self.TOKEN_RESPONSE_HEADER

    def _token(self, name: Parameter, type_name: Parameter) -> str:
        form = self.request.form
        text: str | None = form.get(name)
        kind = form.get(type_name)
        if text is None:
            raise missing(name)
        if kind is None:
            raise missing(type_name)
        if kind not in _TYPES:
            raise invalid_request("Only access tokens can be exchanged.")
        return text

    async def _wanted(self) -> Wanted:
        call, subject = self.request.call, self.subject
        audiences = self.server.audiences
        asked = [*self.request.resources, *self.request.audiences]
        named = audiences.within(asked, subject.token.audiences)
        actor, until = self._actor()
        acting = self.request.acting = await self.server.exchange.acting(subject, actor)
        parents = [subject.token.jti, *subject.token.parents]
        if self.actor is not None:
            parents += [self.actor.token.jti, *self.actor.token.parents]
        return Wanted(
            tenant_id=call.tenant_id,
            scope=parse_scope(self.request.payload.scope),
            endpoints=_endpoints(call.params.get("endpoints")),
            target=await audiences.choose(named, subject.record, call.tenant_id),
            acting=acting,
            acting_until=until,
            parents=tuple(dict.fromkeys(parents)),
        )

    def _actor(self) -> tuple[Acting | None, int | None]:
        """Who acts by the new token, and how long at most."""
        record = self.request.evidence.record
        if self.actor is not None:
            token = self.actor.token
            acting = Acting(token.user_id, token.key_id, token.session_id, token.epoch)
            return acting, token.expires_at
        if record is None:
            return None, None
        end = int(record.expires_at.timestamp()) if record.expires_at is not None else None
        return Acting(record.user_id, record.key_id, "", record.epoch), end


def _endpoints(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    ids = [parse_id(part) for part in dict.fromkeys(text.split())]
    known = tuple(found for found in ids if found is not None)
    if not known or len(known) < len(ids) or len(known) > MAX_ENDPOINTS:
        raise invalid_request(
            f"endpoints are the ids of 1 to {MAX_ENDPOINTS} endpoints, separated by spaces."
        )
    return known
