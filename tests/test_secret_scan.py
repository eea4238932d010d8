"""The scan finds every kind of secret, and a session that logged one fails."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest

from tests.secret_scan import SecretScan, scan_file, scan_for_secrets

ROOT = Path(__file__).parent.parent

# Put together here, so that this file is no finding for scanners of repositories.
KEY_ID = "0123456789abcdefghijkl"
API_KEY = "_".join(["kt", KEY_ID, "S" * 43, "c0ffee"])
REFRESH_TOKEN = "ktr" + "_" + "Ab-_9" * 12
WEBHOOK_SECRET = "whsec" + "_" + "Ab/" * 14 + "x="
INVITATION = "kti" + "_" + "Ab9" * 14 + "x"
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"ES256","typ":"at+jwt"}', b'{"sub":"someone"}', b"s" * 64)
)
PEM = "-----BEGIN " + "EC PRIVATE KEY-----\nMHcCAQEE\n"
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "x" * 43, "d": "d" * 43}
BASIC = "Basic " + base64.b64encode(f"{KEY_ID}:{API_KEY}".encode()).decode()

SECRETS = {
    "api key": API_KEY,
    "refresh token": REFRESH_TOKEN,
    "webhook secret": WEBHOOK_SECRET,
    "invitation code": INVITATION,
    "jwt": JWT,
    "pem": PEM,
    "pem in one line": repr(PEM),
    "jwk": json.dumps(JWK),
    "compact jwk": json.dumps(JWK, separators=(",", ":")),
    "jwk in a json log line": json.dumps({"event": json.dumps(JWK)}),
    "jwk as a dict": repr(JWK),
    "basic": f"authorization: {BASIC}",
}


class TestScanForSecrets:
    @pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
    def test_finds(self, secret: str) -> None:
        assert scan_for_secrets(f"before {secret} after")

    @pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
    def test_does_not_repeat_the_secret(self, secret: str) -> None:
        for finding in scan_for_secrets(secret):
            assert len(finding) < 40
            assert secret not in finding

    @pytest.mark.parametrize(
        "text",
        [
            "",
            f"key kt_{KEY_ID} was used",
            "kt_… was refused, ktr_… too",
            "Authorization: Bearer eyJ…",
            "-----BEGIN PUBLIC KEY-----",
            json.dumps({"kty": "EC", "x": "x" * 43, "y": "y" * 43, "kid": "d" * 43}),
            'WWW-Authenticate: Basic realm="keyturn", charset="UTF-8"',
            "basic credentials are accepted",
            "id=0192f3b1-7a6c-7c58-9a63-5f0a4f3f0d9e",
        ],
    )
    def test_leaves_public_text_alone(self, text: str) -> None:
        assert scan_for_secrets(text) == []


class TestScanFile:
    def test_names_file_line_and_logger_and_masks_the_secret(self, tmp_path: Path) -> None:
        log = tmp_path / "live.log"
        log.write_text(f"INFO keyturn fine\nDEBUG keyturn.oauth got {API_KEY} now\n")
        [finding] = scan_file(log)
        assert finding.startswith(f"{log}:2: DEBUG keyturn.oauth got kt_")
        assert finding.endswith("[API key] now")
        assert API_KEY not in finding

    def test_masks_every_secret_of_a_long_line(self, tmp_path: Path) -> None:
        log = tmp_path / "live.log"
        log.write_text(f"logger {'x' * 900} {API_KEY} {JWT} {REFRESH_TOKEN} {'y' * 900}\n")
        [finding] = scan_file(log)
        assert "[API key]" in finding
        assert not {API_KEY, JWT, REFRESH_TOKEN} & set(finding.split())

    def test_reads_binary_files(self, tmp_path: Path) -> None:
        dump = tmp_path / "dump.db"
        dump.write_bytes(b"\x00\xff\xfe" + API_KEY.encode() + b"\x00")
        assert len(scan_file(dump)) == 1


class TestSession:
    def test_everything_is_logged_at_debug(self, session_log: Path) -> None:
        # Others are held at INFO by the service itself (keyturn.server.logs.PINNED).
        for name in ("keyturn", "redis", "uvicorn", "httpx"):
            logging.getLogger(f"{name}.scan_self_test").debug("a line of %s", name)
            assert f"DEBUG {name}.scan_self_test a line of {name}\n" in session_log.read_text()

    def test_client_libraries_are_left_out(self, session_log: Path) -> None:
        logging.getLogger("oauthlib.scan_self_test").debug("not Keyturn's")
        assert "oauthlib.scan_self_test" not in session_log.read_text()

    def test_a_planted_secret_fails_the_session(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("TMPDIR", str(pytester.path))
        pytester.makepyfile(
            f"""
            import logging

            def test_session_log():
                logging.getLogger("keyturn.oauth").debug("answered %s", {JWT!r})

            def test_server_log(log_dir):
                (log_dir / "server.log").write_text("fine\\nkey " + {API_KEY!r})

            def test_client_log():
                logging.getLogger("oauthlib.oauth2").debug("sent %s", {REFRESH_TOKEN!r})
            """
        )
        result = pytester.runpytest_subprocess("-p", "tests.conftest", "-p", "no:valkey")
        result.assert_outcomes(passed=3)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        output = result.stdout.str()
        assert "/server.log:2: key kt_0123456…[API key]" in output
        assert "DEBUG keyturn.oauth answered eyJhbGciOi…[JWT]" in output
        assert "2 logged lines hold a secret" in output
        assert not any(secret in output for secret in (API_KEY, JWT, REFRESH_TOKEN))

    def test_a_handler_that_was_removed_comes_back(self) -> None:
        scan = SecretScan()
        root = logging.getLogger()
        try:
            root.removeHandler(scan._handler)
            scan.pytest_runtest_setup()
            assert scan._handler in root.handlers
        finally:
            scan.pytest_unconfigure()
        assert scan._handler not in root.handlers
        assert not scan.root.exists()
