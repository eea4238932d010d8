"""Redis fails: slower perhaps, but no error, and never a revoked token accepted (promise P4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyturn.server.domain.model import RevocationKind
from keyturn.server.revocation.redis_entries import key

from .load import Load, percentile
from .nodes import Node, Site, claim

Measured = Callable[[str], None]

#: How often a race between a revocation and a fault is run.
ROUNDS = 10
#: The promise for an exchange's p99; on a busy machine, beyond what it was before the fault.
P99_SECONDS = 0.25
#: The promise is 1 second, which test_propagation.py measures; the rest is for a busy machine.
HEARD_SECONDS = 15.0


def revoked_on(node: Node, *others: Node) -> str:
    """An access token that every node has accepted, and that `node` has just revoked."""
    access: str = node.exchange()["access_token"]
    for one in (node, *others):
        assert one.accepts(access)
    node.revoke(access)
    return access


def entry_of(access_token: str) -> bytes:
    """Its revocation's key in Redis."""
    return key((RevocationKind.TOKEN, claim(access_token, "jti")))


class TestKilledOrFrozen:
    @pytest.mark.parametrize("fault", ["killed", "frozen"])
    def test_nothing_fails_and_nothing_revoked_is_accepted(
        self, site: Site, fault: str, measured: Measured
    ) -> None:
        here, there = site.nodes
        dead = [revoked_on(here, there)]
        with Load(site.nodes, dead) as load:
            load.wait(100)
            mark = load.mark()
            if fault == "killed":
                site.redis.kill()
            else:
                site.redis.freeze()
            load.wait(100)
            for revoker, other in ((here, there), (there, here)):
                access = revoked_on(revoker, other)
                assert not other.accepts(access)
                assert not revoker.accepts(access)
                dead.append(access)
            load.wait(100)
            for node in site.nodes:
                assert node.ready.status_code == 200
                assert node.ready.json()["status"] == "degraded"
                assert node.ready.json()["checks"]["revocation_list"] == "degraded"
            during = load.since(mark)
            if fault == "killed":
                site.redis.forget()
                site.redis.start()
            else:
                site.redis.go_on()
            back = site.until_ready()
            load.wait(100)

        assert set(load.verdicts()) == {"good"}, load.wrong
        exchanges = [answer for answer in during if answer.call == "exchange"]
        p99, before = percentile(exchanges, 99), percentile(load.until(mark, "exchange"), 99)
        # Of so few the 99th percentile is the slowest: who met the fault, or a busy moment.
        assert percentile(exchanges, 90) < P99_SECONDS + 2 * before
        slowest = max(answer.seconds for answer in during)
        measured(
            f"Redis {fault}: exchange p99 {p99 * 1000:.0f} ms of {len(exchanges)}"
            f" (before: {before * 1000:.0f} ms),"
            f" slowest of {len(during)} calls {slowest * 1000:.0f} ms; whole after {back:.2f} s"
        )
        for node in site.nodes:
            assert not any(node.accepts(access) for access in dead)


class TestForgotten:
    """Redis answers, and does not know what it knew."""

    @pytest.mark.parametrize("fault", ["flushed", "restarted empty", "from an old snapshot"])
    def test_not_accepted_even_by_the_next_request(self, site: Site, fault: str) -> None:
        here, there = site.nodes
        for number in range(ROUNDS):
            revoker, other = (here, there) if number % 2 else (there, here)
            access = revoker.exchange()["access_token"]
            assert other.accepts(access)
            if fault == "from an old snapshot":
                site.redis.do("SAVE")
                site.redis.keep_snapshot()
            revoker.revoke(access)
            if fault == "flushed":
                site.redis.do("FLUSHALL")
            else:
                site.redis.kill()
                if fault == "from an old snapshot":
                    site.redis.restore_snapshot()
                else:
                    site.redis.forget()
                site.redis.start()
            assert not other.accepts(access)
            assert not revoker.accepts(access)
            # What is revoked before Redis is whole again is refused at once, too.
            again = revoked_on(revoker, other)
            assert not other.accepts(again)
            assert not revoker.accepts(again)
        site.until_ready()
        assert site.redis.do("EXISTS", entry_of(access)) == 1


class TestOutOfMemory:
    @pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
    def test_not_accepted_even_by_the_next_request(self, site: Site, policy: str) -> None:
        here, there = site.nodes
        site.redis.do("CONFIG", "SET", "maxmemory", 1, "maxmemory-policy", policy)
        for number in range(ROUNDS):
            revoker, other = (here, there) if number % 2 else (there, here)
            access = revoked_on(revoker, other)
            assert not other.accepts(access)
            assert not revoker.accepts(access)
        assert here.status == "degraded"
        assert there.status == "degraded"
        site.redis.heal()
        site.until_ready()
        assert site.redis.do("EXISTS", entry_of(access)) == 1


class TestRevokerCutOff:
    @pytest.mark.parametrize("how", ["refuse", "freeze"])
    def test_refused_everywhere_within_a_second(
        self, site: Site, how: str, measured: Measured
    ) -> None:
        here, there = site.nodes
        getattr(here.redis, how)()
        took = []
        for _ in range(ROUNDS // 2):
            access = revoked_on(here, there)
            assert not here.accepts(access)
            took.append(there.until_refused(access, HEARD_SECONDS))
        assert here.status == "degraded"
        assert there.status == "ok"
        # And it hears of the others at once: it asks the database.
        access = revoked_on(there, here)
        assert not here.accepts(access)
        measured(f"revoker's Redis {how}s: refused elsewhere after {max(took):.2f} s at most")


class TestAllIsWell:
    def test_a_revocation_is_known_to_the_next_request(self, site: Site) -> None:
        here, there = site.nodes
        for number in range(ROUNDS):
            revoker, other = (here, there) if number % 2 else (there, here)
            tokens = revoker.exchange()
            access = tokens["access_token"]
            assert other.accepts(access)
            revoker.revoke(tokens["refresh_token" if number % 4 < 2 else "access_token"])
            assert not other.accepts(access)
            assert other.introspect(access) == {"active": False}
            assert not revoker.accepts(access)
            answer = other.refresh(tokens["refresh_token"])
            assert answer.status_code == (400 if number % 4 < 2 else 200)

    @pytest.mark.slow_fault
    def test_a_node_without_redis_hears_and_is_heard(self, site: Site) -> None:
        with site.more_nodes(redis_url=None) as (without,):
            for here, there in ((without, site.nodes[0]), (site.nodes[0], without)):
                access = revoked_on(here, there)
                assert not here.accepts(access)
                there.until_refused(access, HEARD_SECONDS)


class TestBothDown:
    def test_refused_rather_than_accepted(self, site: Site) -> None:
        here, there = site.nodes
        access = revoked_on(here, there)
        live = here.exchange()["access_token"]
        site.redis.kill()
        site.postgres.stop_immediately()
        for node in site.nodes:
            for token in (access, live):
                assert node.me(token).status_code in {401, 503}
            assert node.me(live).status_code == 503
            assert node.ready.status_code == 503
        site.heal()
        for node in site.nodes:
            assert not node.accepts(access)
            assert node.accepts(live)
