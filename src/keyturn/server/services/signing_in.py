"""People sign in to the console, with a password and maybe a code; a cookie says so from then on.

A sign-in is a key that only the console can use. Each call by its cookie makes, in memory, the
token that an exchange of that key would give, and goes on as a call with that token: so what ends
keys, sessions and users ends it, too.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ..domain.errors import Refusal, conflict, invalid_request
from ..domain.model import User
from ..domain.passwords import check_password
from ..domain.sign_ins import MOST_WRONG, SecondFactor
from ..domain.trail import Actor
from .callers import Callers
from .credentials import Credentials
from .management.changes import Change, Changes
from .ports import AnswerSealer, Clock, ConsoleCookies, Passwords, Store
from .recent_keys import RecentKeys
from .sign_in.beginning import Beginning, Browser, Person, SignedIn, over, person, wrong
from .sign_in.calls import ListedSignIn, SignIns
from .sign_in.codes import Codes, Taken
from .sign_in.steps import Steps, fingerprint
from .throttling import Throttling, Who
from .usage import Note, Usage

__all__ = ["Browser", "CodeNeeded", "ListedSignIn", "SignedIn", "SigningIn"]

#: How long a password that was right waits for its code.
STEP = timedelta(minutes=5)
_WRONG = "The email address or the password is not right."


@dataclass(frozen=True, slots=True)
class CodeNeeded:
    """The password was right, and a code of the second factor is wanted. `step` goes with it.

    It is bound to no browser, for that would give nothing: it stands for the password alone, and
    the visitor's value stands in the form beside it, so whoever reads one there reads both. Codes
    count by person, from whatever browser. And a step of somebody else's cannot be sent from a
    strange site: the form must have the browser's own value.
    """

    step: str


class SigningIn(SignIns):
    """Signs people in. (What becomes of sign-ins is `SignIns`'.)"""

    def __init__(
        self,
        *,
        store: Store,
        changes: Changes,
        callers: Callers,
        keys: RecentKeys,
        credentials: Credentials,
        cookies: ConsoleCookies,
        passwords: Passwords,
        codes: Codes,
        sealer: AnswerSealer,
        throttling: Throttling,
        usage: Usage,
        clock: Clock,
    ) -> None:
        super().__init__(
            store=store,
            changes=changes,
            callers=callers,
            keys=keys,
            cookies=cookies,
            usage=usage,
            clock=clock,
        )
        self._credentials = credentials
        self._passwords = passwords
        self._codes = codes
        self._steps = Steps(sealer, clock, "sign in", STEP)
        self._throttling = throttling
        self._beginning = Beginning(changes, cookies)

    async def by_password(
        self, username: str, password: str, browser: Browser
    ) -> SignedIn | CodeNeeded:
        """Signs in a person, or asks for a code of the second factor.

        Whatever is wrong costs one hash and has one answer: Refusal `invalid_request` for
        `password`, which counts as a failure. Raises Throttled, Unavailable.
        """
        username = _text(username)
        async with self._store.transaction() as tx:
            known = await person(tx, await tx.users.by_username(username))
        who = _who(known)
        self._throttling.sign_in(f"console {username}", browser.address, who)
        stored = known.stored if known is not None else None
        right = await self._passwords.verify(password, stored)
        if known is None or stored is None or not right:
            raise self._refused(wrong("password", _WRONG, _why(known)), who, browser)
        if known.factor is not None:
            return self._code_needed(known.user, stored)

        async def admit(_: Change, now: Person) -> str:
            if now.stored != stored or now.factor is not None:
                raise over("password or second factor changed meanwhile")
            return "password"

        return await self._beginning.begin(known.user, browser, admit)

    async def by_code(self, step: str, code: str, browser: Browser) -> SignedIn:
        """Signs in with a code of the generator, or a recovery code: each is good once.

        After `MOST_WRONG` wrong ones in a row only a recovery code will do.

        Raises Refusal `invalid_request`: for `step` when it is over (begin again), for `code` when
        that is wrong. Raises Throttled, Unavailable.
        """
        state = self._steps.open(step)
        if state is None:
            raise over("no step, or an old one")
        who = Who(state["user"], tenant_id=state["home"])
        self._throttling.password(f"code {state['user']}", browser.address, who)
        # Counted before it is judged, and for good: what is refused writes nothing, and many at
        # once would all be judged by the count of before. Where a fault keeps it from being judged
        # it counts all the same: the next right one ends the count.
        async with self._store.transaction() as tx:
            known = await person(tx, await tx.users.get(state["user"]))
            if known is None:
                raise over("the user is gone")
            user = known.user
            _factor(known, state)
            nth = await tx.second_factors.count_try(user.id, MOST_WRONG)

        async def admit(change: Change, now: Person) -> str:
            factor = _factor(now, state)
            taken = await self._codes.take(change.tx, factor, code, change.now, locked=nth is None)
            if taken is None:
                if nth == MOST_WRONG:
                    self._note("user.second_factor_locked", "wrong codes", who, browser)
                refusal = wrong("code", "The code is not right, or was used before.", "wrong code")
                raise self._refused(refusal, who, browser)
            if taken is Taken.RECOVERY_CODE:
                change.note("user.recovery_code_used", user.id, left=len(factor.recovery) - 1)
            return f"password, {taken}"

        return await self._beginning.begin(user, browser, admit)

    async def first_password(
        self, username: str, api_key: str, new_password: str, browser: Browser
    ) -> SignedIn | CodeNeeded:
        """Sets the password of a person who has none, vouched for by an API key of theirs that
        nothing narrows; and signs them in, or asks for a code of the second factor: the key stands
        for the password alone.

        Raises Refusal `invalid_request` for `new_password` or `api_key`, `conflict` for somebody
        who has a password. Raises Throttled, Unavailable.
        """
        username = _text(username)
        try:
            check_password(new_password, names=(username,))
        except Refusal as weak:
            raise invalid_request(weak.public, field="new_password") from None
        self._throttling.sign_in(f"first {username}", browser.address)
        evidence = await self._credentials.examine(api_key, browser.address, tenants=())
        why = "no key of that user" if evidence.genuine else evidence.why
        if not evidence.genuine or not evidence.named(username):
            raise self._refused(_bad_key(why), Who(), browser)
        record = evidence.key
        who = Who(record.user_id, record.key_id, record.home_tenant_id)
        async with self._store.transaction() as tx:
            key = await tx.api_keys.get(record.key_id)
            known = await person(tx, await tx.users.get(record.user_id))
        if known is None or known.why or key is None:
            raise self._refused(_bad_key("no person's key"), who, browser)
        if {key.tenant_id, key.role_ids, key.endpoint_ids, key.networks} != {None}:
            raise self._refused(_bad_key("a narrowed key"), who, browser)
        _need_none(known)
        hashed = await self._passwords.hash(new_password)

        async def admit(change: Change, now: Person) -> str:
            if (now.factor is None) != (known.factor is None):
                raise over("the second factor changed meanwhile")
            _need_none(now)
            held = await change.tx.api_keys.hold(record.key_id)
            if held is None or held.revoked_at is not None:
                raise _bad_key("the key ended meanwhile")
            await change.tx.users.set_password(known.user.id, hashed, change.now)
            change.note("user.password_changed", known.user.id)
            return "api_key"

        if known.factor is None:
            return await self._beginning.begin(known.user, browser, admit)
        actor = Actor(record.user_id, record.key_id, None, browser.address)
        async with self._changes.begin(actor, known.user.home_tenant_id) as change:
            if await change.tx.sign_ins.hold(known.user.id) is None:
                raise over("the user is gone or disabled")
            now = await person(change.tx, await change.tx.users.get(known.user.id))
            if now is None or now.why:
                raise over("changed meanwhile")
            await admit(change, now)
        return self._code_needed(known.user, hashed)

    def _code_needed(self, user: User, stored: str) -> CodeNeeded:
        password = fingerprint(stored)
        return CodeNeeded(
            self._steps.seal(user=user.id, home=user.home_tenant_id, password=password)
        )

    def _refused(self, refusal: Refusal, who: Who, browser: Browser) -> Refusal:
        """The refusal, written down. By the batch writer: whoever guesses makes no transactions."""
        self._note("user.sign_in_refused", refusal.detail, who, browser)
        return refusal

    def _note(self, action: str, why: str, who: Who, browser: Browser) -> None:
        self._usage.note(
            Note(
                action,
                "refused",
                "",
                who.user_id,
                tenant_id=who.tenant_id,
                address=browser.address,
                why=why,
            )
        )


def _text(username: str) -> str:
    """Without halves of letters, which no text in UTF-8 has."""
    return username.encode("utf-8", "replace").decode()


def _who(known: Person | None) -> Who:
    if known is None:
        return Who()
    return Who(known.user.id, tenant_id=known.user.home_tenant_id)


def _why(known: Person | None) -> str:
    if known is None:
        return "no such user"
    return known.why or ("no password" if known.stored is None else "wrong password")


def _factor(known: Person, state: Mapping[str, str]) -> SecondFactor:
    """The one that a code is wanted of, if the password is still the one that was right."""
    same = hmac.compare_digest(fingerprint(known.stored), state["password"])
    if known.factor is None or not same:
        raise over("password or second factor changed meanwhile")
    return known.factor


def _need_none(known: Person) -> None:
    if known.stored is not None:
        raise conflict("You have a password: sign in with it.", field="username")


def _bad_key(detail: str) -> Refusal:
    public = "The API key is not this person's, not valid, or narrowed."
    return wrong("api_key", public, detail)
