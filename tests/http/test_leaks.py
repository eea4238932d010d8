"""`POST /iam/auth/leaked`, and an API key at `/iam/auth/revoke`: what leaked is dead."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from keyturn.server import wiring
from keyturn.server.domain.errors import Unavailable
from keyturn.server.domain.model import UserKind
from keyturn.server.domain.permissions import TENANT_ADMIN
from keyturn.server.leak_keys import MOST_WAITING
from keyturn.server.services.leak_reports import MOST_ASKED, MOST_ENTRIES, MOST_URL
from keyturn.server.services.ports import Mail
from keyturn.server.storage.store import DatabaseStore
from tests.http.conftest import Running
from tests.http.leaks import URL, Scanner, document, entry, labels, other_secret, post
from tests.secret_scan import scan_for_secrets

Start = Callable[..., Awaitable[Running]]


class Outbox:
    """A mailer that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.works = True

    async def send(self, mail: Mail) -> bool:
        self.mails.append(mail)
        return self.works


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    outbox = Outbox()
    monkeypatch.setattr(wiring, "open_mailer", lambda *_: outbox)
    return outbox


@pytest.fixture
def scanner() -> Scanner:
    return Scanner()


@pytest.fixture
def keys_file(scanner: Scanner, tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(document(scanner)))
    return path


@pytest.fixture
async def watched(start: Start, keys_file: Path, outbox: Outbox) -> Running:
    """A service that believes the scanner."""
    running: Running = await start(leak_keys_file=keys_file)
    return running


async def works(service: Running, key: Any) -> bool:
    answer = await service.token(
        grant_type="password", username=service.username, password=key.text
    )
    assert answer.status_code in (200, 400)
    return answer.status_code == 200


async def trail(service: Running, action: str, tenant: str = "") -> list[dict[str, Any]]:
    answer = await service.administer(
        "GET", f"/audit-events?action={action}", tenant or service.acme
    )
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


