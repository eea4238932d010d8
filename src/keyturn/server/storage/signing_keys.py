"""Signing keys at rest; the private part comes sealed and stays so."""

from datetime import datetime

from sqlalchemy import delete, select, update

from ..domain.model import StoredSigningKey
from .names import hold_names
from .tables import signing_keys
from .unit import Unit


class SigningKeyRepository:
    """Implements `ports.SigningKeys`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def hold(self) -> None:
        """So that of several nodes one acts, and the others find it done."""
        await hold_names(self._unit, "signing keys")

    async def all(self) -> tuple[StoredSigningKey, ...]:
        """The oldest first."""
        statement = select(signing_keys).order_by(signing_keys.c.created_at, signing_keys.c.kid)
        return tuple(
            StoredSigningKey(
                kid=row.kid,
                algorithm=row.algorithm,
                slot=row.slot,
                public_jwk=row.public_jwk,
                sealed_private=row.sealed_private,
                created_at=row.created_at,
                slot_since=row.slot_since,
            )
            for row in await self._unit.run(statement)
        )

    async def add(self, key: StoredSigningKey) -> bool:
        """The unique slot decides, whoever holds what (promise P6)."""
        row = {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "slot": key.slot,
            "public_jwk": dict(key.public_jwk),
            "sealed_private": key.sealed_private,
            "created_at": key.created_at,
            "slot_since": key.slot_since,
        }
        statement = self._unit.insert(signing_keys).on_conflict_do_nothing()
        result = await self._unit.run(statement.returning(signing_keys.c.kid), row)
        return result.first() is not None

    async def move(self, kid: str, slot: str, at: datetime) -> None:
        """Leaves the key as it is otherwise."""
        statement = update(signing_keys).where(signing_keys.c.kid == kid)
        await self._unit.run(statement.values(slot=slot, slot_since=at))

    async def remove(self, kid: str) -> None:
        """The private part goes with the row."""
        await self._unit.run(delete(signing_keys).where(signing_keys.c.kid == kid))

    async def reseal(self, kid: str, sealed_private: bytes) -> None:
        """Nothing but the seal changes."""
        statement = update(signing_keys).where(signing_keys.c.kid == kid)
        await self._unit.run(statement.values(sealed_private=sealed_private))
