"""No secret in any log: everything a test session logs is kept at DEBUG and searched at its end.

`SecretScan` is the pytest plugin that does it (registered in `conftest.py`); `scan_for_secrets`
and `scan_file` can be used on anything else, such as a dump of a database.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The log of client-side libraries is not Keyturn's: a program that calls the service owns its
# credentials and decides what it prints. These print whole requests and answers at DEBUG.
CLIENT_LOGGERS = (
    "authlib.integrations",
    "hypothesis",
    "oauthlib",
    "requests_oauthlib",
    "urllib3",
)

_ROOT = "KEYTURN_TEST_LOGS"

_API_KEY = re.compile(r"kt_[0-9A-Za-z]{22}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")
_INVITATION = re.compile(r"kti_[0-9A-Za-z]{43}")
_COOKIE = re.compile(r"ktc_[0-9A-Za-z]{22}_[0-9]+_[0-9A-Za-z]{43}")
_WEBHOOK_SECRET = re.compile(r"whsec_[0-9A-Za-z+/]{43}=")
_REFRESH_TOKEN = re.compile(r"ktr_[0-9A-Za-z_-]{20,}")
_JWT = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}", re.ASCII)
_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
# In JSON, in JSON inside a JSON string, and in the text of a Python dict.
_JWK_PRIVATE = re.compile(r"""\\?["']d\\?["']\s*:\s*b?\\?["']([\w-]{16,})""", re.ASCII)
_BASIC = re.compile(r"\bBasic\s+([0-9A-Za-z+/]{12,}={0,2})", re.IGNORECASE)

# Each pattern with a text it cannot match without: most lines hold none of them.
_KINDS = (
    ("API key", "kt_", _API_KEY),
    ("invitation code", "kti_", _INVITATION),
    ("refresh token", "ktr_", _REFRESH_TOKEN),
    ("console cookie", "ktc_", _COOKIE),
    ("webhook secret", "whsec_", _WEBHOOK_SECRET),
    ("JWT", "eyJ", _JWT),
    ("private key", "PRIVATE KEY", _PEM),
    ("private JWK", ":", _JWK_PRIVATE),
    ("Basic credentials", " ", _BASIC),
)


@dataclass(frozen=True)
class Secret:
    """One secret found in a text: what it is and where it stands, never the secret itself."""

    kind: str
    start: int
    end: int
    masked: str


def find_secrets(text: str) -> Iterator[Secret]:
    """Yield the secrets in a text, kind by kind."""
    for kind, hint, pattern in _KINDS:
        if hint not in text:
            continue
        for match in pattern.finditer(text):
            if pattern is _BASIC and not _is_user_and_password(match[1]):
                continue
            yield Secret(kind, match.start(), match.end(), f"{match[0][:10]}…[{kind}]")


def scan_for_secrets(text: str) -> list[str]:
    """Return a masked description of each secret in a text; an empty list is a clean text."""
    return [secret.masked for secret in find_secrets(text)]


def scan_file(path: Path) -> list[str]:
    """Return `file:line: the line with its secrets masked` for each line that holds one.

    Binary files are read as text as far as that goes, so a database file can be scanned too.
    """
    findings = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if secrets := list(find_secrets(line)):
                findings.append(f"{path}:{number}: {_masked(line.rstrip(), secrets)}")
    return findings


def _masked(line: str, secrets: list[Secret], width: int = 400) -> str:
    position, parts = 0, []
    for secret in sorted(secrets, key=lambda secret: secret.start):
        if secret.start >= position:
            parts += [line[position : secret.start], secret.masked]
        position = max(position, secret.end)
    parts.append(line[position:])
    text = "".join(parts)
    if len(text) <= width:
        return text
    # Keep the beginning, which names the logger, and the surroundings of the first secret.
    first = min(secret.start for secret in secrets)
    return text[:120] + " […] " + text[max(120, first - 120) : max(120, first) + 160]


def _is_user_and_password(encoded: str) -> bool:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in decoded and not decoded.endswith(b":")


class SecretScan:
    """A pytest plugin: keep the session's logs, scan them at its end, fail it on a finding.

    Files that fixtures put below `log_dir` (the output of live servers, dumps) are scanned too.
    When pytest-xdist spreads the tests over processes, all log into one directory, and the one
    that started them scans it.
    """

    def __init__(self, worker: str = "") -> None:
        """`worker`: this process's name among those that xdist started."""
        if worker:
            self.root = Path(os.environ[_ROOT])
        else:
            self.root = Path(tempfile.mkdtemp(prefix="keyturn-test-logs-"))
            os.environ[_ROOT] = str(self.root)
        self.log_dir = self.root / f"live-{worker}"
        self.log_dir.mkdir()
        self.session_log = self.root / f"session-{worker}.log"
        self.findings: list[str] = []
        # A process forked by a test, or started by xdist, leaves the end to another.
        self._owner = 0 if worker else os.getpid()
        self._handler = logging.FileHandler(self.session_log, encoding="utf-8", errors="replace")
        self._handler.setLevel(logging.DEBUG)
        self._handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
        )
        self._handler.addFilter(_not_of_a_client)
        self._attach()

    def _attach(self) -> None:
        root = logging.getLogger()
        root.setLevel(logging.DEBUG)
        if self._handler not in root.handlers:
            root.addHandler(self._handler)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Attach again: code under test that sets up logging may have replaced the handlers."""
        self._attach()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Scan, after the session's fixtures have stopped what they had started."""
        if os.getpid() != self._owner:
            return
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()
        for path in sorted(path for path in self.root.rglob("*") if path.is_file()):
            self.findings += scan_file(path)
        if self.findings and session.exitstatus in {
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        }:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the secrets stand."""
        if not self.findings:
            return
        terminalreporter.section("secrets in the logs", red=True, bold=True)
        for finding in self.findings[:50]:
            terminalreporter.write_line(finding)
        if len(self.findings) > 50:
            terminalreporter.write_line(f"… and {len(self.findings) - 50} more lines")
        terminalreporter.write_line(
            f"{len(self.findings)} logged lines hold a secret; the session fails for it",
            red=True,
        )

    def pytest_unconfigure(self) -> None:
        """Remove the logs, unless someone has to look into them."""
        if os.getpid() == self._owner and not self.findings:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
            shutil.rmtree(self.root, ignore_errors=True)


def _not_of_a_client(record: logging.LogRecord) -> bool:
    return not any(
        record.name == name or record.name.startswith(f"{name}.") for name in CLIENT_LOGGERS
    )
