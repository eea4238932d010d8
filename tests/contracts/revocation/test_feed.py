"""What every node's feed tells, whoever follows it, and from wherever a cursor comes."""

import asyncio
from dataclasses import dataclass, field

import pytest

from keyturn.server.domain.errors import Refusal
from keyturn.server.domain.model import RevocationKind
from keyturn.server.revocation import KeptList, digest, feed
from keyturn.server.services.ports import FeedItem, News

from .conftest import FOREVER, SOON, Nodes, entry, in_, of, soon

T, U, W = RevocationKind.TOKEN, RevocationKind.USER, RevocationKind.TENANT


@dataclass
class Follower:
    """Follows as the library does: by cursor, whoever answers."""

    cursor: str | None = None
    known: dict[str, FeedItem] = field(default_factory=dict)
    resets: int = 0

    async def ask(self, node: KeptList, *, wait: float = 0.0, limit: int = 100) -> News:
        news = await node.feed.since(self.cursor, wait=wait, limit=limit)
        if news.reset:
            self.known.clear()
            self.resets += 1
        for item in news.items:
            self.known[item.subject] = item
        self.cursor = news.cursor
        return news

    def has(self, *subjects: str) -> bool:
        return all(digest((T, subject)) in self.known for subject in subjects)


async def test_first_answer_has_everything(nodes: Nodes) -> None:
    node = await nodes.open()
    await nodes.revoke(node, *(entry(T, f"t{number}") for number in range(7)))
    follower = Follower()
    first = await follower.ask(node, limit=5)
    assert (first.reset, first.more, len(first.items)) == (True, True, 5)
    second = await follower.ask(node, limit=5)
    assert (second.reset, second.more) == (False, False)
    assert follower.has(*(f"t{number}" for number in range(7)))


async def test_what_was_there_before_the_node(nodes: Nodes) -> None:
    await nodes.commit(entry(T, "early"))
    follower = Follower()
    await follower.ask(await nodes.open())
    assert follower.has("early")


async def test_nothing_new_is_nothing(nodes: Nodes) -> None:
    node = await nodes.open()
    await nodes.revoke(node, entry(T))
    follower = Follower()
    await follower.ask(node)
    await follower.ask(node)  # what came while everything was told may be told again
    assert (await follower.ask(node)).items == ()
    assert (await follower.ask(node, wait=0.05)).items == ()
    assert follower.resets == 1


async def test_who_waits_hears_at_once(nodes: Nodes) -> None:
    node = await nodes.open()
    follower = Follower()
    await follower.ask(node)
    waiting = asyncio.create_task(follower.ask(node, wait=SOON * 10))
    await asyncio.sleep(0.05)
    await nodes.revoke(node, entry(T, "s9"))
    async with asyncio.timeout(SOON):
        news = await waiting
    assert [item.subject for item in news.items] == [digest((T, "s9"))]


async def test_other_nodes_tell_it_too(nodes: Nodes) -> None:
    one, other = await nodes.open(), await nodes.open()
    follower = Follower()
    await follower.ask(other)
    await nodes.revoke(one, entry(T, "elsewhere"))

    async def heard() -> bool:
        await follower.ask(other)
        return follower.has("elsewhere")

    await soon(heard)


