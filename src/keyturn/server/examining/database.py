"""The database, and what is stored in it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from .. import storage
from ..domain.errors import StorageNotReady
from ..domain.signing_keys import Ring, Slot
from ..parts import key_ages
from ..services.ports import Transaction
from ..settings import Settings
from ..storage.facts import DatabaseClock, DatabaseFacts, SomeKeys
from ..tokens.secrets import DerivedKeys
from ..tokens.signing import KeySealer
from .findings import Finding, Level, counted, ok, problem, warning

#: The oldest PostgreSQL and SQLite that the statements are tested on.
OLDEST = {"PostgreSQL": (15,), "SQLite": (3, 38)}
#: How far this machine's clock may be from the database's, in seconds: noticed, and too far.
SKEW_NOTICED, SKEW_TOO_FAR = 2.0, 30.0
#: API keys that are told of: those that expire within, or were not used for so long.
EXPIRES_WITHIN, UNUSED_FOR = timedelta(days=14), timedelta(days=90)
#: How many of them by name.
NAMED = 3


async def server(settings: Settings) -> Sequence[Finding]:
    """Whether it is there, takes writes, has this release's schema and room enough."""
    facts = await storage.database_facts(settings.database_url.get_secret_value())
    return [
        _version(facts),
        _writable(facts),
        _schema(facts.revision),
        *_connections(settings, facts),
        *_clock(facts.clock),
    ]


def ready(findings: Sequence[Finding]) -> bool:
    """Whether what is stored can be looked at, after what `server` found."""
    return all(
        finding.level is not Level.PROBLEM
        for finding in findings
        if finding.check in ("database", "database_schema")
    )


def _version(facts: DatabaseFacts) -> Finding:
    seen = f"{facts.product} {'.'.join(map(str, facts.version))}"
    oldest = OLDEST[facts.product]
    if facts.version < oldest:
        return problem("database", seen, f"use {'.'.join(map(str, oldest))} or later")
    return ok("database", seen)


def _writable(facts: DatabaseFacts) -> Finding:
    check = "database_writable"
    if facts.in_recovery:
        return problem(check, "a standby: it takes no writes", "name the primary in the URL")
    if facts.read_only:
        advice = "see default_transaction_read_only, and the disk"
        return problem(check, "its transactions are read-only", advice)
    return ok(check, "takes writes")


def _schema(revision: str | None) -> Finding:
    check, newest = "database_schema", storage.REVISIONS[-1]
    if revision is None:
        return problem(check, "no schema", "keyturn migrate")
    if revision == newest:
        return ok(check, f"revision {revision}, this release's")
    if revision in storage.REVISIONS:
        seen = f"revision {revision}, and this release needs {newest}"
        return problem(check, seen, "keyturn migrate")
    return ok(check, f"revision {revision}, of a newer release: an upgrade is under way")


def _connections(settings: Settings, facts: DatabaseFacts) -> Sequence[Finding]:
    if facts.slots is None:
        return []
    # Three pools, and one connection that listens (deploy/capacity.md).
    needed = settings.workers * (3 * settings.database_pool_size + 1)
    seen = (
        f"this node takes {needed} at most, {facts.slots.allowed} are allowed,"
        f" {facts.slots.taken} taken"
    )
    check = "database_connections"
    if needed > facts.slots.allowed:
        advice = "raise max_connections, or lower KEYTURN_DATABASE_POOL_SIZE or KEYTURN_WORKERS"
        return [problem(check, seen, advice)]
    if facts.slots.taken + needed > facts.slots.allowed:
        advice = "unless most of those are this node's own: raise max_connections"
        return [warning(check, seen, advice)]
    return [ok(check, seen)]


def _clock(clock: DatabaseClock | None) -> Sequence[Finding]:
    if clock is None:
        return []
    skew, unsure = clock.ahead, clock.unsure
    if abs(skew) <= unsure:
        seen = f"the database's clock is this machine's, to {unsure * 1000:.1f} ms"
        return [ok("clock", seen)]
    way = "ahead of" if skew > 0 else "behind"
    seen = f"the database's clock is {abs(skew):.3f} s {way} this machine's"
    # Only what is sure: the answer may have spent all of the round trip on one way.
    surely = abs(skew) - unsure
    if surely > SKEW_TOO_FAR:
        advice = "have both follow a time server: tokens are refused that are good"
        return [problem("clock", seen, advice)]
    if surely > SKEW_NOTICED:
        return [warning("clock", seen, "have both follow a time server")]
    return [ok("clock", seen)]


