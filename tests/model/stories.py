"""For each seeded bug a short story in which it shows, told by the machine's own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.model.cast import HOME
from tests.model.changes import Machine
from tests.model.model import Token

#: What happens after ann's first token was given out.
Story = Callable[[Machine, Token], None]


def _an_older_one_is_used(machine: Machine, token: Token) -> None:
    machine.replay("A", token, 2)


def _a_retry_comes_too_late(machine: Machine, token: Token) -> None:
    machine.retry_too_late("A", token)


def _a_role_is_taken(machine: Machine, token: Token) -> None:
    machine.give_or_take_role("A", "ann", "keeper", HOME)


def _redis_is_flushed(machine: Machine, token: Token) -> None:
    machine.revoke_token_and_flush_redis("A", token)


def _an_older_one_is_used_late(machine: Machine, token: Token) -> None:
    # A session's first step inserts its row, so there is nothing to compare.
    for _ in range(3):
        machine.refresh("A", token, None)
    machine.replay("A", token, 2)


def _the_key_is_revoked(machine: Machine, token: Token) -> None:
    machine.revoke_key("A", token.session.key)
    machine.refresh("A", token, None)


def _less_was_granted(machine: Machine, token: Token) -> None:
    narrow = machine.exchange("A", token.session.key, None, "assets:read", "new")
    assert isinstance(narrow, Token)
    machine.refresh("A", narrow, None)


def _it_is_revoked(machine: Machine, token: Token) -> None:
    machine.revoke_token("A", token)


def _it_is_revoked_without_redis(machine: Machine, token: Token) -> None:
    machine.lose_redis("A")
    machine.revoke_token("A", token)
    machine.wait_for_tails()


#: By the mutant's name.
STORIES: Mapping[str, Story] = {
    "grace ignores the generation": _an_older_one_is_used,
    "grace never ends": _a_retry_comes_too_late,
    "epoch not raised": _a_role_is_taken,
    "marker not checked": _redis_is_flushed,
    "compare-and-swap dropped": _an_older_one_is_used_late,
    "reuse goes unpunished": _an_older_one_is_used,
    "refresh does not look at key and user": _the_key_is_revoked,
    "ceiling forgotten": _less_was_granted,
    "revocation not told to Redis": _it_is_revoked,
    "tail dropped": _it_is_revoked_without_redis,
}