async def test_a_cursor_of_another_node_misses_nothing(nodes: Nodes) -> None:
    """As behind a load balancer: each poll at another node, revocations at both."""
    pair = (await nodes.open(), await nodes.open())
    follower = Follower()

    async def both_vouch() -> bool:
        """The younger node, too, has read the database since the other's cursor."""
        cursor = (await pair[0].feed.since(None, wait=0, limit=1)).cursor
        return not (await pair[1].feed.since(cursor, wait=0, limit=1)).reset

    await soon(both_vouch)
    for number in range(12):
        await nodes.revoke(pair[number % 2], entry(T, f"t{number}"))
        await follower.ask(pair[number // 3 % 2])
        await asyncio.sleep(0.1 * (number % 3))

    async def all_of_them() -> bool:
        await follower.ask(pair[0])
        await follower.ask(pair[1])
        return follower.has(*(f"t{number}" for number in range(12)))

    await soon(all_of_them)
    assert follower.resets == 1


async def test_every_page_from_another_node(nodes: Nodes) -> None:
    """A long list, page by page, each page from the other node, while both go on revoking."""
    pair = (await nodes.open(), await nodes.open())
    first = [entry(T, f"t{number}") for number in range(40)]
    await nodes.commit(*first)
    for node in pair:
        await node.publish(first)
    follower, asked = Follower(), 0
    while (await follower.ask(pair[asked % 2], limit=7)).more:
        if asked < 5:
            await nodes.revoke(pair[asked // 2 % 2], entry(T, f"later{asked}"))
        asked += 1
        assert asked < 60, "it never comes to an end"

    async def all_of_them() -> bool:
        nonlocal asked
        asked += 1
        news = await follower.ask(pair[asked % 2], limit=7)
        later = (f"later{number}" for number in range(5))
        return not news.more and follower.has(*(f"t{n}" for n in range(40)), *later)

    await soon(all_of_them)


async def test_more_news_than_one_answer_holds(nodes: Nodes) -> None:
    pair = (await nodes.open(), await nodes.open())
    follower, asked = Follower(), 0
    await follower.ask(pair[0])
    await asyncio.sleep(0.6)
    news = [entry(T, f"t{number}") for number in range(30)]
    await nodes.commit(*news)
    for node in pair:
        await node.publish(news)
    while (await follower.ask(pair[asked % 2], limit=4)).more:
        asked += 1
        assert asked < 60, "it never comes to an end"

    async def all_of_them() -> bool:
        await follower.ask(pair[0])
        return follower.has(*(f"t{number}" for number in range(30)))

    await soon(all_of_them)


async def test_a_cursor_from_the_future_begins_anew(nodes: Nodes) -> None:
    """The database's clock went back."""
    node = await nodes.open()
    await nodes.revoke(node, entry(T, "s1"))
    follower = Follower()
    await follower.ask(node)
    assert follower.cursor is not None
    follower.cursor = f"0123abcd.1.{int(follower.cursor.rsplit('.', 1)[1]) + 60_000_000}"
    assert (await follower.ask(node)).reset


async def test_a_node_that_is_younger_than_the_cursor_begins_anew(nodes: Nodes) -> None:
    old = await nodes.open()
    await nodes.revoke(old, entry(T, "s1"))
    follower = Follower()
    await follower.ask(old)
    await asyncio.sleep(0.01)
    young = await nodes.open()
    follower.cursor = f"{follower.cursor.rsplit('.', 1)[0]}.1" if follower.cursor else None
    news = await follower.ask(young)
    assert news.reset
    assert follower.has("s1")


async def test_a_cursor_too_old_begins_anew(
    nodes: Nodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "REMEMBERED", 0.3)
    monkeypatch.setattr(feed, "_MARKED_EVERY", 0.0)
    node = await nodes.open()
    follower = Follower()
    await follower.ask(node)
    await nodes.revoke(node, entry(T, "s1"))

    async def forgotten() -> bool:
        return (await node.feed.since(follower.cursor, wait=0, limit=9)).reset

    await soon(forgotten)


async def test_a_suspension_is_lifted(nodes: Nodes) -> None:
    node = await nodes.open()
    suspended = entry(W, "tenant-1")
    follower = Follower()
    await follower.ask(node)
    await nodes.revoke(node, suspended)
    await follower.ask(node)
    told = follower.known[digest(of(suspended))]
    assert told.expires_at == int(FOREVER.timestamp())
    await nodes.lift(node, of(suspended))

    async def lifted() -> bool:
        await follower.ask(node)
        return follower.known[digest(of(suspended))].expires_at == 0

    await soon(lifted)


async def test_an_epoch_is_told_at_its_strongest(nodes: Nodes) -> None:
    node = await nodes.open()
    await nodes.revoke(node, entry(U, "u1", 7))
    await nodes.revoke(node, entry(U, "u1", 5))
    follower = Follower()
    await follower.ask(node)
    assert follower.known[digest((U, "u1"))].epoch == 7


async def test_age_says_how_old_it_is(nodes: Nodes) -> None:
    node = await nodes.open()
    assert (await Follower().ask(node)).age < SOON


@pytest.mark.parametrize("cursor", ["", "x", "1.2.3", "0123abcd.1", "0123abcd.-1.2", "٣٣٣.1.1"])
async def test_a_cursor_that_is_none(nodes: Nodes, cursor: str) -> None:
    node = await nodes.open()
    with pytest.raises(Refusal):
        await node.feed.since(cursor, wait=0, limit=1)


async def test_ends_of_what_is_kept(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets what has expired, and tells all the rest after thousands of entries."""
    monkeypatch.setattr(feed, "REMEMBERED", 0.2)
    node = await nodes.open()
    await nodes.revoke(node, entry(T, "stays"))
    for begin in range(0, 3000, 500):
        some = [entry(T, f"x{number}") for number in range(begin, begin + 500)]
        await node.publish([*some, *some])
    follower = Follower()
    while (await follower.ask(node, limit=1000)).more:
        pass
    assert follower.has("stays", "x0", "x2999")
    assert len(follower.known) == 3001
    assert all(item.expires_at > in_(0).timestamp() for item in follower.known.values())
