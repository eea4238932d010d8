"""How a sign-in begins: a key that only the console can use, and its cookie for the browser."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from ...domain.errors import Code, Guessed, Refusal
from ...domain.model import User, UserKind
from ...domain.sign_ins import IDLE, LONGEST, MOST, SecondFactor, SignIn
from ...domain.trail import Actor
from ..management.changes import Change, Changes
from ..management.ending import end_sign_ins
from ..ports import ConsoleCookies, Transaction

#: Characters that are kept of what a browser calls itself.
AGENT = 200


@dataclass(frozen=True, slots=True)
class Browser:
    """Where somebody signs in: the address, and what the browser calls itself."""

    address: str | None
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that began. `cookie` is for the browser alone, until `ends_at` at the latest."""

    cookie: str = field(repr=False)
    user_id: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """A user with the hash of its password, and its second factor if any.

    `why` says in fixed words why it may not sign in; then it has neither.
    """

    user: User
    stored: str | None = field(default=None, repr=False)
    factor: SecondFactor | None = None
    why: str = ""


async def person(tx: Transaction, user: User | None) -> Person | None:
    """What is known of the user; None of nobody."""
    if user is None:
        return None
    if user.kind is not UserKind.HUMAN:
        return Person(user, why="a service user")
    if user.disabled_at is not None:
        return Person(user, why="the user is disabled")
    stored = await tx.users.password(user.id)
    return Person(user, stored, await tx.second_factors.get(user.id))


class Beginning:
    """Begins sign-ins, each in a change of its own."""

    def __init__(self, changes: Changes, cookies: ConsoleCookies) -> None:
        self._changes = changes
        self._cookies = cookies

    async def begin(
        self,
        user: User,
        browser: Browser,
        admit: Callable[[Change, Person], Awaitable[str]],
    ) -> SignedIn:
        """Signs the person in once `admit` says by what.

        It is asked within the change, of the person as it is then, which stays so until the end.
        Raises what it raises, and `over` when the person may sign in no more. Of too many
        sign-ins of one person, the oldest ends: those that begin at once wait for each other, as
        changes of one tenant do, and each counts those before it.
        """
        key_id = self._cookies.new_id()
        actor = Actor(user.id, key_id, key_id, browser.address)
        async with self._changes.begin(actor, user.home_tenant_id) as change:
            # Keys before their user, as in every other change of a key: no crosswise locks.
            live = await change.tx.sign_ins.live_of(user.id, change.now)
            for one in live[MOST - 1 :]:
                last = self._changes.last_token_ends(change.now)
                await end_sign_ins(change, user.id, last, only=one.id)
            epoch = await change.tx.sign_ins.hold(user.id)
            known = await person(change.tx, await change.tx.users.get(user.id))
            if epoch is None or known is None or known.why:
                raise over("changed meanwhile")
            by = await admit(change, known)
            cookie = self._cookies.new(key_id, epoch)
            agent = printable(browser.agent)
            sign_in = SignIn(
                key_id,
                user.id,
                user.home_tenant_id,
                change.now,
                change.now + LONGEST,
                int(IDLE.total_seconds()),
                epoch,
                agent,
                browser.address,
                change.now,
            )
            await change.tx.sign_ins.add(sign_in, cookie.hash)
            change.note("user.signed_in", user.id, by=by, agent=agent)
        return SignedIn(cookie.text, user.id, sign_in.expires_at)


def printable(agent: str) -> str:
    """What a browser calls itself, as it can be stored and shown."""
    return "".join(filter(str.isprintable, agent[: 4 * AGENT]))[:AGENT]


def over(detail: str) -> Refusal:
    """What was shown before counts no more: sign in from the beginning."""
    public = "That took too long, or something has changed: sign in again."
    return Refusal(Code.INVALID_REQUEST, public, detail=detail, field="step")


def wrong(field: str, public: str, detail: str) -> Guessed:
    """A credential that is no good."""
    return Guessed(Code.INVALID_REQUEST, public, detail=detail, field=field)
