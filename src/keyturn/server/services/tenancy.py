"""Which tenant a key belongs to, known before the key is read: so that tenants take turns where
there is waiting (`ports.turns`), and none is kept waiting by another one's many requests.
"""

from collections.abc import Sequence

from ..domain.model import KeyRecord
from .ports import KeyLookup
from .ports.turns import UNKNOWN, group

#: Keys whose tenants are remembered: about 200 bytes each.
MOST = 50_000


class Tenancy:
    """Implements `ports.KeyLookup` by another one: whose key it is, is learnt by reading it."""

    def __init__(self, lookup: KeyLookup) -> None:
        self._lookup = lookup
        self._homes: dict[str, str] = {}

    def home_of(self, key_id: str) -> str:
        """The key's home tenant; UNKNOWN until its record was read here."""
        return self._homes.get(key_id, UNKNOWN)

    async def find(
        self,
        key_id: str,
        *,
        tenants: Sequence[str] | None = None,
        after: str = "",
        limit: int = 20,
    ) -> KeyRecord | None:
        """See `ports.KeyLookup`. What the task does from now on is the key's tenant's work."""
        group.set(self.home_of(key_id))
        record = await self._lookup.find(key_id, tenants=tenants, after=after, limit=limit)
        if record is not None:
            group.set(record.home_tenant_id)
            if len(self._homes) >= MOST and key_id not in self._homes:
                del self._homes[next(iter(self._homes))]
            self._homes[key_id] = record.home_tenant_id
        return record
