"""Whether what is stored may be served: it was set up, and is no copy of an earlier time."""

from collections.abc import Sequence

from ..domain.errors import StorageNotReady, Unavailable
from ..parts import open_memory
from ..services.continuity import Continuity
from ..settings import Settings
from .database import open_database
from .findings import Finding, ok, problem, warning


async def installation(settings: Settings) -> Sequence[Finding]:
    """What a node looks at before it starts, and what nobody could sign in without."""
    check, memory = "installation", open_memory(settings)
    async with open_database(settings) as storage:
        async with storage.store.transaction() as tx:
            root = await tx.tenants.root()
        if root is None:
            seen = "not set up: there is no administrator"
            return [problem(check, seen, "keyturn bootstrap --username …")]
        if memory is None:
            return [ok(check, "set up; without Redis nothing tells a restored copy")]
        try:
            await Continuity(storage.store, memory).check()
        except StorageNotReady:
            seen = "a restored copy: credentials work in it that were revoked since"
            return [problem(check, f"{seen}, and no node starts", "keyturn restored")]
        except Unavailable as error:
            seen = f"nothing tells whether it is a restored copy: {error.detail}"
            return [warning(check, seen, "look again when that is mended")]
    return [ok(check, "set up, and no copy of an earlier time")]
