"""Token exchange (RFC 8693): another access token for the one at hand, for another tenant that it
reaches, or with less in it; for oneself, or for who acts for its user.

What comes out never has more authority, audience, tenants or time than what went in, and ends
with it: it names the tokens that it came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..domain import revocations as rules
from ..domain.authority import Authority
from ..domain.endpoints import mentioned
from ..domain.errors import Refusal, invalid_request
from ..domain.exchange import MAX_PARENTS, exchanged
from ..domain.ids import new_id
from ..domain.model import KeyRecord
from ..domain.permissions import ADMINISTERING
from ..domain.policy import effective
from ..domain.sessions import Lifetimes
from ..domain.tokens import AccessToken, Acting, VerifiedToken
from .audiences import Target
from .credentials import why_not
from .issuing import Issuing, TokenAnswer, listed_endpoints
from .ports import AccessTokens, Clock, KeyLookup, RevocationList, Store
from .reach import named_in

#: No policy lets more act for a user, one behind the other.
MOST_DELEGATIONS = 8
#: Endpoints that one token may be narrowed to.
MAX_ENDPOINTS = 50


@dataclass(frozen=True, slots=True)
class Presented:
    """A live token that was presented, and its key as it is now."""

    token: VerifiedToken
    record: KeyRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `endpoints` are ids of the catalogue, None: no list.

    `acting_until` (Unix seconds) is the end of what whoever acts came with; `parents` are the
    tokens that the new one comes from, and ends with.
    """

    tenant_id: str | None
    scope: frozenset[str] | None
    endpoints: tuple[str, ...] | None
    target: Target
    acting: Acting | None
    acting_until: int | None
    parents: tuple[str, ...]


