"""What a token gives in the chosen tenant, and whether it may make a call there.

Two rules of the service's make this safe: a permission stands in `scope` only if the token carries
it in every tenant that it names, and a role is named only if the token carries all of it. What
the token does not say, the service is asked with the caller's own token: once a tenant.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..paths import opens
from .callers import Caller
from .errors import InsufficientScope, InvalidToken, Unavailable, WrongTenant
from .flights import SingleFlight
from .policy import Endpoint, Policies
from .revocation import Presented
from .service import Fault, Service
from .tokens import VerifiedToken

#: Answers kept with one token. A caller goes through a few tenants, not through all there are.
MAX_ANSWERS = 256
#: Questions under way at once, of all tokens and of one; more are not asked.
MAX_ASKED, MAX_ASKED_EACH = 64, 4
#: Refusals of one token within a second, after which no new question is asked for it: whoever makes
#: tenants up takes little of what others need.
MAX_REFUSED = 4

#: Roles, permissions, endpoint id; None: refused.
_Said = tuple[tuple[str, ...], frozenset[str], str | None] | None
#: When it was asked (monotonic), and what was said.
_Answer = tuple[float, _Said]


class Authority:
    """Decides by token, policy and catalogue.

    `policies`: None without credentials; then the names of roles permit nothing. A refusal of the
    service's holds for `refusal_age` seconds.
    """

    def __init__(
        self,
        service: Service,
        policies: Policies | None,
        *,
        audience: str,
        service_name: str | None,
        refusal_age: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._service = service
        self._policies = policies
        self._params = {"audience": audience}
        if service_name is not None:
            self._params["service"] = service_name
        self._refusal_age = refusal_age
        self._monotonic = monotonic
        self._asking: SingleFlight[tuple[str, str, str], _Answer] = SingleFlight()

    async def caller(
        self, text: str, presented: Presented, tenant_id: str | None, holds: float
    ) -> Caller:
        """Who calls, in that tenant. Raises WrongTenant, InvalidToken, Unavailable.

        `holds`: for so many seconds a good answer of the service's is believed.
        """
        claims, token = presented.token, VerifiedToken(presented.token)
        if tenant_id is None:
            return Caller(token, None, (), claims.scope)
        if claims.roles is None:
            said = await self._asked(text, presented, tenant_id, None, {}, holds)
            if said is None:
                raise WrongTenant("the service knows of no role there")
            return Caller(token, tenant_id, said[0], said[1])
        names = claims.roles.get(tenant_id)
        if names is None:
            raise WrongTenant("the token does not name the tenant")
        permissions = claims.scope
        if claims.tenant_id is None and self._policies is not None:
            permitted = (await self._policies.of(tenant_id)).roles
            permissions = permissions.union(*(permitted.get(name, ()) for name in names))
        return Caller(token, tenant_id, names, permissions)

    async def may_call(
        self,
        text: str,
        presented: Presented,
        caller: Caller,
        method: str,
        path: str,
        holds: float,
    ) -> Caller:
        """The caller with the endpoint that the call hits, if role and list allow it.

        `holds` as above. Raises InsufficientScope, Unavailable.
        """
        if self._policies is None or caller.tenant_id is None:
            raise InsufficientScope("there is no catalogue without a tenant and credentials")
        hit = (await self._policies.of(caller.tenant_id)).endpoints.hit_by(method, path)
        if not hit:
            raise InsufficientScope("not in the catalogue")
        # A tenant may ask for more than one above it does, never for less.
        shut = tuple(e for e in hit if not opens(e.opened_by, caller.permissions))
        if shut:
            raise InsufficientScope("the role does not open the endpoint", scope=_would_do(shut))
        listed = [
            endpoint
            for endpoint in hit
            if await self._is_listed(text, presented, caller, endpoint, method, path, holds)
        ]
        if not listed:
            raise InsufficientScope("not on the token's list of endpoints")
        return replace(caller, endpoint=listed[0])

    async def _is_listed(
        self,
        text: str,
        presented: Presented,
        caller: Caller,
        endpoint: Endpoint,
        method: str,
        path: str,
        holds: float,
    ) -> bool:
        claims = presented.token
        if claims.endpoints is not None and endpoint.id not in claims.endpoints:
            return False
        if not claims.endpoints_elsewhere or caller.tenant_id is None:
            return not claims.endpoints_elsewhere
        request = {"x-original-method": method, "x-original-uri": path}
        said = await self._asked(text, presented, caller.tenant_id, endpoint.id, request, holds)
        return said is not None and said[2] == endpoint.id

    async def _asked(
        self,
        text: str,
        presented: Presented,
        tenant_id: str,
        endpoint_id: str | None,
        headers: dict[str, str],
        holds: float,
    ) -> _Said:
        """What the service says of the token there; kept with it for as long as that is true."""
        answers, key = presented.answers, (tenant_id, endpoint_id or "")
        known: _Answer | None = answers.get(key)
        if known is not None:
            age = self._monotonic() - known[0]
            if age < (self._refusal_age if known[1] is None else holds):
                return known[1]
        flight = (presented.token.jti, *key)
        if flight not in self._asking:
            self._admit(presented)
        sent = {"authorization": f"Bearer {text}", "x-tenant-id": tenant_id, **headers}
        params = self._params if headers else {"audience": self._params["audience"]}
        try:
            answer = await self._asking.run(flight, lambda: self._verify(sent, params, presented))
        except Fault as fault:
            raise Unavailable(f"the service cannot say more of the token: {fault}") from fault
        answers.pop(key, None)
        if len(answers) >= MAX_ANSWERS:
            answers.pop(next(iter(answers)))
        answers[key] = answer
        return answer[1]

    def _admit(self, presented: Presented) -> None:
        """Raises Unavailable when no more may be asked now, of all tokens or of this one."""
        jti, now = presented.token.jti, self._monotonic()
        if len(self._asking) >= MAX_ASKED:
            raise Unavailable("too many questions are under way")
        if sum(flight[0] == jti for flight in self._asking) >= MAX_ASKED_EACH:
            raise Unavailable("too many questions about this token are under way")
        refusals = sum(said is None and now - at < 1 for at, said in presented.answers.values())
        if refusals >= MAX_REFUSED:
            raise Unavailable("this token was refused in too many places within a second")

    async def _verify(
        self, headers: dict[str, str], params: dict[str, str], presented: Presented
    ) -> _Answer:
        began = self._monotonic()
        url = (await self._service.metadata()).beside("verify")
        reply = await self._service.fetch("GET", url, headers=headers, params=params)
        if reply.status == 401:
            raise InvalidToken("the service refuses the token")
        if reply.status == 403:
            return began, None
        document = reply.document()
        if document.get("jti") != presented.token.jti:
            raise Fault("the service answered about another token")
        if document.get("tenant_id") != headers["x-tenant-id"]:
            raise Fault("the service answered about another tenant")
        endpoint: Any = document.get("endpoint")
        endpoint_id = endpoint.get("id") if isinstance(endpoint, dict) else None
        permissions = frozenset(_texts(document, "permissions"))
        return began, (_texts(document, "roles"), permissions, endpoint_id)


def _would_do(hit: tuple[Endpoint, ...]) -> list[str]:
    """The smallest group that opens one of them."""
    groups = sorted((len(g), sorted(g)) for endpoint in hit for g in endpoint.opened_by)
    return groups[0][1] if groups else []


def _texts(document: Any, name: str) -> tuple[str, ...]:
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Fault(f"the service's answer has no {name}")
    return tuple(value)
