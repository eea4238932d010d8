"""The grants. Each is Authlib's own, with the two steps that wait put around it.

Authlib is synchronous, so each grant first fetches what it will be asked (`fetch`), then lets
Authlib decide over it, and what has to be spent is spent (`spend`) between Authlib's decision
and its answer: never before a check, never after a token was made.
"""

from dataclasses import replace
from typing import Any

from authlib.oauth2.rfc6749 import TokenMixin
from authlib.oauth2.rfc6749.grants import (
    ClientCredentialsGrant,
    RefreshTokenGrant,
    ResourceOwnerPasswordCredentialsGrant,
)

from ..domain.authority import Authority, parse_scope
from ..domain.errors import Refusal, bad_client, bad_credentials
from ..domain.model import KeyRecord
from ..domain.sessions import RefreshState
from ..services.refreshing import Opened, tenants_of
from .phases import Phases
from .requests import AUTH_METHODS, KeyClient, token_body
from .token_exchange import TokenExchangeGrant


class SessionToken(TokenMixin):  # type: ignore[misc]  # authlib is untyped
    """An opened refresh token, in Authlib's terms."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def check_client(self, client: KeyClient) -> bool:
        """Whoever authenticated did so with this session's key (`RefreshGrant.fetch`)."""
        return True

    def get_scope(self) -> str:
        """What Authlib makes of it is not used: `RefreshGrant.spend` knows more."""
        return ""


class _ByKey(Phases):
    """What the grants share whose credential is an API key; `bad` is their answer to a bad one."""

    bad = staticmethod(bad_credentials)

    async def _examine(self, text: str) -> None:
        call = self.request.call
        evidence = await self.credentials.examine(
            text, call.address, self._tenants(), self.request.reading
        )
        self.request.evidence = evidence
        if evidence.genuine and evidence.record is not None:
            self.request.target = await self.server.audiences.choose(
                self.request.resources, evidence.record, call.tenant_id
            )

    def validate_requested_scope(self) -> None:
        self.request.authority = self._authorise(self._record)

    async def spend(self) -> None:
        if not self._record.single_token:
            return
        record, authority = await self.issuing.take_over(
            self._record, self._authorise_again, tenants=self._tenants(), end_sessions=True
        )
        self.request.evidence = replace(self.request.evidence, record=record)
        self.request.authority = authority

    def _authorise_again(self, record: KeyRecord) -> Authority:
        """For a call that waited for its turn: the key may be another by now."""
        presented = self.request.evidence.presented
        assert presented is not None  # noqa: S101 - for mypy: it is genuine
        evidence = self.credentials.judge(presented, record, self.request.call.address)
        if not evidence.genuine:
            raise self.bad(evidence.why)
        self.request.evidence = evidence
        return self._authorise(record)

    def _exchange(self, with_refresh: bool) -> dict[str, Any]:
        authority = self.request.authority
        assert authority is not None  # noqa: S101 - for mypy: the grant was validated
        answer = self.issuing.exchange(
            self._record, authority, with_refresh=with_refresh, target=self.request.target
        )
        self.request.answer = answer
        return token_body(answer)

    @property
    def _record(self) -> KeyRecord:
        record = self.request.evidence.record
        assert record is not None  # noqa: S101 - for mypy: it is genuine
        return record

    def _authorise(self, record: KeyRecord) -> Authority:
        scope = parse_scope(self.request.payload.scope)
        record = self.request.target.narrowed(record)
        return self.issuing.authorise(record, self.request.call.tenant_id, scope)


