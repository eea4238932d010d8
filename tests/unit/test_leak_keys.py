"""The keys of scanners for secrets: fetched seldom, bounded, and never from anywhere else."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.server import leak_keys
from keyturn.server.domain.errors import Unavailable
from keyturn.server.leak_keys import (
    GOOD_FOR,
    MOST_BYTES,
    MOST_WAITING,
    PAUSE,
    LeakKeys,
    from_file,
    from_url,
    open_leak_keys,
    parsed,
)
from tests.http.leaks import URL, Scanner, document

BODY = b'[{"token":"x"}]'

# What GitHub's documentation shows of a report, and the key that signed it (a public one).
GITHUB_KEY_ID = "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a"
GITHUB_KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MJJHnMfn2+H4xL4YaPDA4RpJqUq
kCmRCBnYERxZanmcpzQSXs1X/AljlKkbJ8qpVIW4clayyef9gWhFbNHWAA==
-----END PUBLIC KEY-----
"""
GITHUB_BODY = b'[{"token":"some_token","type":"some_type","url":"some_url"}]'
GITHUB_SIGNATURE = (
    "MEUCIQDKZokqnCjrRtw0tni+2Ltvl/uiMJ1EGumEsp1BsNr32AIgQY1YXD2nlj+XNfGK4rBfkMJ1JDOQcYXxa2sY8FNk"
    "rKc="
)


