"""What the nodes say, held against the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.model.model import Grant, Model, Session, Tenant, Token
from tests.model.node import Answer
from tests.model.world import NODES, World, claims

#: "Within a second", and more for a machine that is busy.
LATE = 3.0
#: Tokens that both nodes are asked about after a step, at most.
AT_ONCE = 3


class Violation(AssertionError):
    """A node did what the promises forbid."""


def need(holds: bool, text: str) -> None:
    """Raises Violation unless `holds`."""
    if not holds:
        raise Violation(text)


class Checks:
    """Asks both nodes about tokens.

    Where a revoker without Redis was not heard yet, the other node's answer is in doubt: it may
    be either, until a tail has told it.
    """

    def __init__(self, world: World, model: Model) -> None:
        self._world = world
        self._model = model
        self._doubts: dict[tuple[Token, str], float] = {}
        self._lifted: dict[Tenant, float] = {}
        self._turn = 0

    # --- what is given out -----------------------------------------------------------------

    def granted(self, node: str, answer: Answer, expected: Grant | str) -> None:
        """An answer of the token endpoint: exactly what the model grants, or its refusal."""
        if isinstance(expected, str):
            got = answer.error or "tokens"
            need(got == expected, f"{node} answers {got}, and must answer {expected}")
            return
        need(answer.ok, f"{node} refuses with {answer.error}, and must answer {expected}")
        told = claims(answer.body["access_token"])
        roles, chosen = _roles_told(told)
        wanted = {tenant.id: here.roles for tenant, here in expected.carried.items()}
        need(chosen == (expected.chosen and expected.chosen.id), f"{node} chose another tenant")
        need(roles == wanted, f"{node} gives other roles than {expected}")
        scope = frozenset(told["scope"].split())
        need(scope == expected.scope, f"{node} gives the scope {sorted(scope)}, not {expected}")

    # --- what is accepted ------------------------------------------------------------------

    def doubt(self, tokens: Iterable[Token], nodes: Iterable[str]) -> None:
        """From now on these nodes may know what became of the tokens, or not."""
        until = time.monotonic() + LATE
        self._doubts.update({(token, node): until for node in nodes for token in tokens})

    def lifted(self, tenant: Tenant) -> None:
        """The end of a suspension is told by tails alone: nodes may refuse a little longer."""
        until = time.monotonic() + LATE
        places = [place for place in self._model.tenants.values() if tenant in place.line]
        self._lifted.update(dict.fromkeys(places, until))

    async def look(self, changed: Sequence[Token]) -> None:
        """Asks both nodes about tokens that just changed, and one about some other token; one of
        them says what it thinks of an access token, or of a refresh token, by introspection.
        """
        self._turn += 1
        near = NODES[self._turn % len(NODES)]
        asked = [self._me(node, token) for token in changed[-AT_ONCE:] for node in NODES]
        if tokens := self._model.tokens:
            # In turns, so that each is asked about again and again.
            other = tokens[self._turn % len(tokens)]
            asked.append(self._me(near, other))
            named = changed[0] if changed else other
            if self._turn % 4 < 2:
                asked.append(self._introspect(near, named))
            elif named.session.texts:
                asked.append(self._refreshable(near, named.session))
        # All of them are asked before the first violation is raised.
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if outcome is not None:
                raise outcome

    def listed(self) -> list[Token]:
        """The youngest tokens that are dead by the revocation list alone."""
        model = self._model
        dead = [t for t in model.tokens if model.row_admits(t) and not model.list_admits(t)]
        return dead[-AT_ONCE:]

    async def settle(self) -> None:
        """Waits until no answer is in doubt any more: each must come right in time."""
        doubts, self._doubts = self._doubts, {}
        for (token, node), until in doubts.items():
            while True:
                in_time = time.monotonic() < until
                try:
                    await self._me(node, token)
                    break
                except Violation:
                    if not in_time:
                        raise
                    await asyncio.sleep(0.02)

    async def _me(self, node: str, token: Token) -> None:
        doubtful = self._doubtful(node, token)
        answer = await self._world.me(node, token.text)
        need(answer.status in (200, 401), f"{node} answers {answer.status} to {token}")
        self._verdict(node, token, answer.ok, self._model.accepts(token), doubtful)
        if answer.ok and not doubtful:
            roles: dict[str, set[str]] = {}
            for item in answer.body["roles"]:
                roles.setdefault(item["tenant_id"], set()).add(item["role_name"])
            self._same_roles(node, token, roles)

    async def _introspect(self, node: str, token: Token) -> None:
        doubtful = self._doubtful(node, token)
        answer = await self._world.introspect(node, token.text)
        active = bool(answer.body["active"])
        # A token that names no tenant is nobody's to ask about.
        visible = any(tenant.active for tenant in token.grant.carried)
        doubtful = doubtful or any(map(self._lifted_lately, token.grant.carried))
        expected = self._model.accepts(token) and visible
        self._verdict(node, token, active, expected, doubtful)
        if active and not doubtful:
            self._same_roles(node, token, _roles_told(answer.body)[0])

    async def _refreshable(self, node: str, session: Session) -> None:
        """The live refresh token, or the one before it."""
        generation = max(0, session.live - self._turn % 2)
        answer = await self._world.introspect(node, session.texts[generation])
        active, expected = answer.body["active"], self._model.refreshable(session, generation)
        text = f"{node} says that refresh token {generation} of a session is active: {active}"
        need(active == expected, text)

    def _verdict(
        self, node: str, token: Token, accepted: bool, expected: bool, doubtful: bool
    ) -> None:
        if doubtful and self._model.row_admits(token):
            return
        why = self._model.why(token)
        need(accepted == expected, f"{node} {_word(accepted)} {token}, although {why}")

    def _same_roles(self, node: str, token: Token, roles: Mapping[str, Iterable[str]]) -> None:
        unsure = {place.id for place in token.grant.carried if self._lifted_lately(place)}
        got = {t: frozenset(names) for t, names in roles.items() if names and t not in unsure}
        wanted = {t: names for t, names in self._model.named(token).items() if t not in unsure}
        wanted = {tenant: names for tenant, names in wanted.items() if names}
        need(got == wanted, f"{node} lets {token} act as {got}, granted was {wanted}")

    def _doubtful(self, node: str, token: Token) -> bool:
        if token.grant.chosen is not None and self._lifted_lately(token.grant.chosen):
            return True
        return time.monotonic() < self._doubts.get((token, node), 0.0)

    def _lifted_lately(self, tenant: Tenant) -> bool:
        return time.monotonic() < self._lifted.get(tenant, 0.0)


def _roles_told(body: Mapping[str, Any]) -> tuple[dict[str, frozenset[str]], str | None]:
    """Roles by tenant, and the chosen tenant, in claims or an introspection's answer."""
    chosen: str | None = body.get("tenant_id")
    told = {chosen: body["roles"]} if chosen is not None else body["tenants"]
    return {tenant: frozenset(names) for tenant, names in told.items()}, chosen


def _word(accepted: bool) -> str:
    return "accepts" if accepted else "refuses"
