"""Passwords: their hashes, and how many are made at once."""

import asyncio
import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.passwords import MAX_LENGTH
from keyturn.server.tokens.passwords import Argon2Passwords

from .conftest import PROPERTY

GOOD = "purple monkey dishwasher"


def cheap(
    workers: int = 2, queue: int = 16, wait: float = 10.0, passes: int = 1
) -> Argon2Passwords:
    return Argon2Passwords(
        memory=64, passes=passes, lanes=1, workers=workers, queue=queue, wait=wait
    )


@pytest.fixture
def passwords() -> Iterator[Argon2Passwords]:
    made = cheap()
    yield made
    made.close()


@pytest.fixture
def one_at_once() -> Iterator[Argon2Passwords]:
    """One thread, one more may wait; each hash takes long enough to be met at work."""
    made = cheap(workers=1, queue=1, passes=3_000)
    yield made
    made.close()


def outcomes(results: list[str | BaseException]) -> list[str]:
    return ["hash" if isinstance(r, str) else type(r).__name__ for r in results]


class TestHash:
    async def test_opens_with_its_password_only(self, passwords: Argon2Passwords) -> None:
        stored = await passwords.hash(GOOD)
        assert await passwords.verify(GOOD, stored)
        assert not await passwords.verify(GOOD + " ", stored)
        assert not await passwords.verify("", stored)

    async def test_is_a_phc_string_of_argon2id_with_its_own_salt(
        self, passwords: Argon2Passwords
    ) -> None:
        one, other = await passwords.hash(GOOD), await passwords.hash(GOOD)
        assert one.startswith("$argon2id$v=19$m=64,t=1,p=1$")
        assert one != other
        assert GOOD not in one

    async def test_rfc_9106s_second_option_by_default(self) -> None:
        made = Argon2Passwords()
        stored = await made.hash(GOOD)
        made.close()
        assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        parameters = extract_parameters(stored)
        assert (parameters.salt_len, parameters.hash_len) == (16, 32)

    async def test_of_one_that_was_not_checked(self, passwords: Argon2Passwords) -> None:
        with pytest.raises(ValueError, match="check_password"):
            await passwords.hash("x" * (MAX_LENGTH + 1))


class TestVerify:
    @pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
    async def test_the_same_letters_however_sent(
        self, passwords: Argon2Passwords, form: str
    ) -> None:
        stored = await passwords.hash("Ångström ﬁnds Ⅷ units")
        sent = unicodedata.normalize(form, "Ångström ﬁnds Ⅷ units")  # type: ignore[arg-type]
        assert await passwords.verify(sent, stored)

    async def test_nobody_is_nobody_after_the_same_work(self, passwords: Argon2Passwords) -> None:
        assert not await passwords.verify(GOOD, None)
        assert not passwords.needs_rehash(passwords._nobodys)

    async def test_too_long_to_be_anybodys(self, passwords: Argon2Passwords) -> None:
        assert not await passwords.verify("x" * 1_000_000, await passwords.hash(GOOD))
        assert not await passwords.verify("x" * 1_000_000, await passwords.hash(""))

    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "x",
            "$argon2id$",
            "$argon2id$v=19$m=64,t=1,p=1$",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$%%%%",
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=99$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$2b$12$abcdefghijklmnopqrstuvABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
            "\0",
            "pässword",
            "\ud800",
        ],
    )
    async def test_false_for_a_malformed_hash(
        self, passwords: Argon2Passwords, stored: str
    ) -> None:
        assert not await passwords.verify(GOOD, stored)
        assert passwords.needs_rehash(stored)

    @settings(
        PROPERTY, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.text(max_size=80), st.integers(0, 100), st.booleans())
    @example("\ud800", 0, False)
    async def test_false_for_every_other_text(
        self, passwords: Argon2Passwords, text: str, cut: int, inside: bool
    ) -> None:
        stored = await passwords.hash(GOOD)
        # Behind the parameters: there a changed digit may only make the work huge.
        start = stored.rindex("p=1$") + 4
        spoilt = stored[: start + cut] + text if inside else text
        if spoilt != stored:
            assert not await passwords.verify(GOOD, spoilt)
        assert await passwords.verify(text, stored) == (text == GOOD)

    async def test_an_older_hash_opens_and_wants_to_be_made_anew(
        self, passwords: Argon2Passwords
    ) -> None:
        older = cheap(passes=2)
        stored = await older.hash(GOOD)
        older.close()
        assert await passwords.verify(GOOD, stored)
        assert passwords.needs_rehash(stored)
        assert not passwords.needs_rehash(await passwords.hash(GOOD))


