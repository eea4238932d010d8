"""Checks access tokens: the one object that a resource server makes.

A token that was seen before costs one digest and a few look-ups; nothing is awaited that yields.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from math import inf
from typing import Any, Literal, Self

import httpx

from ..client import ApiKeyAuth, Credentials, Network
from .authority import Authority
from .callers import Caller
from .checking import Checking
from .errors import (
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    ResourceError,
    WrongTenant,
)
from .feed import RevocationFeed
from .flights import SingleFlight
from .introspection import Introspection
from .keys import ASYMMETRIC, Keys
from .policy import Policies
from .revocation import Presented, RevocationSource, Verdict
from .service import Service
from .standing import Standing, WhenStale
from .tokens import VerifiedToken

log = logging.getLogger("keyturn.resource")

#: The service keeps a revocation for so long after the token's end (seconds).
MAX_LEEWAY = 60.0
#: No feed can be followed any closer (seconds).
LEAST_STALENESS = 1.0


class TokenVerifier:
    """Checks the access tokens of one issuer for one resource server, `audience`.

        async with TokenVerifier(issuer, audience, username=u, api_key=k, tenant=t) as verifier:
            token = await verifier.verify(text)

    Credentials are those of the resource server's own service user, who has `tokens:introspect`
    in `tenant` and in whatever tenants are served here. `revocation`: follow the feed, ask about
    every token (`introspect`), another source, or None: by the signature alone. When what is known
    of revocations is older than `max_staleness` seconds, `when_stale` decides: refuse with 503, ask
    about each token, or accept. `service` is what this resource server is called in the catalogue;
    with it `caller` admits what role and list of endpoints allow there. `shadow`: a call that only
    the catalogue refuses is admitted, logged, and told to `on_shadow` (caller, error, call).

    `leeway` (seconds) is how far clocks may differ. Raises ValueError for settings that cannot be.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        username: str | None = None,
        api_key: str | None = None,
        tenant: str | None = None,
        algorithms: Collection[str] = ("ES256", "RS256", "EdDSA", "Ed25519"),
        leeway: float = 10.0,
        revocation: Literal["feed", "introspect"] | RevocationSource | None = "feed",
        max_staleness: float = 5.0,
        when_stale: WhenStale = "deny",
        service: str | None = None,
        shadow: bool = False,
        on_shadow: Callable[[Caller, ResourceError, str], None] | None = None,
        cache_size: int = 10_000,
        jwks_cooldown: float = 10.0,
        timeout: float = 3.0,
        metadata_url: str | None = None,
        allow_http: bool = False,
        auth: httpx.Auth | None = None,
        network: Network | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        has_key = username is not None and api_key is not None
        has_auth = has_key or auth is not None
        _need(bool(audience), "audience is empty")
        _need(bool(algorithms) and ASYMMETRIC.issuperset(algorithms), "not a signing algorithm")
        _need(0 <= leeway <= MAX_LEEWAY, "leeway is between 0 and 60 s")
        _need(max_staleness >= LEAST_STALENESS, "max_staleness is 1 s or more")
        _need(
            when_stale in {"deny", "introspect", "accept"}, "when_stale: deny, introspect or accept"
        )
        _need(service is not None or not shadow, "shadow is of the catalogue: it needs service")
        _need(min(cache_size, jwks_cooldown, timeout) > 0, "sizes and times are positive")
        _need((username is None) == (api_key is None), "username and api_key belong together")
        if username is not None and api_key is not None:
            Credentials(issuer, username, api_key)
        _need(service is None or has_auth, "service needs credentials")
        if revocation == "feed":
            _need(has_auth and tenant is not None, "the feed needs credentials and tenant")
        if "introspect" in (revocation, when_stale):
            _need(has_key, "introspection needs username and api_key")
        self.issuer = issuer
        self.audience = audience
        self._service_name = service
        self._shadow = shadow
        self._on_shadow = on_shadow

        def own_auth(token_endpoint: str) -> httpx.Auth:
            if auth is not None:
                return auth
            return ApiKeyAuth(
                token_endpoint, username or "", api_key or "", network=network, allow_http=True
            )

        self._service = Service(
            issuer,
            metadata_url=metadata_url,
            allow_http=allow_http,
            timeout=timeout,
            username=username,
            api_key=api_key,
            auth=own_auth if has_auth else None,
            network=network,
            monotonic=monotonic,
        )
        self._keys = Keys(self._service, algorithms, cooldown=jwks_cooldown, monotonic=monotonic)
        self._checking = Checking(
            self._keys,
            issuer=issuer,
            audience=audience,
            algorithms=algorithms,
            leeway=leeway,
            size=cache_size,
            clock=clock,
        )
        self._feed: RevocationFeed | None = None
        self._policies = (
            Policies(
                self._service,
                service_name=service,
                max_age=max_staleness,
                accept_old=when_stale == "accept",
                told_until=lambda: (
                    -inf if self._feed is None else monotonic() - self._feed.staleness
                ),
                monotonic=monotonic,
            )
            if has_auth
            else None
        )
        introspection = Introspection(self._service, monotonic=monotonic) if has_key else None
        self._source: RevocationSource | None = None
        if revocation == "feed":
            self._source = self._feed = RevocationFeed(
                self._service,
                tenant or "",
                max_staleness=max_staleness,
                listener=self._policies,
                clock=clock,
                monotonic=monotonic,
            )
        elif revocation == "introspect":
            self._source = introspection
        elif revocation is not None:
            self._source = revocation
        self._standing = Standing(
            self._source, introspection, when_stale=when_stale, max_staleness=max_staleness
        )
        self._authority = Authority(
            self._service,
            self._policies,
            audience=audience,
            service_name=service,
            refusal_age=max_staleness,
            monotonic=monotonic,
        )
        self._keeping: asyncio.Task[None] | None = None
        self._starting: SingleFlight[str, None] = SingleFlight()

    @classmethod
    def find(cls, issuer: str, audience: str, **options: Any) -> Self:
        """As whom the environment or a login says (`Credentials.find`). Raises NoCredentials.

        The API key found goes to the service that it is of, and to no other one: with an issuer
        whose metadata names another one, nothing can be verified, and the log says so.
        """
        found = Credentials.find()
        who = {"username": found.username, "api_key": found.api_key, "tenant": found.tenant}
        made = cls(issuer, audience, **{**who, **options})
        if "api_key" not in options:
            made._service.keep_to(found.url)
        return made

    def __repr__(self) -> str:
        return f"TokenVerifier({self.issuer!r}, {self.audience!r})"

    @property
    def service(self) -> str | None:
        """What this resource server is called in the catalogue, if that is gone by."""
        return self._service_name

    @property
    def started(self) -> bool:
        """Whether it reads keys and revocations in the background."""
        return self._keeping is not None and not self._keeping.done()

    @property
    def staleness(self) -> float | None:
        """How old what the feed told is, in seconds; None where it told nothing (yet)."""
        return None if self._feed is None or not self._feed.told else self._feed.staleness

    async def start(self) -> None:
        """Reads keys and revocations, for a few seconds at most, and goes on in the background.

        Does nothing when it is started. A service that is away does not keep it from starting.
        """
        if not self.started:
            await self._starting.run("start", self._start)

    async def _start(self) -> None:
        self._service.renew()
        await asyncio.gather(
            self._keys.refresh(), *([self._source.start()] if self._source is not None else [])
        )
        self._keeping = asyncio.create_task(self._keys.keep(), name="keyturn signing keys")

    async def close(self) -> None:
        """Stops. It can be started again."""
        task, self._keeping = self._keeping, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._source is not None:
            await self._source.close()
        await self._service.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def verify(self, text: str) -> VerifiedToken:
        """What a token says that is good now, in whichever tenants it is for.

        Whoever uses this alone must look at `roles` and `endpoints` of it. Raises InvalidToken,
        Unavailable.
        """
        presented = await self._checking.of(text)
        await self._live(text, presented, None)
        return VerifiedToken(presented.token)

    async def caller(
        self,
        text: str,
        tenant_id: str | None,
        *,
        method: str | None = None,
        path: str | None = None,
        uncatalogued: bool = False,
    ) -> Caller:
        """Who calls with the token `text` in that tenant.

        `method` and raw `path` (percent-encoded, no query) are decided by the catalogue when the
        verifier has a `service`. Without that nobody can say what a token with a list of endpoints
        opens here, so it is refused. `uncatalogued`: the call stands in no catalogue; whoever is
        authenticated may make it, with such a token, too. Raises the errors of this package.
        """
        presented = await self._checking.of(text)
        verdict, holds = await self._live(text, presented, tenant_id)
        if verdict is Verdict.SUSPENDED:
            raise WrongTenant("suspended")
        caller = await self._authority.caller(text, presented, tenant_id, holds)
        if uncatalogued:
            return caller
        if self._service_name is None or method is None or path is None:
            if presented.token.narrowed:
                raise InsufficientScope("a token with a list of endpoints, and no catalogue here")
            return caller
        try:
            if tenant_id is None:
                raise InvalidRequest("This call needs the header x-tenant-id.")
            return await self._authority.may_call(text, presented, caller, method, path, holds)
        except ResourceError as error:
            if not self._shadow or presented.token.narrowed:
                raise
            call = ascii(f"{method[:16]} {path[:200]}")[1:-1]
            who = f"{caller.user_id} in {caller.tenant_id}"
            log.warning("would be refused: %s (%s): %s by %s", error.code, error.detail, call, who)
            if self._on_shadow is not None:
                self._on_shadow(caller, error, call)
            return caller

    async def _live(
        self, text: str, presented: Presented, tenant_id: str | None
    ) -> tuple[Verdict, float]:
        standing = await self._standing.of(text, presented, tenant_id)
        if standing[0] is Verdict.DEAD:
            self._checking.drop(text)
            raise InvalidToken("revoked")
        return standing


def _need(kept: bool, rule: str) -> None:
    if not kept:
        raise ValueError(rule)
