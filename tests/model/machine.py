"""What may happen, in any order: each rule does it to the model and to a node, and compares.

A failing example prints as a program of these rules. `tokens_3` is the fourth access token that
was given out; refresh tokens are called by the session that they belong to: `of=tokens_3`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
)
from hypothesis.strategies._internal.featureflags import FeatureFlags

from tests.model.cast import HOME, TENANTS, Cast
from tests.model.checks import Checks, Violation, need
from tests.model.model import INVALID_CLIENT, INVALID_GRANT, Grant, Key, Session, Tenant, Token
from tests.model.node import Answer
from tests.model.world import NODES, World, claims

NODE = st.sampled_from(NODES)
CHOICE = st.sampled_from([None, *TENANTS])
SCOPE = st.sampled_from([None, None, None, "data:write", "assets:read"])
Given = Token | MultipleResults[Token]


class Every(FeatureFlags):
    """All rules."""

    def is_enabled(self, name: str) -> bool:
        return True


class TokenRules(RuleBasedStateMachine):
    """Whoever holds keys and tokens, and uses them."""

    keys: Bundle[Key] = Bundle("keys")
    tokens: Bundle[Token] = Bundle("tokens")

    world: ClassVar[World]
    NEW = (True, (True, frozenset[str]()))
    #: Steps that did something, of all examples so far.
    steps: ClassVar[int] = 0
    #: Which of them was the first violation; 0: none.
    caught_in: ClassVar[int] = 0
    #: What they said. Hypothesis forgets those that it cannot repeat.
    violations: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.cast = Cast(self.world)
        self.run(self.cast.make())
        self.model = self.cast.model
        self.checks = Checks(self.world, self.model)
        self.just_flushed = True
        self.violated = False
        # Hypothesis would leave some rules out of each example, often most of them.
        self._rules_strategy.enabled_rules_strategy = st.just(Every())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.world.run(work)

    @contextmanager
    def step(self, node: str) -> Iterator[None]:
        """A step of `node`. Then both nodes are asked about the tokens that it made, ended or
        revived, and about the others in turns.
        """
        type(self).steps += 1
        self.just_flushed = False
        with self._watched():
            with self._heard(node) as changed:
                yield
            self.run(self.checks.look(changed))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remembers that there was a violation, whatever Hypothesis makes of it."""
        try:
            yield
        except Violation as violation:
            self.violated = True
            type(self).caught_in = self.caught_in or self.steps or 1
            type(self).violations = (*self.violations, str(violation))
            raise

    @contextmanager
    def _heard(self, node: str) -> Iterator[list[Token]]:
        """Notes where the other node cannot know yet; gives the tokens that changed."""
        changed: list[Token] = []
        before = self._verdicts()
        sure = self.run(self.world.shares(node))
        yield changed
        after = self._verdicts()
        changed += [token for token, now in after.items() if before.get(token) != now]
        unheard = [t for t in changed if before.get(t, self.NEW)[1] != after[t][1]]
        if unheard and not (sure and self.run(self.world.shares(node))):
            self.checks.doubt(unheard, [other for other in NODES if other != node])

    def teardown(self) -> None:
        """Each example leaves two nodes that share Redis."""
        with self._watched():
            # After a violation the model does not know what the nodes know.
            if not self.violated:
                self.run(self.checks.settle())
                self.run(self.checks.look(self.checks.listed()))
            self.run(self.world.settled())

    def _verdicts(self) -> dict[Token, tuple[bool, object]]:
        model = self.model
        return {token: (model.row_admits(token), model.listing(token)) for token in model.tokens}

    @initialize(target=keys)
    def first_keys(self) -> MultipleResults[Key]:
        return multiple(*self.cast.keys)

    @initialize(target=tokens)
    def first_token(self) -> Given:
        """Of ann, in all of its tenants."""
        return self.exchange("A", self.cast.keys[0], None, None, "new")

    # --- tokens ----------------------------------------------------------------------------

    @rule(
        target=tokens,
        node=NODE,
        key=keys,
        tenant=CHOICE,
        scope=SCOPE,
        secret=st.sampled_from(["new", "new", "old"]),
    )
    def exchange(
        self, node: str, key: Key, tenant: str | None, scope: str | None, secret: str
    ) -> Given:
        """The password grant."""
        old = secret == "old" and key.former is not None
        place = self.model.tenants[tenant] if tenant else None
        form = {"username": key.user.username, "password": (old and key.former) or key.secret}
        if scope:
            form["scope"] = scope
        with self.step(node):
            expected = self.model.exchange(key, place, scope, old=old)
            return self._exchange(node, key, place, expected, grant_type="password", **form)

    @rule(target=tokens, node=NODE, key=keys, tenant=CHOICE)
    def exchange_as_client(self, node: str, key: Key, tenant: str | None) -> Given:
        """The client credentials grant: there is no refresh token."""
        place = self.model.tenants[tenant] if tenant else None
        form = {"client_id": key.id, "client_secret": key.secret}
        with self.step(node):
            expected = self.model.exchange(key, place, None)
            expected = INVALID_CLIENT if expected == INVALID_GRANT else expected
            return self._exchange(
                node, key, place, expected, grant_type="client_credentials", **form
            )

    def _exchange(
        self, node: str, key: Key, place: Tenant | None, expected: Grant | str, **form: str
    ) -> Given:
        answer = self.run(self.world.token(node, place.id if place else None, **form))
        self.checks.granted(node, answer, expected)
        if isinstance(expected, str):
            return multiple()
        text = answer.body["access_token"]
        refresh = answer.body.get("refresh_token")
        texts = [refresh] if refresh else []
        session = Session(claims(text)["sid"], key, expected, texts, key.user.epoch)
        return self.model.give_out(text, session, expected)

    # --- refresh ---------------------------------------------------------------------------

    @rule(target=tokens, node=NODE, of=tokens, tenant=st.sampled_from([None, None, *TENANTS]))
    def refresh(self, node: str, of: Token, tenant: str | None) -> Given:
        """With the session's live refresh token."""
        return self._refresh(node, of.session, of.session.live, tenant)

    @rule(target=tokens, node=NODE, of=tokens)
    def retry(self, node: str, of: Token) -> Given:
        """The refresh before, once more: its answer was lost, say. Without one: the first."""
        return self._refresh(node, of.session, max(0, of.session.live - 1))

    @rule(target=tokens, node=NODE, of=tokens, back=st.integers(2, 4))
    def replay(self, node: str, of: Token, back: int) -> MultipleResults[Token]:
        """With an older one, after two refreshes at least: somebody stole it."""
        session, count = of.session, len(self.model.tokens)
        for _ in range(session.live, 2):
            self._refresh(node, session, session.live)
        self._refresh(node, session, max(0, session.live - back))
        return multiple(*self.model.tokens[count:])

    @rule(target=tokens, node=NODE, of=tokens)
    def retry_too_late(self, node: str, of: Token) -> MultipleResults[Token]:
        """The refresh before once more, when the grace is over."""
        session, count = of.session, len(self.model.tokens)
        if session.live == 0:
            self._refresh(node, session, 0)
        self._grace_ends(session)
        self._refresh(node, session, max(0, session.live - 1))
        return multiple(*self.model.tokens[count:])

    @rule(of=tokens)
    def grace_ends(self, of: Token) -> None:
        """The session's last refresh was long ago."""
        self._grace_ends(of.session)

    def _grace_ends(self, session: Session) -> None:
        if session.live > 0 and session.in_grace:
            with self.step("A"):
                self.run(self.world.age(session.id))
                session.in_grace = False

    def _refresh(
        self, node: str, session: Session, generation: int, tenant: str | None = None
    ) -> Given:
        if not session.texts:
            return multiple()
        place = self.model.tenants[tenant] if tenant else None
        with self.step(node):
            expected = self.model.refresh(session, generation, place)
            answer = self.run(
                self.world.refresh(node, session.texts[generation], place.id if place else None)
            )
            return self._refreshed(node, answer, expected, session, generation)

    @rule(target=tokens, of=tokens, back=st.sampled_from([0, 0, 1]))
    def refresh_on_both_nodes(self, of: Token, back: int) -> Given:
        """At once, with the same refresh token: one wins, and the other gets the same."""
        session, generation = of.session, max(0, of.session.live - back)
        if not session.texts:
            return multiple()
        text = session.texts[generation]

        async def both() -> list[Answer]:
            return await asyncio.gather(*(self.world.refresh(node, text) for node in NODES))

        with self.step("A"):
            count = len(self.model.tokens)
            for node, answer in zip(NODES, self.run(both()), strict=True):
                expected = self.model.refresh(session, generation, None)
                self._refreshed(node, answer, expected, session, generation)
            return multiple(*self.model.tokens[count:])

    # Half of what happens ends sessions: they shall live to see some refreshes.
    more_often = refresh

    @rule(
        target=tokens,
        of=tokens,
        change=st.sampled_from(["disable", "end the session", "give a role"]),
    )
    def refresh_on_a_while_b_does(self, of: Token, change: str) -> Given:
        """Whoever comes first: no token is good afterwards that was given out before."""
        session, user = of.session, of.session.key.user
        if not session.texts or not session.standing or session.ended:
            return multiple()
        generation = session.live
        text = session.texts[generation]
        home, role = self.model.tenants[HOME], self.model.roles["keeper"]
        if change == "give a role" and (home, role) in user.held:
            return multiple()

        async def race() -> Answer:
            answer, _ = await asyncio.gather(
                self.world.refresh("A", text), self._change(of, change)
            )
            return answer

        with self.step("B"):
            answer = self.run(race())
            before = self.model.regranted(session, None)
            given: Given = multiple()
            was_first = answer.ok and claims(answer.body["access_token"])["epoch"] == user.epoch
            if was_first:
                given = self._refreshed(
                    "A", answer, self.model.refresh(session, generation, None), session, generation
                )
            if change == "disable":
                user.disabled = True
                user.epoch += 1
            elif change == "end the session":
                session.ended = True
            else:
                user.held.add((home, role))
                user.epoch += 1
            if not was_first and not isinstance(before, str):
                expected = self.model.refresh(session, generation, None)
                given = self._refreshed("A", answer, expected, session, generation)
            return given

    async def _change(self, of: Token, change: str) -> None:
        user, home = of.session.key.user, self.model.tenants[HOME].id
        if change == "disable":
            await self.world.administer("B", "POST", f"/service-users/{user.id}/disable", home)
        elif change == "end the session":
            await self.world.revoke("B", of.session.texts[-1])
        else:
            body = {"user_id": user.id, "role_id": self.model.roles["keeper"].id}
            await self.world.administer("B", "POST", "/members", home, body)

    def _refreshed(
        self, node: str, answer: Answer, expected: Grant | str, session: Session, generation: int
    ) -> Given:
        self.checks.granted(node, answer, expected)
        if isinstance(expected, str):
            return multiple()
        text = answer.body["refresh_token"]
        if generation + 1 == len(session.texts):
            session.texts.append(text)
        need(session.texts[generation + 1] == text, f"{node} gives a second successor")
        told = claims(answer.body["access_token"])
        need(told["sid"] == session.id, f"{node} gives a token of another session")
        return self.model.give_out(answer.body["access_token"], session, expected)
