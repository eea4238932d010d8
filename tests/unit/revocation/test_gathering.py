"""Many questions, few queries; nobody gets an answer older than the question."""

import asyncio
from collections.abc import Sequence

import pytest

from keyturn.server.domain.errors import Unavailable
from keyturn.server.revocation import gathering
from keyturn.server.revocation.gathering import Gathering


class Oracle:
    def __init__(self) -> None:
        self.asked: list[Sequence[int]] = []
        self.now = 0
        self.delay = 0.01
        self.error: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> int:
        self.asked.append(items)
        answer = self.now
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        return answer


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


def gathered(oracle: Oracle, patience: float = 1.0) -> Gathering[int, int]:
    return Gathering(oracle, at_once=1, patience=patience, name="test")


async def test_what_comes_at_once_is_asked_at_once(oracle: Oracle) -> None:
    ask = gathered(oracle)
    await asyncio.gather(*(ask([number % 10]) for number in range(100)))

    assert [sorted(items) for items in oracle.asked] == [list(range(10))]


async def test_an_answer_is_younger_than_its_question(oracle: Oracle) -> None:
    ask = gathered(oracle)
    first = asyncio.create_task(ask([1]))
    await asyncio.sleep(0.001)
    oracle.now = 1
    second = asyncio.create_task(ask([1]))

    assert await first == 0
    assert await second == 1


async def test_a_large_question_is_bounded(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "ASKED_AT_ONCE", 10)
    ask = gathered(oracle)
    await asyncio.gather(*(ask([number, -number]) for number in range(1, 21)))

    assert [len(items) for items in oracle.asked] == [10, 10, 10, 10]


async def test_everyone_hears_of_an_error(oracle: Oracle) -> None:
    ask = gathered(oracle)
    oracle.error = Unavailable("down")
    answers = await asyncio.gather(*(ask([1]) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)

    oracle.error = None
    assert await ask([1]) == 0


async def test_waiting_ends(oracle: Oracle) -> None:
    ask = gathered(oracle, patience=0.05)
    oracle.delay = 60
    for _ in range(2):
        with pytest.raises(Unavailable):
            await ask([1])
    await ask.close()


async def test_who_gives_up_takes_nobody_along(oracle: Oracle) -> None:
    ask = gathered(oracle)
    one, two, three = (asyncio.create_task(ask([number])) for number in range(3))
    await asyncio.sleep(0.001)
    one.cancel()

    assert [await two, await three] == [0, 0]


async def test_too_many_are_refused_at_once(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST_WAITING", 5)
    ask = gathered(oracle)
    answers = await asyncio.gather(*(ask([1]) for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(answer, Unavailable) for answer in answers) == 3
    assert await ask([1, 2, 3, 4, 5]) == 0


async def test_closing_answers_everyone(oracle: Oracle) -> None:
    ask = gathered(oracle)
    oracle.delay = 60
    waiting = [asyncio.create_task(ask([1]))]
    await asyncio.sleep(0.001)
    waiting.append(asyncio.create_task(ask([2])))
    await asyncio.sleep(0.001)
    await ask.close()

    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