class PasswordGrant(_ByKey, ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    """RFC 6749, 4.3. The password is an API key, never a human's password."""

    async def fetch(self) -> None:
        await self._examine(self.request.form.get("password", ""))

    def authenticate_user(self, username: str, password: str) -> KeyRecord:
        """The key, if it is genuine and the username is its user's. One answer otherwise."""
        evidence = self.request.evidence
        if evidence.record is None or not evidence.genuine:
            raise bad_credentials(evidence.why)
        if not evidence.named(username):
            raise bad_credentials("the key is another user's")
        return evidence.record

    def generate_token(self, **_: Any) -> dict[str, Any]:
        return self._exchange(with_refresh=self.server.gives_refresh_tokens)


class ClientGrant(_ByKey, ClientCredentialsGrant):  # type: ignore[misc]
    """RFC 6749, 4.4. The client secret is an API key. No refresh token (4.4.3)."""

    bad = staticmethod(bad_client)
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS[1:]

    async def fetch(self) -> None:
        await self._examine(self.request.call.client.secret)

    def generate_token(self, **_: Any) -> dict[str, Any]:
        return self._exchange(with_refresh=False)


class RefreshGrant(Phases, RefreshTokenGrant):  # type: ignore[misc]
    """RFC 6749, 6, with rotation (RFC 9700, 4.14)."""

    next_state: RefreshState
    refused = ""

    async def fetch(self) -> None:
        text = self.request.form.get("refresh_token", "")
        call = self.request.call
        reading = self.request.reading
        opened = await self.refreshing.open(text, call.address, call.tenant_id, reading)
        if isinstance(opened, Opened):
            self.request.opened = opened
        else:
            self.request.evidence, self.refused = opened, opened.why
        if call.client.secret:
            self.request.evidence = await self.credentials.examine(
                call.client.secret, call.address, (), reading
            )

    def authenticate_refresh_token(self, refresh_token: str) -> SessionToken:
        """The session's token; whether its generation is live, `spend` will tell."""
        if self.request.opened is None:
            raise bad_credentials(self.refused)
        return SessionToken(self.request.opened)

    async def spend(self) -> None:
        opened = self.request.opened
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        call, audiences = self.request.call, self.server.audiences
        actor, tenants = call.actor, tenants_of(opened.state, call.tenant_id)
        try:
            wanted = audiences.within(self.request.resources, opened.state.audiences)
            self.request.target = await audiences.choose(wanted, opened.record, call.tenant_id)
            self.request.authority = self._reauthorise(opened.record)
        except Refusal:
            if not self.request.reading.recent:
                await self.refreshing.refuse_if_reused(opened, actor)
            raise
        # What is refused from here on is so whatever the key's record says.
        self.request.reading.recent = False
        self.next_state = await self.refreshing.spend(opened, actor)
        if not opened.record.single_token:
            return
        record, self.request.authority = await self.issuing.take_over(
            opened.record, self._reauthorise_again, tenants=tenants, end_sessions=False
        )
        self.request.opened = replace(opened, record=record)

    def _reauthorise_again(self, record: KeyRecord) -> Authority:
        """For a call that waited for its turn: session and key may have ended by now."""
        opened = self.request.opened
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        if why := self.refreshing.why_over(opened.state, record, self.request.call.address):
            raise bad_credentials(why)
        return self._reauthorise(record)

    def _reauthorise(self, record: KeyRecord) -> Authority:
        opened = self.request.opened
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        scope = parse_scope(self.request.payload.scope)
        record = self.request.target.narrowed(record)
        return self.refreshing.reauthorise(record, opened.state, self.request.call.tenant_id, scope)

    def _validate_token_scope(self, token: SessionToken) -> None:
        """`spend` does: too much scope must not hide that the token was spent before."""

    def authenticate_user(self, refresh_token: SessionToken) -> KeyRecord:
        return refresh_token.opened.record

    def generate_token(self, **_: Any) -> dict[str, Any]:
        opened, authority = self.request.opened, self.request.authority
        assert opened is not None  # noqa: S101 - for mypy: the grant was validated
        assert authority is not None  # noqa: S101
        answer = self.issuing.refreshed(
            opened.record, authority, self.next_state, self.request.target
        )
        self.request.answer = answer
        return token_body(answer)

    def revoke_old_credential(self, refresh_token: SessionToken) -> None:
        """Nothing is left to do: it was spent before the new one was made."""


#: By the names that the setting `grants` has for them.
GRANTS: dict[str, type[Phases]] = {
    "password": PasswordGrant,
    "client_credentials": ClientGrant,
    "refresh_token": RefreshGrant,
    "token_exchange": TokenExchangeGrant,
}