class TokenExchange:
    """Makes tokens of tokens."""

    def __init__(
        self,
        *,
        store: Store,
        lookup: KeyLookup,
        access: AccessTokens,
        revocations: RevocationList,
        issuing: Issuing,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lookup = lookup
        self._access = access
        self._revocations = revocations
        self._issuing = issuing
        self._lifetimes = lifetimes
        self._clock = clock

    async def examine(
        self, text: str, address: str | None, tenant_id: str | None, *, actor: bool = False
    ) -> Presented:
        """The token in `text` and its key, if both are good now.

        A subject token may be for any resource server: it is they who exchange it. An actor's
        must be for this service, or a resource server could act as its caller. Raises Refusal
        `invalid_request`, as RFC 8693 (2.2.2) has it, whatever is wrong with the token, and
        Unavailable.
        """
        try:
            token = self._access.verify(text, for_anyone=not actor)
        except Refusal as refusal:
            raise _bad(actor, refusal.detail) from None
        if rules.kills(await self._revocations.find(rules.subjects(token)), token):
            raise _bad(actor, "revoked")
        tenants = [tenant_id] if tenant_id else None if token.roles is None else list(token.roles)
        record = await self._lookup.find(token.key_id, tenants=tenants)
        if record is None or record.epoch > token.epoch:
            raise _bad(actor, "the key or its user has changed")
        if why := why_not(record, address, self._clock()):
            raise _bad(actor, why)
        if actor and not record.roles:
            raise _bad(actor, "no role in any tenant that is active")
        return Presented(token, record)

    async def acting(self, subject: Presented, actor: Acting | None) -> Acting | None:
        """Who acts by the new token: `actor` now, who did by the subject token before.

        Raises Refusal `invalid_request` when the policy of the user's tenant lets fewer.
        """
        before = subject.token.actor
        if actor is None or actor.user_id == subject.token.user_id:
            return before
        if before is not None and before.user_id == actor.user_id:
            return replace(actor, before=before.before)
        chain = replace(actor, before=before)
        async with self._store.transaction() as tx:
            policy = effective(await tx.tenants.policies(subject.record.home_tenant_id))
        allowed = min(policy.max_delegations or 0, MOST_DELEGATIONS)
        if 1 + sum(1 for _ in rules.actors(subject.token)) > allowed:
            raise invalid_request(
                "The policy of the user's tenant lets nobody else act for the user.",
                detail="policy max_delegations",
            )
        return chain

    async def decide(self, subject: Presented, wanted: Wanted) -> Authority:
        """What the new token carries. Raises Refusal (domain.exchange), Unavailable."""
        if len(wanted.parents) > MAX_PARENTS:
            raise invalid_request("The token was exchanged too often already.")
        named = await self._named(subject.token, wanted)
        opened = await self._opened(subject, wanted.endpoints, list(named))
        return exchanged(
            subject.token,
            wanted.target.narrowed(subject.record),
            tenant_id=wanted.tenant_id,
            named=named,
            scope=wanted.scope,
            opened=opened,
        )

    async def issue(self, subject: Presented, wanted: Wanted, authority: Authority) -> TokenAnswer:
        """The new token. Signs; where only one token may live, it ends the subject token.

        Raises Refusal, Unavailable.
        """
        old = subject.token
        epoch = old.epoch
        if subject.record.single_token:
            record, authority = await self._issuing.take_over(
                subject.record,
                lambda fresh: _same(fresh, subject.record, authority),
                tenants=_tenants(wanted.tenant_id, old),
                end_sessions=False,
            )
            epoch = record.epoch
        now = int(self._clock().timestamp())
        end = min(now + self._lifetimes.access_token, old.expires_at)
        if wanted.acting_until is not None:
            end = min(end, wanted.acting_until)
        listed = wanted.endpoints if wanted.endpoints is not None else old.endpoints
        if listed is None:
            listed = listed_endpoints(subject.record)
        token = AccessToken(
            jti=new_id(),
            user_id=old.user_id,
            key_id=old.key_id,
            session_id=old.session_id,
            epoch=epoch,
            issued_at=now,
            expires_at=end,
            scope=authority.scope,
            tenant_id=authority.tenant_id,
            roles=authority.role_names,
            audiences=wanted.target.audiences,
            parents=wanted.parents,
            actor=wanted.acting,
            endpoints=listed,
            unlisted_endpoints=listed is None and subject.record.endpoint_ids is not None,
        )
        return TokenAnswer(
            access_token=self._access.sign(token, wanted.target.algorithm),
            expires_in=max(0, end - now),
            scope=token.scope,
            session_id=old.session_id,
        )

    async def _named(
        self, token: VerifiedToken, wanted: Wanted
    ) -> Mapping[str, frozenset[str] | None]:
        """The tenants that remain, and the roles that the token carries whole in each."""
        if wanted.tenant_id is not None:
            named = await named_in(self._store, token, wanted.tenant_id)
            return {wanted.tenant_id: named}
        return {tenant: frozenset(roles) for tenant, roles in (token.roles or {}).items()}

    async def _opened(
        self, subject: Presented, endpoints: Sequence[str] | None, tenants: Sequence[str]
    ) -> frozenset[str] | None:
        """What the endpoints need that the new token is narrowed to; None: to none.

        Raises Refusal `invalid_request` for one that the subject token or its key does not list,
        and for one that is not in the catalogue of a tenant of the token.
        """
        if endpoints is None:
            return None
        for listed in (subject.token.endpoints, subject.record.endpoint_ids):
            if listed is not None and not set(endpoints) <= set(listed):
                raise invalid_request("An endpoint is not on the token's list.")
        async with self._store.transaction() as tx:
            found = await tx.endpoints.many(endpoints)
            for endpoint in found:
                known = await tx.resource_servers.reached(endpoint.tenant_id, tenants)
                if not known or not endpoint.listable:
                    raise _unknown_endpoint()
        if len(found) < len(set(endpoints)):
            raise _unknown_endpoint()
        names = frozenset().union(*(mentioned(endpoint.opened_by) for endpoint in found))
        return names - ADMINISTERING


def _tenants(tenant_id: str | None, token: AccessToken) -> list[str] | None:
    if tenant_id is not None:
        return [tenant_id]
    return None if token.roles is None else list(token.roles)


def _same(fresh: KeyRecord, seen: KeyRecord, authority: Authority) -> Authority:
    """`authority`, which was decided of `seen`. Raises Refusal when the key is another by now."""
    if fresh.epoch != seen.epoch:
        raise _bad(False, "the key or its user has changed")
    return authority


def _bad(actor: bool, detail: str) -> Refusal:
    which = "actor" if actor else "subject"
    return invalid_request(f"The {which} token is not valid.", detail=detail)


def _unknown_endpoint() -> Refusal:
    return invalid_request("The catalogue has no such endpoint.")