class TestAKey:
    async def test_200_dies_with_all_that_it_gave(self, watched: Running, scanner: Scanner) -> None:
        key, other = await watched.add_key(), await watched.add_key()
        body = await watched.exchange(key=key)
        answer = await scanner.report(watched, entry(key.text))
        assert answer.json() == [
            {
                "token_hash": hashlib.sha256(key.text.encode()).hexdigest(),
                "token_type": "keyturn_api_key",
                "label": "true_positive",
            }
        ]
        assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await watched.refresh(body["refresh_token"])).status_code == 400
        assert not await works(watched, key)
        assert await works(watched, other)
        listed = await watched.administer("GET", f"/api-keys/{key.key_id}", watched.acme)
        assert listed.json()["state"] == "revoked"
        assert "found where others can read it" in listed.json()["reason"]

    async def test_200_the_trail_tells_where(self, watched: Running, scanner: Scanner) -> None:
        key = await watched.add_key()
        await scanner.report(watched, entry(key.text))
        (event,) = await trail(watched, "api_key.leaked")
        assert event["target"] == key.key_id
        assert event["data"] == {
            "reported_by": "scanner",
            "url": "https://git.example/a/b#L1",
            "source": "content",
        }
        (revoked,) = await trail(watched, "api_key.revoked")
        assert revoked["data"]["reason"] == "leaked"
        assert not scan_for_secrets(json.dumps([event, revoked]))

    async def test_200_it_is_refused_on_the_other_node_at_once(
        self, watched: Running, start: Start, scanner: Scanner
    ) -> None:
        other = await start()
        key = await watched.add_key()
        body = await other.exchange(key=key)
        assert (await other.get("/iam/users/me", body["access_token"])).status_code == 200
        await scanner.report(watched, entry(key.text))
        for _ in range(150):  # promised within a second; a busy machine has some more
            if (await other.get("/iam/users/me", body["access_token"])).status_code == 401:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the other node takes the token still")
        assert not await works(other, key)

    async def test_200_right_id_and_wrong_secret_kills_nothing(
        self, watched: Running, scanner: Scanner, outbox: Outbox
    ) -> None:
        key = await watched.add_key()
        answer = await scanner.report(watched, entry(other_secret(key.text)))
        assert labels(answer) == ["false_positive"]
        assert await works(watched, key)
        assert await trail(watched, "api_key.leaked") == []
        assert outbox.mails == []

    async def test_200_an_unknown_key(self, watched: Running, scanner: Scanner) -> None:
        unknown = watched.service.parts.key_format.new().text
        assert labels(await scanner.report(watched, entry(unknown))) == ["false_positive"]

    async def test_200_a_report_that_comes_again_changes_nothing(
        self, watched: Running, scanner: Scanner, outbox: Outbox
    ) -> None:
        await watched.give(
            (await watched.add_user(UserKind.HUMAN)).id, watched.acme, TENANT_ADMIN.id
        )
        key = await watched.add_key()
        body = json.dumps([entry(key.text)]).encode()
        headers = scanner.headers(body)
        for _ in range(3):
            assert labels(await post(watched, body, headers)) == ["true_positive"]
        assert len(await trail(watched, "api_key.leaked")) == 1
        assert len(outbox.mails) == len({mail.to for mail in outbox.mails}) > 0

    async def test_200_a_secret_replaced_before_kills_nothing(
        self, watched: Running, scanner: Scanner
    ) -> None:
        key = await watched.add_key()
        path = f"/api-keys/{key.key_id}/rotate"
        await watched.administer("POST", path, watched.acme, {})
        assert labels(await scanner.report(watched, entry(key.text))) == ["false_positive"]
        listed = await watched.administer("GET", f"/api-keys/{key.key_id}", watched.acme)
        assert listed.json()["state"] == "active"

    async def test_200_a_replaced_secret_that_works_still_kills_the_key(
        self, watched: Running, scanner: Scanner
    ) -> None:
        key = await watched.add_key()
        path = f"/api-keys/{key.key_id}/rotate"
        await watched.administer("POST", path, watched.acme, {"overlap_seconds": 600})
        assert await works(watched, key)
        assert labels(await scanner.report(watched, entry(key.text))) == ["true_positive"]
        assert not await works(watched, key)

    async def test_200_two_reports_at_once_end_it_once(
        self, watched: Running, scanner: Scanner
    ) -> None:
        key = await watched.add_key()
        answers = await asyncio.gather(
            *(scanner.report(watched, entry(key.text)) for _ in range(5))
        )
        assert [labels(answer) for answer in answers] == [["true_positive"]] * 5
        assert len(await trail(watched, "api_key.leaked")) == 1

    async def test_503_what_the_store_cannot_do_now_is_done_with_the_next_report(
        self, watched: Running, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = await watched.add_key()

        def broken(*_: Any) -> Any:
            raise Unavailable("the test's fault")

        with monkeypatch.context() as patched:
            patched.setattr(DatabaseStore, "transaction", broken)
            answer = await scanner.report(watched, entry(key.text))
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert labels(await scanner.report(watched, entry(key.text))) == ["true_positive"]
        assert not await works(watched, key)


class TestTokens:
    async def test_200_a_refresh_token_ends_its_session(
        self, watched: Running, scanner: Scanner
    ) -> None:
        body = await watched.exchange()
        assert labels(await scanner.report(watched, entry(body["refresh_token"]))) == [
            "true_positive"
        ]
        assert (await watched.refresh(body["refresh_token"])).status_code == 400
        assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 401
        (event,) = await trail(watched, "session.revoked")
        assert (event["data"]["reason"], event["data"]["source"]) == ("leaked", "content")
        assert (await watched.exchange())["access_token"]

    async def test_200_an_access_token_ends_alone(self, watched: Running, scanner: Scanner) -> None:
        body = await watched.exchange()
        answer = await scanner.report(watched, entry(body["access_token"], type="jwt"))
        assert labels(answer) == ["true_positive"]
        assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await watched.refresh(body["refresh_token"])).status_code == 200
        (event,) = await trail(watched, "token.revoked")
        assert event["data"]["url"] == "https://git.example/a/b#L1"

    async def test_200_what_another_service_signed(
        self, watched: Running, scanner: Scanner
    ) -> None:
        body = await watched.exchange()
        head, claims, signature = body["access_token"].split(".")
        forged = ".".join([head, claims, signature[::-1]])
        texts = [forged, "ktr_" + body["refresh_token"][4:][::-1], "eyJ", "ktr_", "é", "\0", "x"]
        answer = await scanner.report(watched, *map(entry, texts))
        assert set(labels(answer)) == {"false_positive"}
        assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 200


