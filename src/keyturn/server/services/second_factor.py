"""People's second factors: a generator of codes beside the password, and codes for its loss."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..domain.errors import Code, Refusal, conflict, invalid_request, not_found
from ..domain.model import UserKind
from ..domain.sign_ins import SecondFactor
from .callers import OwnCaller
from .management.changes import Change, Changes
from .management.ending import end_sign_ins
from .ports import AnswerSealer, Clock, FactorSecrets, OneTimeCodes, Passwords, Store
from .sign_in.beginning import wrong
from .sign_in.codes import Codes, code_hash, new_codes
from .sign_in.steps import Steps
from .throttling import Throttling, Who

#: How long one may take to bring the secret into a generator.
ENROLMENT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A generator to be set up: its secret (base32), and the same for a picture (`otpauth:`).

    Nothing is kept of it here until it is confirmed with `sealed` and a first code.
    """

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    sealed: str


@dataclass(frozen=True, slots=True)
class FactorState:
    """Since when there is a second factor (None: there is none), and how many codes are left."""

    confirmed_at: datetime | None = None
    codes_left: int = 0


class SecondFactorService:
    """What people do about their own second factors."""

    def __init__(
        self,
        *,
        store: Store,
        changes: Changes,
        passwords: Passwords,
        generators: OneTimeCodes,
        secrets: FactorSecrets,
        sealer: AnswerSealer,
        throttling: Throttling,
        clock: Clock,
    ) -> None:
        self._store = store
        self._changes = changes
        self._passwords = passwords
        self._generators = generators
        self._secrets = secrets
        self._codes = Codes(generators, secrets)
        self._steps = Steps(sealer, clock, "second factor", ENROLMENT)
        self._throttling = throttling

    async def state(self, caller: OwnCaller) -> FactorState:
        """Raises Unavailable."""
        async with self._store.transaction() as tx:
            factor = await tx.second_factors.get(caller.record.user_id)
        return FactorState(factor.confirmed_at, len(factor.recovery)) if factor else FactorState()

    async def begin(self, caller: OwnCaller) -> Enrolment:
        """A new secret, which is to be confirmed.

        Raises Refusal `conflict` for somebody who has a second factor (it must be removed first,
        which takes the password), `access_denied` for service users.
        """
        if caller.record.user_kind is not UserKind.HUMAN:
            raise Refusal(Code.ACCESS_DENIED, "Service users do not sign in.")
        async with self._store.transaction() as tx:
            _need_none(await tx.second_factors.get(caller.record.user_id))
        secret = self._generators.new_secret()
        # For this sign-in alone: whoever saw the secret then cannot set it up from elsewhere.
        sealed = self._steps.seal(
            user=caller.record.user_id, sign_in=caller.token.key_id, secret=secret
        )
        return Enrolment(secret, self._generators.uri(secret, caller.record.username), sealed)

    def again(self, caller: OwnCaller, sealed: str) -> Enrolment:
        """The one that began so, to be shown once more.

        Raises Refusal `invalid_request` for `sealed` (begin again).
        """
        secret = self._secret(caller, sealed)
        return Enrolment(secret, self._generators.uri(secret, caller.record.username), sealed)

    async def confirm(
        self, caller: OwnCaller, sealed: str, code: str, password: str
    ) -> tuple[str, ...]:
        """Sets the second factor up; gives the recovery codes, which are shown this once.

        The caller's other sign-ins end. (The password is asked for: a stolen cookie alone would
        shut its person out.)

        Raises Refusal `invalid_request` for `sealed` (begin again), `password` and `code`,
        `conflict` as `begin`. Raises Throttled.
        """
        user_id, secret = caller.record.user_id, self._secret(caller, sealed)
        stored = await self._proven(caller, password)
        self._throttling.password(f"code {user_id}", caller.address, _who(caller))
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            await _need_same(change, caller, stored)
            _need_none(await change.tx.second_factors.get(user_id))
            step = self._codes.first_step(secret, code, change.now)
            if step is None:
                raise wrong("code", "The code is not right.", "wrong first code")
            codes = new_codes()
            factor = SecondFactor(
                user_id,
                self._secrets.seal(user_id, secret),
                change.now,
                step,
                tuple(code_hash(user_id, one) for one in codes),
            )
            last = self._changes.last_token_ends(change.now)
            ended = await end_sign_ins(change, user_id, last, but=caller.token.key_id)
            await change.tx.second_factors.put(factor)
            change.note("user.second_factor_set", user_id)
            if ended:
                change.note("user.signed_out", user_id, sign_ins=ended)
        return codes

    async def remove(self, caller: OwnCaller, password: str) -> None:
        """Raises Refusal `invalid_request` for `password`, `not_found`. Raises Throttled."""
        stored = await self._proven(caller, password)
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            await _need_same(change, caller, stored)
            if not await change.tx.second_factors.remove(caller.record.user_id):
                raise not_found("no second factor")
            change.note("user.second_factor_removed", caller.record.user_id)

    async def new_codes(self, caller: OwnCaller, password: str) -> tuple[str, ...]:
        """Recovery codes in place of those before, shown this once. Raises as `remove`."""
        stored = await self._proven(caller, password)
        user_id, codes = caller.record.user_id, new_codes()
        async with self._changes.begin(caller.actor, caller.record.home_tenant_id) as change:
            await _need_same(change, caller, stored)
            hashes = [code_hash(user_id, one) for one in codes]
            if not await change.tx.second_factors.replace_codes(user_id, hashes):
                raise not_found("no second factor")
            change.note("user.recovery_codes_made", user_id)
        return codes

    def _secret(self, caller: OwnCaller, sealed: str) -> str:
        state = self._steps.open(sealed)
        mine = (caller.record.user_id, caller.token.key_id)
        if state is None or (state["user"], state["sign_in"]) != mine:
            raise invalid_request("That took too long: begin again.", field="sealed")
        return state["secret"]

    async def _proven(self, caller: OwnCaller, password: str) -> str | None:
        """The hash of the password, which is the caller's."""
        user_id = caller.record.user_id
        async with self._store.transaction() as tx:
            stored = await tx.users.password(user_id)
        self._throttling.password(f"of {user_id}", caller.address, _who(caller))
        if not await self._passwords.verify(password, stored):
            raise _wrong_password()
        return stored


async def _need_same(change: Change, caller: OwnCaller, stored: str | None) -> None:
    """It took a while to compute the hash: the password may have been changed."""
    if await change.tx.users.password(caller.record.user_id) != stored:
        raise _wrong_password()


def _wrong_password() -> Refusal:
    return wrong("password", "The password is not right.", "wrong password")


def _need_none(factor: SecondFactor | None) -> None:
    if factor is not None:
        raise conflict("You have a second factor: remove it first.")


def _who(caller: OwnCaller) -> Who:
    record = caller.record
    return Who(record.user_id, record.key_id, record.home_tenant_id)
