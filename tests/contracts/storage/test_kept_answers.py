"""`ports.KeptAnswers`: the answer to a creation that is asked for again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.services.ports import KeptAnswer
from keyturn.server.storage import Storage, open_storage
from tests.contracts.storage.world import refused

ID = b"\0\xff" * 16
ANSWER = KeptAnswer(b"\0request", b"\xffsealed")
OTHER = KeptAnswer(b"other request", b"other answer")
DAY = timedelta(days=1)


async def test_kept_answer_is_found_until_it_expires(storage: Storage) -> None:
    now = datetime.now(UTC)
    async with storage.store.transaction() as work:
        await work.kept_answers.add(ID, ANSWER, now + DAY)
    async with storage.store.transaction() as work:
        assert await work.kept_answers.find(ID, now) == ANSWER
        assert await work.kept_answers.find(ID, now + DAY) is None
        assert await work.kept_answers.find(ID[1:], now) is None


async def test_answer_that_counts_stays(storage: Storage) -> None:
    now = datetime.now(UTC)
    async with storage.store.transaction() as work:
        await work.kept_answers.add(ID, ANSWER, now + DAY)
    async with storage.store.transaction() as work:
        refusal = await refused(work.kept_answers.add(ID, OTHER, now + 2 * DAY))
        assert refusal.code is Code.CONFLICT
        assert await work.kept_answers.find(ID, now) == ANSWER


async def test_expired_answer_is_replaced(storage: Storage) -> None:
    now = datetime.now(UTC)
    async with storage.store.transaction() as work:
        await work.kept_answers.add(ID, ANSWER, now - DAY)
        await work.kept_answers.add(ID, OTHER, now + DAY)
        assert await work.kept_answers.find(ID, now) == OTHER


async def test_one_of_20_answers_is_kept(database_url: str) -> None:
    expires_at = datetime.now(UTC) + DAY
    async with open_storage(database_url) as one, open_storage(database_url) as two:

        async def add(number: int) -> bytes | None:
            answer = KeptAnswer(b"request", f"{number}".encode())
            try:
                async with (one, two)[number % 2].store.transaction() as work:
                    await work.kept_answers.add(ID, answer, expires_at)
            except Refusal:
                return None
            return answer.sealed

        kept = [sealed for sealed in await asyncio.gather(*map(add, range(20))) if sealed]
        async with one.store.transaction() as work:
            found = await work.kept_answers.find(ID, datetime.now(UTC))
    assert found is not None
    assert kept == [found.sealed]


async def test_creation_that_failed_keeps_no_answer(storage: Storage) -> None:
    now = datetime.now(UTC)

    async def fail() -> None:
        async with storage.store.transaction() as work:
            await work.kept_answers.add(ID, ANSWER, now + DAY)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with storage.store.transaction() as work:
        await work.kept_answers.add(ID, OTHER, now + DAY)
