"""Signing keys at rest; the private part comes sealed and stays so."""

from sqlalchemy import select

from ..domain.model import StoredSigningKey
from .tables import signing_keys
from .unit import Unit


class SigningKeyRepository:
    """Implements `ports.SigningKeys`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def add(self, key: StoredSigningKey) -> bool:
        """The unique slot decides between processes that start at once (promise P6)."""
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
