"""A database restored from a copy made safe: nothing that was revoked since may work again.

The copy does not know what was revoked after it was made. So everything that was ever given out
ends here, unless somebody who knows says otherwise:

* access and refresh tokens, always: the epoch of everybody rises above all that there ever was,
  and the signing keys are replaced (or retired);
* people's sign-ins to the console, passwords and second factors, always;
* codes of invitations and kept answers, always;
* webhooks, always: one that was deleted is back, and a secret that was replaced would sign again;
* API keys, unless they are to be kept: as the copy has them, or as a trail says (`Past`).

What Redis knows of revocations and the database does not is written into it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from ..domain import signing_keys as rules
from ..domain.errors import Code, Refusal
from ..domain.model import Membership, Revocation, RevocationKind
from ..domain.revocations import EVERYTHING, FOREVER_YEAR
from ..domain.sessions import Lifetimes
from ..domain.signing_keys import Slot
from ..domain.trail import AuditEvent, Json
from .ports import Store, Transaction
from .signing_keys import SigningKeyUpkeep

#: How far above the present the epochs rise: for clocks that differ, and for floors that were
#: raised one after the other shortly before.
AHEAD = timedelta(hours=1)
#: No epoch that was ever given out is above it (epochs that stand for every one are).
HIGHEST_EPOCH = 2**53

_FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)
_REASON = "restored"


class Keys(StrEnum):
    """What becomes of the API keys."""

    REVOKE = "revoke"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Past:
    """An event of the audit trail, as an export or a log has it."""

    id: str
    action: str
    target: str
    tenant_id: str | None = None
    role: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done. `applied` and `left` are events of the trail, by action.

    `installation` is the root tenant's id.
    """

    installation: str
    epoch: int
    keys: int
    invitations: int
    passwords: int
    second_factors: int
    sign_ins: int
    webhooks: int
    deliveries: int
    signing_keys: tuple[str, ...]
    merged: int
    applied: Mapping[str, int]
    left: Mapping[str, int]


