"""The installation looked at as a whole, by who runs it: `keyturn doctor`.

| module | what |
|---|---|
| `surroundings` | the settings, the files they name, the proxies in front |
| `database` | the database, and what is stored in it under the master secret |
| `installation` | whether a node may start on it: set up, and no restored copy |
| `shared_list` | Redis |
| `asked_for` | what only some ask for: a collector of traces, keys for leak reports |
| `reached` | the service as clients reach it: issuer, keys, TLS; the mail server |

Nothing is changed anywhere. Each check has its own time, and one that fails stops no other one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from ..domain.errors import KeyturnError, Unavailable
from ..settings import Settings
from . import asked_for, database, installation, reached, shared_list, surroundings
from .findings import Finding, Level, counted, problem

__all__ = ["PATIENCE", "Finding", "Level", "counted", "examine"]

#: What each check may take, in seconds.
PATIENCE = 5.0

Check = Callable[[Settings], Awaitable[Sequence[Finding]]]

_HERE: tuple[tuple[str, Check], ...] = (
    ("files", surroundings.files),
    ("proxies", surroundings.proxies),
    ("tls", surroundings.certificate),
    ("redis", shared_list.redis),
    ("mail", reached.mail),
    ("traces", asked_for.traces),
    ("leak_keys", asked_for.leak_keys_file),
)
#: Once it is known that the database can be read.
_STORED: tuple[tuple[str, Check], ...] = (
    ("installation", installation.installation),
    ("master_secret", database.master_secret),
    ("signing_keys", database.signing_keys),
    ("api_keys", database.keys),
)
_OVER_HTTP: tuple[tuple[str, Check], ...] = (
    ("issuer", reached.issuer),
    ("public_tls", reached.public_tls),
    ("leak_keys", asked_for.leak_keys_url),
)


async def examine(
    settings: Settings,
    *,
    offline: bool = False,
    variables: Collection[str] = (),
    patience: float = PATIENCE,
) -> tuple[Finding, ...]:
    """All findings, in a fixed order. `offline` leaves out what asks the service itself.

    `variables` are names in the environment that the command line takes, beside the settings.
    """

    async def look(checks: Sequence[tuple[str, Check]]) -> list[Finding]:
        found = await asyncio.gather(*(_bounded(name, c, settings, patience) for name, c in checks))
        return [finding for findings in found for finding in findings]

    async def look_at_database() -> list[Finding]:
        found = await look([("database", database.server)])
        return [*found, *(await look(_STORED) if database.ready(found) else [])]

    found = await asyncio.gather(
        look(_HERE), look_at_database(), look(() if offline else _OVER_HTTP)
    )
    told = surroundings.variables(settings, variables)
    return (*told, *(finding for findings in found for finding in findings))


async def _bounded(
    name: str, check: Check, settings: Settings, patience: float
) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(patience):
            return await check(settings)
    except TimeoutError:
        return [problem(name, f"no answer within {patience:g} s", "see whether it is overloaded")]
    except Unavailable as error:
        return [problem(name, error.detail, "see whether it runs and can be reached from here")]
    except KeyturnError as error:
        return [problem(name, str(error), "")]
    except Exception as error:  # noqa: BLE001 - one check stops no other; its text may quote a URL
        return [problem(name, f"could not be looked at: {type(error).__name__}", "report it")]
