"""No secret in the logs. The samples are made at run time: none stands in a file."""

import base64
import json
import logging
import re
import secrets
import string
from collections.abc import Iterator
from typing import Any

import pytest

from keyturn.server import logs
from keyturn.server.domain.ids import base62, new_id, uuid7_int

LETTERS = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(length))


KEY_ID = base62(uuid7_int(), 22)
SECRET = random_text(43)
KEY = f"kt_{KEY_ID}_{SECRET}_{random_text(6)}"


def jwt() -> str:
    parts = [json.dumps({"alg": "ES256"}), json.dumps({"sub": new_id()}), random_text(64)]
    return ".".join(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts)


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.PINNED}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)
    logging.captureWarnings(False)


def configure(**given: Any) -> None:
    """Ours alone: the session's own log must not see the secrets that these tests log."""
    logging.getLogger().handlers.clear()
    logs.configure(**given)


def tell(event: str, **fields: object) -> None:
    logging.getLogger("x").info(event, extra={"fields": fields})


def last_record(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    record: dict[str, object] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return record


SHAPES = {
    "api key": (KEY, SECRET),
    "api key with a typo": (KEY[:-2], SECRET),
    "api key cut short": (KEY[:40], KEY[26:40]),
    "refresh token": (f"ktr_{(refresh := random_text(80))}", refresh),
    "invitation code": (f"kti_{(code := random_text(43))}", code),
    "invitation code cut short": (f"kti_{code[:20]}", code[:20]),
    "webhook secret": (
        f"whsec_{(signs := base64.b64encode(secrets.token_bytes(32)).decode())}",
        signs,
    ),
    "webhook secret with signs": ("whsec_" + "ab+/" * 10 + "abc=", "ab+/ab+/"),
    "webhook secret in a URL": ("whsec_" + "ab%2Bx%2F" * 5 + "abc%3D", "ab%2Bx%2Fab"),
    "webhook secret cut short": (f"whsec_{signs[:9]}", signs[:9]),
    "jwt": ((token := jwt()), token.split(".")[1]),
    "jwt without signature": (token.rpartition(".")[0], token.split(".")[1]),
    "basic": (f"Basic {(pair := base64.b64encode(SECRET.encode()).decode())}", pair),
    "bearer": (f"bearer {SECRET}", SECRET),
    "pem": (
        f"-----BEGIN EC PRIVATE {'KEY'}-----\n{SECRET}\n-----END EC PRIVATE {'KEY'}-----",
        SECRET,
    ),
    "pem cut short": (f"-----BEGIN PRIVATE {'KEY'}-----\n{SECRET}", SECRET),
    "private jwk": (json.dumps({"kty": "EC", "d": SECRET}), SECRET),
    "private jwk in json": (json.dumps(json.dumps({"kty": "EC", "d": SECRET})), SECRET),
    "url": (f"postgresql://user:{SECRET}@host/db", SECRET),
    "url with @ in it": (f"postgresql://user:a@{SECRET}@host/db", SECRET),
    "redis url": (f"redis://:{SECRET}@host/0", SECRET),
    "form": (f"grant_type=password&username=a&password={SECRET}&x=1", SECRET),
    "json": (json.dumps({"client_secret": SECRET}), SECRET),
    "repr": (str({"access_token": SECRET}), SECRET),
    "quoted with escapes": (json.dumps({"password": f'a"b {SECRET}'}), SECRET),
    "assignment": (f"master_secret = {SECRET}", SECRET),
}


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_masked_in_any_text(self, shape: str) -> None:
        text, secret = SHAPES[shape]
        masked = logs.redact(f"before ({text}) after")
        assert secret not in masked
        assert "***" in masked
        assert masked.startswith("before (")

    @pytest.mark.parametrize("shape", SHAPES)
    def test_masking_twice_changes_nothing(self, shape: str) -> None:
        once = logs.redact(SHAPES[shape][0])
        assert logs.redact(once) == once

    def test_the_key_id_stays(self) -> None:
        assert logs.redact(f"wrong: {KEY}.") == f"wrong: kt_{KEY_ID}_***."

    def test_the_rest_of_a_url_stays(self) -> None:
        text = logs.redact(f"postgresql://ada:{SECRET}@db:5432/keyturn")
        assert text == "postgresql://ada:***@db:5432/keyturn"

    @pytest.mark.parametrize(
        "text",
        [
            "http://127.0.0.1:8080/iam/auth/token",
            "token_type and expires_in are there",
            f"key {KEY_ID} of user {new_id()} was used",
            "refresh_token_lifetime=1800",
        ],
        ids=["url", "words", "ids", "setting"],  # the same in every process
    )
    def test_plain_texts_stay(self, text: str) -> None:
        assert logs.redact(text) == text

    def test_long_texts_are_cut_without_leaving_half_a_secret(self) -> None:
        text = "x" * (logs.MAX_TEXT - 30) + f" postgresql://user:{SECRET}@host " + "y" * 1_000_000
        masked = logs.redact(text)
        assert len(masked) < logs.MAX_TEXT + 64
        assert SECRET[:4] not in masked
        assert masked.endswith("characters more)")

    def test_hostile_texts_are_quick(self) -> None:
        for piece in ("kt_", "eyJ.", "://:", "-----BEGIN PRIVATE KEY-----", 'password="\\', "a-"):
            logs.redact(piece * 100_000, limit=16_384)  # a timeout of the test run would tell


class TestFields:
    @pytest.mark.parametrize(
        "name",
        [
            "password", "api_key", "x-api-key", "client_secret", "refresh_token", "access_token",
            "token", "subject_token", "Authorization", "authorization", "secret", "master_secret",
            "Cookie", "private_jwk", "pepper",
        ],
    )  # fmt: skip
    def test_masked_by_name_whatever_the_shape(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure()
        tell("event", **{name: "ab", "deep": [{name: 12345}]})
        record = last_record(capsys)
        assert record[name] == "***"
        assert record["deep"] == [{name: "***"}]

    def test_other_fields_stay(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        given = {"key_id": KEY_ID, "token_type": "bearer", "count": 3, "flag": True, "none": None}
        tell("event", **given)
        assert given.items() <= last_record(capsys).items()

    def test_any_object_is_bounded_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Leaky:
            def __str__(self) -> str:
                return KEY

        nested: list[object] = []
        nested.append(nested)
        configure()
        tell(
            "event", o=Leaky(), b=KEY.encode(), many=list(range(1_000)), nested=nested,
            big=10**30, text="x" * 1_000_000, surrogate="\ud800",
        )  # fmt: skip
        err = capsys.readouterr().err
        assert SECRET not in err
        assert len(err) < 10_000
        json.loads(err)


class TestEveryWayOut:
    @pytest.mark.parametrize("form", ["json", "console"])
    def test_exception_texts(self, form: str, capsys: pytest.CaptureFixture[str]) -> None:
        configure(form=form)
        try:
            raise ValueError(f"no such key: {KEY}")
        except ValueError:
            logging.getLogger("x").exception("failed")
        err = capsys.readouterr().err
        assert SECRET not in err
        assert err.count(f"kt_{KEY_ID}_***") == 1
        assert err.count("Traceback") == 1

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_stacks(self, form: str, capsys: pytest.CaptureFixture[str]) -> None:
        configure(form=form)
        logging.getLogger("x").info("here", stack_info=True)
        assert capsys.readouterr().err.count("Stack (most recent call last)") == 1

    def test_what_a_request_says_is_no_line_of_its_own(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(form="console")
        tell("request", path="/x\n2026-01-01 [info] forged\x1b[31m\r\x00\u2028")
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert r"/x\n2026-01-01 [info] forged\x1b[31m\r\x00\u2028" in told

    def test_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure(form="console")
        tell("request", status=400, password=SECRET)
        line = capsys.readouterr().err
        assert re.fullmatch(r"\S+Z \[info +\] request +\[x\] status=400 password=\*{3}\n", line)

    def test_messages_of_libraries(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        logging.getLogger("uvicorn.error").info("got %s", KEY)
        record = last_record(capsys)
        assert record["event"] == f"got kt_{KEY_ID}_***"
        assert record["logger"] == "uvicorn.error"
        assert record["level"] == "info"
        assert "timestamp" in record

    def test_records_that_cannot_be_formatted(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        logging.getLogger("x").error("%d", KEY)
        err = capsys.readouterr().err
        assert SECRET not in err
        assert "could not be logged" in err

    def test_request_id(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure()
        bound = logs.request_id.set("r-1")
        logging.getLogger("x").info("one")
        tell("two")
        logs.request_id.reset(bound)
        records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [record["request_id"] for record in records] == ["r-1", "r-1"]

    def test_one_line_a_record_also_when_configured_twice(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure()
        configure()
        tell("one\ntwo")
        assert len(capsys.readouterr().err.splitlines()) == 1

    @pytest.mark.parametrize("name", ["authlib", "aiosqlite", "sqlalchemy.engine.Engine"])
    def test_talkative_loggers_are_pinned(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configure(level="debug")
        logging.getLogger(name).debug("parameters")
        logging.getLogger("other").debug("heard")
        err = capsys.readouterr().err
        assert "parameters" not in err
        assert "heard" in err

    def test_level(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure(level="warning")
        tell("quiet")
        logging.getLogger("y").info("quiet")
        logging.getLogger("authlib").info("quiet")
        assert capsys.readouterr().err == ""