class TestManyEntries:
    async def test_200_a_key_among_a_thousand(self, watched: Running, scanner: Scanner) -> None:
        key = await watched.add_key()
        others = [{"token": f"kt_{number}"} for number in range(MOST_ENTRIES - 1)]
        answer = await scanner.report(watched, *others, entry(key.text))
        assert labels(answer) == ["false_positive"] * (MOST_ENTRIES - 1) + ["true_positive"]
        assert not await works(watched, key)

    async def test_200_more_are_not_looked_at(
        self, watched: Running, scanner: Scanner, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = await watched.add_key()
        others = [{"token": f"kt_{number}"} for number in range(MOST_ENTRIES)]
        answer = await scanner.report(watched, *others, entry(key.text))
        assert len(labels(answer)) == MOST_ENTRIES
        assert await works(watched, key)
        assert "1 were not looked at" in caplog.text

    async def test_200_the_store_is_asked_a_hundred_times(
        self, watched: Running, scanner: Scanner, caplog: pytest.LogCaptureFixture
    ) -> None:
        new = watched.service.parts.key_format.new
        texts = [new().text for _ in range(MOST_ASKED)]
        first, last = await watched.add_key(), await watched.add_key()
        # To be named twice counts once.
        tokens = [first.text, first.text, *texts, last.text]
        answer = await scanner.report(watched, *map(entry, tokens))
        assert labels(answer) == ["true_positive"] * 2 + ["false_positive"] * (MOST_ASKED - 1)
        assert not await works(watched, first)
        assert await works(watched, last)
        assert "2 were not looked at" in caplog.text

    async def test_200_entries_without_a_token_are_passed_over(
        self, watched: Running, scanner: Scanner
    ) -> None:
        odd: list[Any] = [1, None, [], {}, {"token": 1}, {"token": None}, {"token": ""}, "x"]
        assert labels(await scanner.report(watched, *odd)) == []
        answer = await scanner.report(watched, {"token": "x", "url": 1, "type": {}, "source": []})
        assert [verdict["token_type"] for verdict in answer.json()] == [""]


class TestWhereItWasFound:
    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("https://git.example/a\r\nSet-Cookie: a=b\x00\u2028\x1b[31m", None),
            ("https://git.example/" + "x" * 10_000, None),
            ("", ""),
        ],
    )
    async def test_200_hostile_text_is_one_short_line(
        self, watched: Running, scanner: Scanner, outbox: Outbox, said: str, kept: str | None
    ) -> None:
        await watched.give(
            (await watched.add_user(UserKind.HUMAN)).id, watched.acme, TENANT_ADMIN.id
        )
        key = await watched.add_key()
        answer = await scanner.report(watched, entry(key.text, url=said, type=said, source=said))
        assert labels(answer) == ["true_positive"]
        (event,) = await trail(watched, "api_key.leaked")
        told = event["data"]
        for text in (told["url"], told["source"], answer.json()[0]["token_type"]):
            assert text.isprintable()
            assert len(text) <= MOST_URL
            assert text.startswith("https://git.example/" if kept is None else kept)
        assert outbox.mails
        for mail in outbox.mails:
            assert "Set-Cookie: a=b\n" not in mail.text
            assert len(mail.text) < 2_000

    @pytest.mark.parametrize("form", ["{}", "https://x.example/?key={}#y", "%25-{}"])
    @pytest.mark.parametrize("encoded", [False, True])
    async def test_200_no_credential_gets_into_the_trail(
        self, watched: Running, scanner: Scanner, form: str, encoded: bool
    ) -> None:
        key = await watched.add_key()
        text = form.format(key.text.replace("_", "%5F") if encoded else key.text)
        answer = await scanner.report(watched, entry(key.text, url=text, source=text, type=text))
        assert labels(answer) == ["true_positive"]
        secret = key.text.split("_")[2]
        assert secret not in answer.text
        (event,) = await trail(watched, "api_key.leaked")
        assert secret not in json.dumps(event)
        assert event["data"]["url"] == ""