class Clock:
    """Seconds that a test may add to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scanner() -> Scanner:
    return Scanner()


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        yield router


@pytest.fixture
def keys(clock: Clock) -> LeakKeys:
    return LeakKeys([from_url(URL)], clock)


async def believes(keys: LeakKeys, scanner: Scanner, body: bytes = BODY) -> bool:
    headers = scanner.headers(body)
    return await keys.verified(body, scanner.key_id, headers["Github-Public-Key-Signature"])


class TestSignatures:
    async def test_githubs_own_example(self, router: respx.MockRouter, keys: LeakKeys) -> None:
        listed = {"key_identifier": GITHUB_KEY_ID, "key": GITHUB_KEY, "is_current": True}
        router.get(URL).respond(json={"public_keys": [listed]})
        assert await keys.verified(GITHUB_BODY, GITHUB_KEY_ID, GITHUB_SIGNATURE)
        for changed in (GITHUB_BODY + b"\n", GITHUB_BODY[:-1], GITHUB_BODY.replace(b"url", b"uri")):
            assert not await keys.verified(changed, GITHUB_KEY_ID, GITHUB_SIGNATURE)

    async def test_any_byte_changed_is_another_body(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner
    ) -> None:
        router.get(URL).respond(json=document(scanner))
        signature = scanner.headers(BODY)["Github-Public-Key-Signature"]
        assert await keys.verified(BODY, scanner.key_id, signature)
        for place in range(len(BODY)):
            other = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
            assert not await keys.verified(other, scanner.key_id, signature)

    async def test_another_hash_or_form_is_refused(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner
    ) -> None:
        router.get(URL).respond(json=document(scanner))
        der = scanner.key.sign(BODY, ec.ECDSA(SHA256()))
        plain = base64.b64encode(der).decode()
        for text in (der.hex(), plain + "\n", " " + plain, base64.b64encode(der + b"\0").decode()):
            assert not await keys.verified(BODY, scanner.key_id, text)
        assert await keys.verified(BODY, scanner.key_id, plain)

    async def test_what_cannot_be_one_asks_nobody(
        self, router: respx.MockRouter, keys: LeakKeys
    ) -> None:
        route = router.get(URL).respond(500)
        for key_id, signature in (
            ("x", "no base64"),
            ("x", "A" * 10_000),
            ("", "AAAA"),
            ("a b", "AAAA"),
            ("x" * 200, "AAAA"),
        ):
            assert not await keys.verified(BODY, key_id, signature)
        assert not route.called


class TestHowOften:
    async def test_keys_are_read_when_the_first_report_comes_and_kept(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner, clock: Clock
    ) -> None:
        route = router.get(URL).respond(json=document(scanner))
        assert route.call_count == 0
        for _ in range(20):
            assert await believes(keys, scanner)
            clock.now += 100
        assert route.call_count == 1

    async def test_unknown_ids_have_them_read_once_in_five_minutes(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner, clock: Clock
    ) -> None:
        route = router.get(URL).respond(json=document(scanner))
        for number in range(50):
            assert not await believes(keys, Scanner(f"k{number}"))
        assert route.call_count == 1
        clock.now += PAUSE - 1
        assert not await believes(keys, Scanner("other"))
        assert route.call_count == 1
        clock.now += 1
        assert not await believes(keys, Scanner("other"))
        assert route.call_count == 2

    async def test_a_few_who_come_at_once_wait_for_one_read(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner
    ) -> None:
        async def slowly(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.01)
            return httpx.Response(200, json=document(scanner))

        route = router.get(URL).mock(side_effect=slowly)
        crowd = (believes(keys, scanner) for _ in range(MOST_WAITING))
        assert all(await asyncio.gather(*crowd))
        assert route.call_count == 1

    async def test_503_at_once_for_more_and_the_read_goes_on(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner
    ) -> None:
        ready = asyncio.Event()

        async def slowly(request: httpx.Request) -> httpx.Response:
            await ready.wait()
            return httpx.Response(200, json=document(scanner))

        route = router.get(URL).mock(side_effect=slowly)
        waiting = [asyncio.create_task(believes(keys, scanner)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        for _ in range(20):
            with pytest.raises(Unavailable) as caught:
                await believes(keys, scanner)
            assert caught.value.retry_after == leak_keys.READ_WAIT
        for task in waiting:  # who asked is gone
            task.cancel()
        await asyncio.wait(waiting)
        again = asyncio.create_task(believes(keys, scanner))
        await asyncio.sleep(0)
        ready.set()
        assert await again
        assert route.call_count == 1

    async def test_a_new_key_is_found_and_one_taken_back_ends(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner, clock: Clock
    ) -> None:
        new = Scanner("new")
        router.get(URL).respond(json=document(scanner))
        assert await believes(keys, scanner)
        router.get(URL).respond(json=document(new))
        clock.now += PAUSE
        assert await believes(keys, new)
        assert not await believes(keys, scanner)

    async def test_a_key_taken_back_ends_within_the_hour(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner, clock: Clock
    ) -> None:
        router.get(URL).respond(json=document(scanner))
        assert await believes(keys, scanner)
        router.get(URL).respond(json=document(Scanner("new")))
        clock.now += GOOD_FOR
        assert not await believes(keys, scanner)


class TestFaults:
    @pytest.mark.parametrize(
        "answer",
        [
            httpx.ConnectError("no"),
            httpx.ReadTimeout("no"),
            httpx.Response(500),
            httpx.Response(302, headers={"Location": "https://elsewhere.example/"}),
            httpx.Response(200, text="<html>"),
            httpx.Response(200, json=[]),
            httpx.Response(200, json={"public_keys": []}),
            httpx.Response(200, json={"public_keys": {"a": 1}}),
            httpx.Response(200, json={"public_keys": [{"key_identifier": "x"}]}),
            httpx.Response(200, json={"public_keys": [{"key_identifier": "x", "key": "y"}]}),
            httpx.Response(200, content=b" " * (MOST_BYTES + 1)),
            httpx.Response(200, headers={"Content-Encoding": "x"}, content=b"{}"),
        ],
    )
    async def test_503_and_no_second_read_for_five_minutes(
        self,
        router: respx.MockRouter,
        keys: LeakKeys,
        scanner: Scanner,
        clock: Clock,
        answer: Any,
    ) -> None:
        elsewhere = router.get("https://elsewhere.example/").respond(json=document(scanner))
        route = router.get(URL)
        if isinstance(answer, httpx.Response):
            route.return_value = answer
        else:
            route.side_effect = answer
        for _ in range(5):
            with pytest.raises(Unavailable) as caught:
                await believes(keys, scanner)
            assert 1 <= caught.value.retry_after <= PAUSE
        assert route.call_count == 1
        assert not elsewhere.called
        router.get(URL).respond(json=document(scanner))
        clock.now += PAUSE
        assert await believes(keys, scanner)

    async def test_known_keys_are_good_while_the_source_is_away_for_an_hour_and_no_more(
        self, router: respx.MockRouter, keys: LeakKeys, scanner: Scanner, clock: Clock
    ) -> None:
        router.get(URL).respond(json=document(scanner))
        assert await believes(keys, scanner)
        router.get(URL).respond(500)
        clock.now += PAUSE
        with pytest.raises(Unavailable):  # it might be a new one
            await believes(keys, Scanner("unknown"))
        assert await believes(keys, scanner)
        clock.now += GOOD_FOR
        with pytest.raises(Unavailable):
            await believes(keys, scanner)

    async def test_a_source_that_hangs(
        self, router: respx.MockRouter, keys: LeakKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hangs(_: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(leak_keys, "READ_WAIT", 0.05)
        router.get(URL).mock(side_effect=hangs)
        with pytest.raises(Unavailable):
            await believes(keys, Scanner())

    async def test_no_proxy_of_the_environment_is_asked(
        self, keys: LeakKeys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[Any] = []

        class Client(httpx.AsyncClient):
            def __init__(self, **options: Any) -> None:
                seen.append((options["trust_env"], options["follow_redirects"]))
                raise httpx.ConnectError("not in a test")

        monkeypatch.setattr(httpx, "AsyncClient", Client)
        with pytest.raises(Unavailable):
            await believes(keys, Scanner())
        assert seen == [(False, False)]


class TestDocuments:
    def test_other_kinds_of_keys_are_passed_over(self, scanner: Scanner) -> None:
        others: list[Any] = [
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ]
        listed = [scanner.listed, {"key_identifier": "bad", "key": "no key"}]
        for number, key in enumerate(others):
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            listed.append({"key_identifier": f"o{number}", "key": pem.decode()})
        assert set(parsed(json.dumps({"public_keys": listed}).encode())) == {scanner.key_id}

    async def test_a_file_and_a_url_add_up(
        self, router: respx.MockRouter, scanner: Scanner, tmp_path: Path
    ) -> None:
        other = Scanner("other")
        router.get(URL).respond(json=document(scanner))
        path = tmp_path / "keys.json"
        path.write_text(json.dumps(document(other)))
        keys = open_leak_keys(URL, path)
        assert await believes(keys, scanner)
        assert await believes(keys, other)

    async def test_a_file_that_is_gone_or_too_large(self, tmp_path: Path, scanner: Scanner) -> None:
        path = tmp_path / "keys.json"
        for _ in range(2):
            with pytest.raises(Unavailable):
                await believes(LeakKeys([from_file(path)]), scanner)
            path.write_text(json.dumps(document(scanner)) + " " * MOST_BYTES)