class Restoring:
    """Ends what a restored copy would let live again; in one transaction, once or again."""

    def __init__(self, store: Store, upkeep: SigningKeyUpkeep, lifetimes: Lifetimes) -> None:
        self._store = store
        self._upkeep = upkeep
        self._lifetimes = lifetimes

    async def restore(
        self,
        *,
        keys: Keys = Keys.REVOKE,
        retire: bool = False,
        known: Sequence[Revocation] = (),
        trail: Sequence[Past] = (),
    ) -> Done:
        """`known` are entries of somebody who knows more, `trail` events the oldest first.

        `retire`: the signing keys of the copy stay published until their tokens have ended.
        Raises Refusal `conflict` for a database that nobody set up, Unavailable.
        """
        async with self._store.transaction() as tx:
            root = await tx.tenants.root()
            if root is None:
                raise Refusal(Code.CONFLICT, "This installation was never set up.")
            await tx.tenants.lock(root.id)
            now = await tx.now()
            merged = await self._merge(tx, known, now)
            applied, left = await self._apply(tx, trail, now)
            gone = {entry.subject for entry in known if entry.kind is RevocationKind.SIGNING_KEY}
            gone |= {past.target for past in trail if past.action == "signing_key.revoked"}
            replaced = await self._replace_signing_keys(tx, retire, gone, now)
            epoch = await self._end_everything(tx, known, now)
            done = Done(
                installation=root.id,
                epoch=epoch,
                keys=await tx.restored.revoke_keys(now) if keys is Keys.REVOKE else 0,
                invitations=await tx.restored.withdraw_invitations(now),
                passwords=await tx.restored.forget_passwords(),
                second_factors=await tx.restored.forget_second_factors(),
                sign_ins=await tx.restored.end_sign_ins(now),
                webhooks=await tx.restored.disable_webhooks(now),
                deliveries=await tx.restored.give_up_deliveries(now),
                signing_keys=replaced,
                merged=merged,
                applied=applied,
                left=left,
            )
            await tx.restored.forget_answers()
            told: dict[str, Json] = {
                "keys": keys.value,
                "keys_revoked": done.keys,
                "invitations_withdrawn": done.invitations,
                "passwords_forgotten": done.passwords,
                "second_factors_forgotten": done.second_factors,
                "sign_ins_ended": done.sign_ins,
                "webhooks_disabled": done.webhooks,
                "deliveries_given_up": done.deliveries,
                "signing_keys": "retired" if retire else "removed",
                "merged": merged,
                "applied": dict(applied),
                "not_applied": dict(left),
            }
            event = AuditEvent(
                "installation.restored", "done", tenant_id=root.id, target=root.id, data=told
            )
            await tx.audit.add([event])
        return done

    async def _end_everything(
        self, tx: Transaction, known: Sequence[Revocation], now: datetime
    ) -> int:
        epochs = [entry.epoch for entry in known if entry.epoch is not None]
        above = max((epoch for epoch in epochs if epoch < HIGHEST_EPOCH), default=0)
        epoch = await tx.users.raise_floor(above=above, ahead=AHEAD)
        kind, subject = EVERYTHING
        end = now + self._lifetimes.longest_access
        await tx.revocations.add([Revocation(kind, subject, end, epoch)])
        return epoch

    async def _replace_signing_keys(
        self, tx: Transaction, retire: bool, gone: set[str], now: datetime
    ) -> tuple[str, ...]:
        """The ids of the keys that are no more. `gone` must not even be retired."""
        ring = await self._upkeep.held(tx)
        await self._upkeep.take(tx, rules.renewed(ring, retire=retire), now)
        end = now + timedelta(seconds=self._upkeep.ages.keep_retired)
        removed = []
        for key in ring.keys:
            if retire and key.slot != Slot.NEXT and key.kid not in gone:
                continue
            await tx.signing_keys.remove(key.kid)
            removed.append(key.kid)
        entries = [Revocation(RevocationKind.SIGNING_KEY, kid, end) for kid in removed]
        await tx.revocations.add(entries)
        return tuple(removed)

    async def _merge(self, tx: Transaction, known: Sequence[Revocation], now: datetime) -> int:
        """What the fast copy knows: written down, and done where a row says so, too."""
        entries = [entry for entry in known if entry.expires_at > now]
        await tx.revocations.add(entries)
        tenants = {one.subject for one in entries if one.kind is RevocationKind.TENANT}
        for entry in entries:
            match entry.kind:
                case RevocationKind.KEY:
                    await tx.api_keys.revoke(entry.subject, now, _REASON)
                case RevocationKind.USER if (entry.epoch or HIGHEST_EPOCH) >= HIGHEST_EPOCH:
                    await _disable(tx, entry.subject, now)
                case RevocationKind.TENANT:
                    tenant = await tx.tenants.get(entry.subject)
                    # Those below a suspended one have entries, too, and are not by themselves.
                    if tenant is not None and tenant.parent_id not in tenants:
                        await _suspend(tx, tenant.id, now)
                case _:
                    pass
        return len(entries)

    async def _apply(
        self, tx: Transaction, trail: Sequence[Past], now: datetime
    ) -> tuple[Counter[str], Counter[str]]:
        """Does again what the copy has not seen; what cannot be done from a trail is counted."""
        applied: Counter[str] = Counter()
        left: Counter[str] = Counter()
        for past in trail:
            if await tx.audit.has(past.id):
                continue
            match past.action:
                case "api_key.revoked" | "api_key.leaked" | "api_key.rotated":
                    # Of a rotated key, the copy has the secret before.
                    done = await tx.api_keys.revoke(past.target, now, _REASON)
                case "service_user.disabled" | "service_user.deleted":
                    done = await _disable(tx, past.target, now)
                case "membership.deleted":
                    done = await _leave(tx, past, now)
                case "tenant.suspended":
                    done = await _suspend(tx, past.target, now)
                case (
                    "signing_key.revoked"
                    | "user.password_changed"
                    | "user.second_factor_removed"
                    | "user.signed_out"
                    | "tokens.revoked"
                ):
                    done = True  # it is, in any case
                case _:
                    done = False
            (applied if done else left)[past.action] += 1
        return applied, left


async def _disable(tx: Transaction, user_id: str, now: datetime) -> bool:
    user = await tx.users.get(user_id)
    return user is not None and (
        user.disabled_at is not None or await tx.users.set_disabled(user_id, now)
    )


async def _suspend(tx: Transaction, tenant_id: str, now: datetime) -> bool:
    tenant = await tx.tenants.get(tenant_id)
    if tenant is None:
        return False
    if tenant.suspended_at is None:
        await tx.tenants.set_suspended(tenant_id, now)
    below = await tx.tenants.below(tenant_id)
    await tx.revocations.add([Revocation(RevocationKind.TENANT, one, _FOREVER) for one in below])
    return True


async def _leave(tx: Transaction, past: Past, now: datetime) -> bool:
    """The trail names the role as it was called then."""
    removed = False
    for held, role in await tx.memberships.of_user(past.target):
        if held.tenant_id == past.tenant_id and role.name == past.role:
            gone = Membership(held.user_id, held.tenant_id, held.role_id, now)
            removed = await tx.memberships.remove(gone) or removed
    return removed
