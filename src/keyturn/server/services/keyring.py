"""The signing keys of a node: made when there are none, read anew from time to time.

Two nodes that start on an empty database agree on one key: the slot `current` of an algorithm
can be taken once, and who comes second reads the winner's key (promise P6).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ..domain.model import StoredSigningKey
from ..domain.trail import AuditEvent
from .ports import Store

CURRENT = "current"


class SigningKeyMaker(Protocol):
    """Makes a key and seals its private part."""

    def new(self, algorithm: str, slot: str, now: datetime) -> StoredSigningKey: ...

    def check(self, stored: StoredSigningKey) -> None:
        """Raises StorageNotReady for a key that the master secret does not open."""
        ...


async def signing_keys(
    store: Store, maker: SigningKeyMaker, algorithm: str
) -> Sequence[StoredSigningKey]:
    """All stored keys, with a current one of `algorithm` among them.

    Raises Unavailable, and StorageNotReady when the master secret is not this database's: that
    is found out before a key is added, or the right secret would be the wrong one from then on.
    """
    async with store.transaction() as tx:
        keys = await tx.signing_keys.all()
        for key in keys:
            maker.check(key)
        if any(key.algorithm == algorithm and key.slot == CURRENT for key in keys):
            return keys
        fresh = maker.new(algorithm, CURRENT, await tx.now())
        if await tx.signing_keys.add(fresh):
            event = AuditEvent("signing_key.created", "done", target=fresh.kid)
            await tx.audit.add([event])
    async with store.transaction() as tx:
        return await tx.signing_keys.all()
