"""The numbers of this moment, read from the parts themselves."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import __version__
from ..domain.model import RevocationKind
from ..domain.signing_keys import Slot
from ..http.resources import Followers
from ..revocation import KeptList
from ..services.counts import Counts, Times
from ..services.ports.observing import PoolUse
from ..services.recent_keys import RecentKeys
from ..services.usage import Usage
from ..tokens.following import KeyringFollower

#: The label values of a number, in the order of the metric's labels.
Labels = tuple[str, ...]

#: Names, in the environment, the directory in which workers leave their readings. Set by who starts
#: them, and no setting.
READINGS = "_KEYTURN_READINGS"

# Why a key is not good (services/credentials.py), in a word.
_REASONS = {
    "not an API key": "malformed",
    "no such key": "unknown",
    "wrong secret": "wrong_secret",
    "rotated secret": "rotated",
    "the user is disabled": "user_disabled",
    "revoked": "revoked",
    "unused for too long": "idle",
    "expired": "expired",
    "address not allowed": "address",
}
_GRANTS = ("password", "client_credentials", "refresh_token", "token_exchange")


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's numbers: how many were in each range (one more than bounds), and their sum."""

    counts: tuple[int, ...]
    total: float


Number = float | Buckets
#: By the metric's name and the labels' values.
Reading = dict[str, dict[Labels, Number]]


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read. `max_age` is that of signing keys, in seconds."""

    counts: Counts
    keys: RecentKeys
    usage: Usage
    revocations: KeptList
    keyring: KeyringFollower
    followers: Followers
    pools: tuple[PoolUse, ...]
    max_age: int
    in_flight: Callable[[], int] = int


def read(sources: Sources) -> Reading:
    """All numbers. Asks no store, and takes well under a millisecond. In the service's loop."""
    counts, revocations = sources.counts, sources.revocations
    none: Labels = ()
    kept = revocations.state()
    reading: Reading = {
        "keyturn_build_info": {(__version__,): 1},
        "keyturn_workers": {none: 1},
        "keyturn_request_duration_seconds": {
            key: _buckets(times) for key, times in counts.requests.items()
        },
        "keyturn_requests_in_flight": {none: sources.in_flight()},
        "keyturn_feed_followers": {none: sources.followers.count},
        # What did not happen yet is 0: a rate from nothing to 1 would be none.
        "keyturn_token_requests_total": {
            **{(grant, "issued"): 0 for grant in _GRANTS},
            **dict[Labels, Number](counts.tokens.items()),
        },
        "keyturn_refreshes_total": _counted(counts.refreshes, ("step", "grace", "reuse")),
        "keyturn_dead_key_attempts_total": _dead(counts.dead_keys),
        "keyturn_recent_keys_total": {
            ("hit",): sources.keys.hits,
            ("miss",): sources.keys.misses,
        },
        "keyturn_usage_queue": {none: sources.usage.waiting},
        "keyturn_usage_lost_total": {none: sources.usage.lost},
        "keyturn_revocations_written_total": _counted(counts.revocations, tuple(RevocationKind)),
        "keyturn_revocation_propagation_seconds": {
            (source,): _buckets(times) for source, times in counts.propagation.items()
        },
        "keyturn_revocation_list_degraded": {none: int(kept.status != "ok")},
        "keyturn_revocation_list_entries": {none: revocations.size},
        "keyturn_revocation_list_age_seconds": {none: revocations.age},
        "keyturn_clock_skew_seconds": {none: revocations.skew},
        "keyturn_signing_key_max_age_seconds": {none: sources.max_age},
        **_pools(sources.pools),
        **_signing_keys(sources.keyring),
        **_process(),
    }
    return reading


def _buckets(times: Times) -> Buckets:
    return Buckets(tuple(times.counts), times.total)


def _counted(found: Mapping[str, int], usual: tuple[str, ...]) -> dict[Labels, Number]:
    return {(str(name),): count for name, count in {**dict.fromkeys(usual, 0), **found}.items()}


def _dead(found: Mapping[str, int]) -> dict[Labels, Number]:
    numbers = dict.fromkeys((*_REASONS.values(), "other"), 0)
    for why, count in found.items():
        numbers[_REASONS.get(why, "other")] += count
    return {(reason,): count for reason, count in numbers.items()}


def _pools(pools: tuple[PoolUse, ...]) -> Reading:
    shown: dict[str, Callable[[PoolUse], float]] = {
        "size": lambda pool: pool.size,
        "in_use": lambda pool: pool.in_use,
        "waiting": lambda pool: pool.waiting,
        "waits_total": lambda pool: pool.waited,
        "wait_seconds_total": lambda pool: pool.wait_seconds,
        "timeouts_total": lambda pool: pool.timeouts,
    }
    return {
        f"keyturn_database_pool_{name}": {(pool.kind,): number(pool) for pool in pools}
        for name, number in shown.items()
    }


def _signing_keys(keyring: KeyringFollower) -> Reading:
    ring = keyring.ring
    if ring is None:
        return {}
    since_read = time.monotonic() - keyring.read_at
    numbers: Counter[Labels] = Counter({(slot, ring.algorithm): 0 for slot in Slot})
    ages: dict[Labels, float] = {}
    for key in ring.keys:
        labels = (key.slot, key.algorithm)
        numbers[labels] += 1
        age = (ring.now - key.slot_since).total_seconds() + since_read
        ages[labels] = max(ages.get(labels, -math.inf), age)
    return {"keyturn_signing_keys": {**numbers}, "keyturn_signing_key_age_seconds": {**ages}}


def _process() -> Reading:
    """This process, as far as the system tells."""
    reading: Reading = {"process_cpu_seconds_total": {(): time.process_time()}}
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
    except OSError:
        return reading
    reading["process_resident_memory_bytes"] = {(): pages * os.sysconf("SC_PAGE_SIZE")}
    reading["process_open_fds"] = {(): files}
    return reading