class TestMail:
    async def test_administrators_are_told(
        self, watched: Running, scanner: Scanner, outbox: Outbox
    ) -> None:
        people = [await watched.add_user(UserKind.HUMAN) for _ in range(2)]
        program = await watched.add_user()
        for user in (*people, program):
            await watched.give(user.id, watched.acme, TENANT_ADMIN.id)
        key = await watched.add_key(name="nightly")
        await scanner.report(watched, entry(key.text))
        assert {mail.to for mail in outbox.mails} >= {user.username for user in people}
        assert program.username not in {mail.to for mail in outbox.mails}
        for mail in outbox.mails:
            assert "'nightly'" in mail.text
            assert key.key_id in mail.text
            assert "https://git.example/a/b#L1" in mail.text
            assert not scan_for_secrets(mail.text)

    async def test_where_nobody_administers_those_above_are_told(
        self, watched: Running, scanner: Scanner, outbox: Outbox
    ) -> None:
        alone = await watched.add_tenant("alone")
        user = await watched.add_user(home=alone.id)
        key = await watched.add_key(user_id=user.id, home_tenant_id=alone.id)
        await scanner.report(watched, entry(key.text))
        assert {mail.to for mail in outbox.mails} == {watched.demo.platform.user.username}

    async def test_a_mail_that_fails_undoes_nothing(
        self, watched: Running, scanner: Scanner, outbox: Outbox
    ) -> None:
        outbox.works = False
        key = await watched.add_key()
        assert labels(await scanner.report(watched, entry(key.text))) == ["true_positive"]
        assert not await works(watched, key)

    async def test_a_mail_server_that_hangs_is_not_waited_for(
        self,
        watched: Running,
        scanner: Scanner,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async def hangs(*_: Any) -> bool:
            await asyncio.Event().wait()
            return True

        monkeypatch.setattr(Outbox, "send", hangs)
        monkeypatch.setattr("keyturn.server.services.management.leaked_keys.MAIL_WAIT", 0.05)
        await watched.give(
            (await watched.add_user(UserKind.HUMAN)).id, watched.acme, TENANT_ADMIN.id
        )
        key = await watched.add_key()
        assert labels(await scanner.report(watched, entry(key.text))) == ["true_positive"]
        assert "not all are sent" in caplog.text


class TestWhoIsBelieved:
    async def test_404_without_keys(self, service: Running, scanner: Scanner) -> None:
        key = await service.add_key()
        answer = await scanner.report(service, entry(key.text))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert await works(service, key)

    async def test_403_whatever_is_wrong_with_the_signature(
        self, watched: Running, scanner: Scanner
    ) -> None:
        key = await watched.add_key()
        body = json.dumps([entry(key.text)]).encode()
        good = scanner.headers(body)
        signature = good["Github-Public-Key-Signature"]
        wrong: list[tuple[bytes, dict[str, str]]] = [
            (body, Scanner().headers(body)),
            (body, Scanner("unknown").headers(body)),
            (body[:-2] + b" ]", good),
            (body.replace(b"content", b"contenu"), good),
            (json.dumps(json.loads(body), separators=(",", ":")).encode(), good),
            (body + b"\n", good),
            *(
                (body, {**good, "Github-Public-Key-Signature": text})
                for text in ("", "x", "=", signature[:-4], "A" * 5_000)
            ),
            *((body, {**good, "Github-Public-Key-Identifier": text}) for text in ("", "../x")),
            *(
                (body, {name: value for name, value in good.items() if name != missing})
                for missing in ("Github-Public-Key-Identifier", "Github-Public-Key-Signature")
            ),
        ]
        details = set()
        for sent, headers in wrong:
            answer = await post(watched, sent, headers)
            assert answer.status_code == 403
            details.add(answer.json()["detail"])
        assert details == {"The report is not signed by a known key."}
        assert await works(watched, key)
        assert labels(await post(watched, body, good)) == ["true_positive"]

    async def test_403_is_said_before_the_body_is_parsed(
        self, watched: Running, scanner: Scanner
    ) -> None:
        broken = b'[{"token":'
        assert (await post(watched, broken, scanner.headers(b""))).status_code == 403
        answer = await post(watched, broken, scanner.headers(broken))
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "The body is not JSON in UTF-8.",
        )
        for other in (b"{}", b'"x"', b"\xff", b"1"):
            assert (await post(watched, other, scanner.headers(other))).status_code == 400

    async def test_200_keys_from_a_url_and_503_while_it_is_down(
        self, start: Start, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = await start(leak_keys_url=URL)
        key = await service.add_key()
        with respx.mock(assert_all_mocked=False) as router:
            route = router.get(URL).respond(500)
            answer = await scanner.report(service, entry(key.text))
            assert (answer.status_code, int(answer.headers["retry-after"]) > 1) == (503, True)
            assert (await scanner.report(service, entry(key.text))).status_code == 503
            assert route.call_count == 1
            monkeypatch.setattr("keyturn.server.leak_keys.PAUSE", 0.0)
            router.get(URL).respond(json=document(scanner))
            assert labels(await scanner.report(service, entry(key.text))) == ["true_positive"]
        assert not await works(service, key)

    async def test_who_waits_for_the_keys_is_in_nobodys_way(
        self, start: Start, scanner: Scanner
    ) -> None:
        service = await start(leak_keys_url=URL, max_in_flight=1)
        ready = asyncio.Event()

        async def hangs(_: httpx.Request) -> httpx.Response:
            await ready.wait()
            return httpx.Response(200, json=document(scanner))

        with respx.mock(assert_all_mocked=False) as router:
            route = router.get(URL).mock(side_effect=hangs)
            waiting = []
            for _ in range(MOST_WAITING):
                waiting.append(asyncio.create_task(scanner.report(service, entry("x"))))
                await asyncio.sleep(0.05)
            answer = await scanner.report(service, entry("x"))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert (await service.get("/.well-known/jwks.json")).status_code == 200
            await service.exchange()
            ready.set()
            answers = await asyncio.gather(*waiting)
        assert route.call_count == 1
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert 200 in {answer.status_code for answer in answers}

    async def test_429_for_who_sends_many_that_are_not_signed(
        self, start: Start, scanner: Scanner, keys_file: Path
    ) -> None:
        service = await start(leak_keys_file=keys_file, limit_failures_per_address="2/hour")
        headers = Scanner("unknown").headers(b"[]")
        assert (await post(service, b"[]", headers)).status_code == 403
        assert (await post(service, b"[]", {})).status_code == 403
        assert (await post(service, b"[]", headers)).status_code == 429
        assert (await scanner.report(service, entry("x"))).status_code == 429

    async def test_400_a_repeated_header(self, watched: Running, scanner: Scanner) -> None:
        body = b"[]"
        headers = [*scanner.headers(body).items(), ("Github-Public-Key-Identifier", "x")]
        answer = await watched.client.post("/iam/auth/leaked", content=body, headers=headers)
        assert answer.status_code == 400

    async def test_413_and_415(self, watched: Running, scanner: Scanner) -> None:
        body = b" " * (watched.settings.max_body + 1)
        assert (await post(watched, body, scanner.headers(body))).status_code == 413
        headers = {**scanner.headers(b"[]"), "Content-Type": "text/plain"}
        assert (await post(watched, b"[]", headers)).status_code == 415


class TestShownByItsHolder:
    async def revoke(self, service: Running, token: str, **params: str) -> int:
        answer = await service.client.post("/iam/auth/revoke", data={"token": token, **params})
        return answer.status_code

    async def test_200_it_dies_with_all_that_it_gave(
        self, watched: Running, outbox: Outbox
    ) -> None:
        key = await watched.add_key()
        body = await watched.exchange(key=key)
        assert await self.revoke(watched, key.text) == 200
        assert await self.revoke(watched, key.text, token_type_hint="api_key") == 200
        assert not await works(watched, key)
        assert (await watched.get("/iam/users/me", body["access_token"])).status_code == 401
        (event,) = await trail(watched, "api_key.leaked")
        assert event["data"] == {"reported_by": "holder", "url": "", "source": ""}
        assert event["actor"]["user_id"] == watched.demo.user.id
        assert event["actor"]["api_key_id"] == key.key_id

    async def test_200_from_where_it_could_not_be_used(self, watched: Running) -> None:
        key = await watched.add_key(networks=("192.0.2.0/24",))
        assert await self.revoke(watched, key.text) == 200
        listed = await watched.administer("GET", f"/api-keys/{key.key_id}", watched.acme)
        assert listed.json()["state"] == "revoked"

    async def test_200_another_secret_kills_nothing(self, watched: Running) -> None:
        key = await watched.add_key()
        for text in (other_secret(key.text), key.text[:-1], key.text + "0", f"kt_{key.key_id}"):
            assert await self.revoke(watched, text) == 200
        assert await works(watched, key)

    async def test_401_another_client(self, watched: Running) -> None:
        key, other = await watched.add_key(), await watched.add_key()
        assert await self.revoke(watched, key.text, client_id=other.key_id) == 401
        assert await works(watched, key)
        assert await self.revoke(watched, key.text, client_id=key.key_id) == 200
        assert not await works(watched, key)
