"""Redis, which keeps the revocation list for all nodes."""

from collections.abc import Sequence

from ..revocation import redis_facts
from ..settings import Settings
from .findings import Finding, ok, problem, warning

#: The oldest of each that is supported.
OLDEST = {"Redis": (7,), "Valkey": (8,)}
#: What opening and looking may take, in seconds: less than a check may.
PATIENCE = 4.0


async def redis(settings: Settings) -> Sequence[Finding]:
    """Nothing, where there is none."""
    if settings.redis_url is None:
        if settings.on_sqlite:
            return []
        return [ok("redis", "none: nodes hear of revocations from the database")]
    facts = await redis_facts(
        settings.redis_url.get_secret_value(), timeout=settings.redis_timeout, patience=PATIENCE
    )
    number = ".".join(map(str, facts.version))
    found = [ok("redis", f"{facts.product} {number}")]
    if facts.version < OLDEST[facts.product]:
        oldest = OLDEST[facts.product][0]
        found = [problem("redis", f"{facts.product} {number}", f"use {oldest} or later")]
    if facts.role not in ("master", ""):
        seen = f"a {facts.role}: it takes no writes"
        found.append(problem("redis_role", seen, "name the primary, or its Sentinels"))
    found.append(_policy(facts.policy, facts.maxmemory, settings.redis_allow_eviction))
    if facts.refuses_writes:
        seen = "it could not save to disk, and may refuse writes for that"
        advice = "see its disk; the list needs no saving: save '' and appendonly no will do"
        found.append(warning("redis_persistence", seen, advice))
    else:
        kept = "kept on disk" if facts.persists else "not kept on disk, nor need it be"
        found.append(ok("redis_persistence", kept))
    found.append(_latency(facts.latency, settings.redis_timeout))
    if facts.marked:
        found.append(ok("redis_list", "filled since it was started"))
    else:
        seen = "not filled since it was started: nodes ask the database until one of them does"
        found.append(warning("redis_list", seen, "nothing, if no node runs yet"))
    return found


def _policy(policy: str, maxmemory: int, allowed: bool) -> Finding:
    check, room = "redis_eviction", f"maxmemory {maxmemory}" if maxmemory else "no maxmemory"
    if policy in ("", "noeviction"):
        return ok(check, f"{policy or 'it does not tell its policy'}, {room}")
    seen = f"maxmemory-policy is {policy}: entries are dropped when its memory is full"
    advice = "set it to noeviction"
    return warning(check, seen, advice) if allowed else problem(check, seen, advice)


def _latency(longest: float, timeout: float) -> Finding:
    seen = f"{longest * 1000:.1f} ms at most, and KEYTURN_REDIS_TIMEOUT is {timeout * 1000:.0f} ms"
    if longest > timeout:
        return problem("redis_latency", seen, "bring it nearer, or raise the timeout")
    if longest > timeout / 2:
        return warning("redis_latency", seen, "see what keeps it busy, or raise the timeout")
    return ok("redis_latency", seen)