async def master_secret(settings: Settings) -> Sequence[Finding]:
    """Whether the master secret opens what is stored."""
    sealer = _sealer(settings)
    check = "master_secret"
    async with open_database(settings) as opened, opened.store.transaction() as tx:
        now = await tx.now()
        try:
            for key in await tx.signing_keys.all():
                sealer.check(key)
        except StorageNotReady:
            return [
                problem(
                    check,
                    "it does not open the stored signing keys",
                    "set the one that this database was made with, or name it in"
                    " KEYTURN_PREVIOUS_MASTER_SECRETS",
                )
            ]
        lost = await tx.seals.keys_outside(sealer.versions, now)
        if lost:
            were = "was" if lost == 1 else "were"
            seen = f"{counted(lost, 'API key')} {were} made under one that is not in the settings"
            advice = "add it to KEYTURN_PREVIOUS_MASTER_SECRETS: keyturn secrets status"
            return [problem(check, seen, advice)]
        former = await tx.seals.keys_outside(sealer.versions[:1], now)
        under = "is" if former == 1 else "are"
        moved = f"; {counted(former, 'API key')} {under} under a previous one" if former else ""
        return [ok(check, f"opens all that is stored{moved}")]


async def signing_keys(settings: Settings) -> Sequence[Finding]:
    """Whether there is a key that signs, and one to follow it, of each algorithm asked for."""
    async with open_database(settings) as opened, opened.store.transaction() as tx:
        ring = await _ring(tx, settings)
    check = "signing_keys"
    if not ring.keys:
        return [ok(check, "none yet: the first start makes them")]
    ages, found = key_ages(settings), []
    for algorithm in sorted(ring.wanted):
        current, following = ring.find(algorithm, Slot.CURRENT), ring.find(algorithm, Slot.NEXT)
        if current is None or following is None:
            slot = "current" if current is None else "next"
            seen = f"{algorithm} has no key in the slot {slot}"
            found.append(warning(check, seen, "a running node makes it within a minute: is one?"))
            continue
        age = (ring.now - current.slot_since).days
        since = f"has signed for {counted(age, 'day')}" if age > 0 else "signs since today"
        seen = f"{algorithm} {since}, and the next one is there"
        late = ages.rotate_after and age * 86_400 > ages.rotate_after + 86_400
        if late:
            advice = "a running node rotates it: is one? keyturn signing-key list"
            found.append(warning(check, f"{seen}; it is past its time", advice))
        else:
            found.append(ok(check, seen))
    signer = ring.signer(ages)
    if signer is not None and signer.algorithm != settings.signing_algorithm:
        seen = f"{signer.algorithm} signs still, and {settings.signing_algorithm} is set"
        found.append(warning(check, seen, "nothing, if that was set within the hour"))
    return found


async def keys(settings: Settings) -> Sequence[Finding]:
    """API keys that stop working soon, or that nobody needs."""
    aging = await storage.aging_keys(
        settings.database_url.get_secret_value(),
        within=EXPIRES_WITHIN,
        unused_for=UNUSED_FOR,
        at_most=NAMED,
    )
    check, found = "api_keys", []
    if aging.soon.count:
        expire = "expires" if aging.soon.count == 1 else "expire"
        within = f"{expire} within {EXPIRES_WITHIN.days} days"
        seen = f"{aging.soon.count} {within}{_named(aging.soon)}"
        found.append(warning(check, seen, "make new ones before that"))
    if aging.unused.count:
        seen = f"{aging.unused.count} unused for {UNUSED_FOR.days} days{_named(aging.unused)}"
        found.append(warning(check, seen, "revoke those that nobody needs"))
    if aging.expired.count:
        have = "has" if aging.expired.count == 1 else "have"
        found.append(ok(check, f"{aging.expired.count} {have} expired{_named(aging.expired)}"))
    return found or [ok(check, "none expires soon, none is unused for long")]


async def current_kids(settings: Settings) -> frozenset[str]:
    """The ids of the keys that sign, of all algorithms."""
    async with open_database(settings) as opened, opened.store.transaction() as tx:
        return frozenset(key.kid for key in (await _ring(tx, settings)).current)


async def _ring(tx: Transaction, settings: Settings) -> Ring:
    return Ring(
        tuple(await tx.signing_keys.all()),
        await tx.now(),
        settings.signing_algorithm,
        await tx.resource_servers.algorithms(),
    )


def _sealer(settings: Settings) -> KeySealer:
    secrets = (settings.master_secret, *settings.previous_master_secrets)
    texts = tuple(secret.get_secret_value() for secret in secrets)
    return KeySealer(DerivedKeys(texts, "signing keys", 64))


def open_database(settings: Settings) -> AbstractAsyncContextManager[storage.Storage]:
    """With one connection of a kind. Raises as `storage.open_storage`."""
    url = settings.database_url.get_secret_value()
    return storage.open_storage(url, pool_size=1, wait=settings.database_wait)


def _named(some: SomeKeys) -> str:
    names = [f"{_printable(name)} ({key_id})" for name, key_id in some.first]
    more = ", …" if some.count > len(names) else ""
    return f": {', '.join(names)}{more}" if names else ""


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in name)