# A process that may have 1.5 GiB, and hashes that want 2.
WITHOUT_MEMORY = """
import asyncio, resource
from keyturn.server.domain.errors import Unavailable
from keyturn.server.tokens.passwords import Argon2Passwords

resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))
passwords = Argon2Passwords(memory=2**21, passes=1, lanes=1)

async def attempt(call):
    try:
        print(await call)
    except Unavailable as error:
        print(f"Unavailable: {error}")

async def main():
    await attempt(passwords.hash("purple monkey dishwasher"))
    await attempt(passwords.verify("purple monkey dishwasher", passwords._nobodys))
    await attempt(passwords.verify("purple monkey dishwasher", None))

asyncio.run(main())
"""


class TestFaults:
    def test_no_memory_is_nobodys_wrong_password(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_MEMORY],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert set(done.stdout.splitlines()) == {"Unavailable: argon2: Memory allocation error"}
        assert len(done.stdout.splitlines()) == 3


class TestManyAtOnce:
    async def test_one_too_many_is_refused(self, one_at_once: Argon2Passwords) -> None:
        results = await asyncio.gather(
            *(one_at_once.hash(GOOD) for _ in range(5)), return_exceptions=True
        )
        assert outcomes(results) == ["hash", "hash"] + ["Unavailable"] * 3
        assert outcomes([await one_at_once.hash(GOOD)]) == ["hash"]

    async def test_refused_after_waiting_too_long(self) -> None:
        made = cheap(workers=1, queue=2, wait=0.01, passes=3_000)
        results = await asyncio.gather(*(made.hash(GOOD) for _ in range(3)), return_exceptions=True)
        assert outcomes(results) == ["hash", "Unavailable", "Unavailable"]
        assert outcomes([await made.hash(GOOD)]) == ["hash"]
        made.close()

    async def test_none_may_wait(self) -> None:
        made = cheap(workers=2, queue=0, passes=3_000)
        results = await asyncio.gather(*(made.hash(GOOD) for _ in range(3)), return_exceptions=True)
        assert outcomes(results) == ["hash", "hash", "Unavailable"]
        made.close()

    async def test_who_goes_away_leaves_the_place_when_the_work_is_done(
        self, one_at_once: Argon2Passwords
    ) -> None:
        for _ in range(3):
            at_work, waiting = (asyncio.create_task(one_at_once.hash(GOOD)) for _ in range(2))
            await asyncio.sleep(0)
            at_work.cancel()
            waiting.cancel()
            gone = await asyncio.gather(at_work, waiting, return_exceptions=True)
            assert [type(result) for result in gone] == [asyncio.CancelledError] * 2
            # The thread is still at work: one may wait for it, and a second may not.
            results = await asyncio.gather(
                *(one_at_once.hash(GOOD) for _ in range(2)), return_exceptions=True
            )
            assert outcomes(results) == ["hash", "Unavailable"]

    async def test_unavailable_when_closed(self, one_at_once: Argon2Passwords) -> None:
        tasks = [asyncio.create_task(one_at_once.hash(GOOD)) for _ in range(2)]
        await asyncio.sleep(0)
        one_at_once.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes(results) == ["hash", "Unavailable"]
        with pytest.raises(Unavailable):
            await one_at_once.verify(GOOD, None)
