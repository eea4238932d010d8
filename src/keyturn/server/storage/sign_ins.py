"""Sign-ins to the console, kept among the keys, and second factors."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from ..domain.ids import parse_id
from ..domain.model import KeyHash
from ..domain.sign_ins import SecondFactor, SignIn
from .epochs import epoch_in_force, sessions_epoch_of
from .tables import api_keys, passwords, second_factors, users
from .unit import Unit

#: How often it is tried to take a code out of a list that others take codes out of.
_TRIES = 10


class SignInRepository:
    """Implements `ports.SignIns`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, sign_in: SignIn, cookie_hash: KeyHash) -> None:
        """Its sessions' epoch is that of its beginning, so that a list can tell what is over."""
        row = {
            "id": sign_in.id,
            "user_id": sign_in.user_id,
            "home_tenant_id": sign_in.home_tenant_id,
            "name": sign_in.agent,
            "hash": cookie_hash.digest,
            "pepper_version": cookie_hash.pepper_version,
            "created_at": sign_in.created_at,
            "expires_at": sign_in.expires_at,
            "idle_timeout": sign_in.idle_timeout,
            "last_used_at": sign_in.last_used_at,
            "last_used_from": sign_in.address,
            "use_count": 0,
            "sessions_epoch": sign_in.epoch,
            "for_console": True,
            "version": 1,
        }
        await self._unit.run(insert(api_keys), row)

    async def hold(self, user_id: str) -> int | None:
        """Locks the user's row, as a change of it would."""
        statement = (
            select(epoch_in_force())
            .select_from(users)
            .where(users.c.id == user_id, users.c.disabled_at.is_(None))
            .with_for_update(key_share=True, of=users)
        )
        epoch: int | None = (await self._unit.run(statement)).scalar_one_or_none()
        return epoch

    async def live_of(self, user_id: str, now: datetime) -> tuple[SignIn, ...]:
        """Reads all of the user's keys, which are some hundreds at most."""
        if parse_id(user_id) is None:
            return ()
        statement = (
            select(api_keys)
            .where(
                api_keys.c.user_id == user_id,
                api_keys.c.for_console,
                api_keys.c.revoked_at.is_(None),
                api_keys.c.expires_at > now,
                api_keys.c.sessions_epoch >= sessions_epoch_of(api_keys.c.user_id),
            )
            .order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
        )
        found = map(_sign_in, await self._unit.run(statement))
        return tuple(one for one in found if not one.idle(now))

    async def forget_password(self, user_id: str) -> bool:
        """False when there was none."""
        statement = delete(passwords).where(passwords.c.user_id == user_id)
        return (await self._unit.run(statement)).rowcount > 0


class SecondFactorRepository:
    """Implements `ports.SecondFactors`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def get(self, user_id: str) -> SecondFactor | None:
        """None for a malformed id, too."""
        if parse_id(user_id) is None:
            return None
        statement = select(second_factors).where(second_factors.c.user_id == user_id)
        row = (await self._unit.run(statement)).first()
        return None if row is None else _factor(row)

    async def put(self, factor: SecondFactor) -> None:
        """Replaces the one before."""
        values = {
            "secret": factor.sealed,
            "confirmed_at": factor.confirmed_at,
            "last_step": factor.last_step,
            "recovery": list(factor.recovery),
            "wrong": factor.wrong,
            "version": factor.version,
        }
        statement = self._unit.insert(second_factors).on_conflict_do_update(
            index_elements=[second_factors.c.user_id],
            set_={**values, "version": second_factors.c.version + 1},
        )
        await self._unit.run(statement, {"user_id": factor.user_id, **values})

    async def remove(self, user_id: str) -> bool:
        """False when there was none."""
        statement = delete(second_factors).where(second_factors.c.user_id == user_id)
        return (await self._unit.run(statement)).rowcount > 0

    async def count_try(self, user_id: str, most: int) -> int | None:
        """One conditional statement: of many at once, each counts. The version stays."""
        statement = (
            update(second_factors)
            .where(second_factors.c.user_id == user_id, second_factors.c.wrong < most)
            .values(wrong=second_factors.c.wrong + 1)
            .returning(second_factors.c.wrong)
        )
        counted: int | None = (await self._unit.run(statement)).scalar_one_or_none()
        return counted

    async def take_step(self, user_id: str, step: int) -> bool:
        """One conditional statement: of two with the same code, one wins."""
        statement = (
            update(second_factors)
            .where(second_factors.c.user_id == user_id, second_factors.c.last_step < step)
            .values(last_step=step, wrong=0, version=second_factors.c.version + 1)
        )
        return (await self._unit.run(statement)).rowcount > 0

    async def take_code(self, user_id: str, code_hash: str) -> bool:
        """By the version that was read: of two who take codes at once, one reads again."""
        for _ in range(_TRIES):
            factor = await self.get(user_id)
            if factor is None or code_hash not in factor.recovery:
                return False
            left = [one for one in factor.recovery if one != code_hash]
            if await self._set_codes(user_id, left, factor.version, wrong=0):
                return True
        return False

    async def replace_codes(self, user_id: str, hashes: Sequence[str]) -> bool:
        """False when there is no second factor."""
        return await self._set_codes(user_id, hashes)

    async def all_after(self, user_id: str | None, limit: int) -> Sequence[SecondFactor]:
        """By id."""
        statement = select(second_factors).order_by(second_factors.c.user_id).limit(limit)
        if user_id is not None:
            statement = statement.where(second_factors.c.user_id > user_id)
        return [_factor(row) for row in await self._unit.run(statement)]

    async def reseal(self, user_id: str, sealed: bytes) -> None:
        """The version stays: to everybody else it is the same."""
        await self._unit.run(
            update(second_factors).where(second_factors.c.user_id == user_id).values(secret=sealed)
        )

    async def _set_codes(
        self,
        user_id: str,
        hashes: Sequence[str],
        version: int | None = None,
        **others: int,
    ) -> bool:
        statement = (
            update(second_factors)
            .where(second_factors.c.user_id == user_id)
            .values(recovery=list(hashes), version=second_factors.c.version + 1, **others)
        )
        if version is not None:
            statement = statement.where(second_factors.c.version == version)
        return (await self._unit.run(statement)).rowcount > 0


def _sign_in(row: Row[Any]) -> SignIn:
    return SignIn(
        id=row.id,
        user_id=row.user_id,
        home_tenant_id=row.home_tenant_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        idle_timeout=row.idle_timeout,
        epoch=row.sessions_epoch,
        agent=row.name,
        address=row.last_used_from,
        last_used_at=row.last_used_at,
    )


def _factor(row: Row[Any]) -> SecondFactor:
    return SecondFactor(
        user_id=row.user_id,
        sealed=row.secret,
        confirmed_at=row.confirmed_at,
        last_step=row.last_step,
        recovery=tuple(row.recovery),
        wrong=row.wrong,
        version=row.version,
    )
