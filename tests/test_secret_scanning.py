"""deploy/secret-scanning: what scanners are given finds every credential, and little else.

Credentials are made here at run time: one in the source would be found by every scanner.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tomllib
import zlib
from collections import Counter
from math import log2
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.server.domain.authority import UNLISTED, Authority
from keyturn.server.domain.ids import ALPHABET, SECRET_LETTERS, base62, new_id, uuid7_int
from keyturn.server.domain.key_text import key_parts, key_text
from keyturn.server.domain.sessions import RefreshState
from keyturn.server.tokens.api_keys import ApiKeys
from keyturn.server.tokens.refresh import RefreshSealer
from tests.test_house import tracked_files
from tests.unit.tokens.conftest import PROPERTY, derived

ROOT = Path(__file__).parents[1]
HERE = ROOT / "deploy" / "secret-scanning"

RULES: dict[str, dict[str, Any]] = {
    rule["id"].replace("-", "_"): rule
    for rule in tomllib.loads((HERE / "gitleaks.toml").read_text())["rules"]
}
PATTERNS: dict[str, dict[str, Any]] = {
    pattern["name"]: pattern
    for pattern in json.loads((HERE / "patterns.json").read_text())["patterns"]
}
KEY, REFRESH, CODE = (re.compile(PATTERNS[name]["regex"]) for name in PATTERNS)


def new_key() -> str:
    return ApiKeys(derived(purpose="pepper", length=32)).new().text


def new_refresh(ceiling: Authority = UNLISTED) -> str:
    now = 1_900_000_000
    state = RefreshState(new_id(), 0, base62(uuid7_int(), 22), now, now, ceiling, 0)
    return RefreshSealer(derived(purpose="refresh")).seal(state)


def new_code() -> str:
    return "kti_" + base62(secrets.randbits(256), SECRET_LETTERS)


MADE = {
    "keyturn_api_key": new_key,
    "keyturn_refresh_token": new_refresh,
    "keyturn_invitation_code": new_code,
}


def entropy(text: str) -> float:
    """Shannon's, in bits a letter, as gitleaks reckons it."""
    return -sum(n / len(text) * log2(n / len(text)) for n in Counter(text).values())


def alike() -> str:
    """What has a key's form, with a checksum by chance."""
    parts = ("".join(secrets.choice(ALPHABET) for _ in range(n)) for n in (22, 43, 6))
    return "_".join(["kt", *parts])


class TestAllSayTheSame:
    def test_rules_and_patterns(self) -> None:
        assert RULES.keys() == PATTERNS.keys() == MADE.keys()
        for name, pattern in PATTERNS.items():
            rule = RULES[name]
            assert rule["regex"].replace("(", "").replace(")", "") == pattern["regex"]
            assert rule["keywords"] == [pattern["keyword"]]
            assert rule["secretGroup"] == 1

    @pytest.mark.parametrize("name", PATTERNS)
    def test_the_readme(self, name: str) -> None:
        text = (HERE / "README.md").read_text(encoding="utf-8")
        assert f"`{PATTERNS[name]['regex']}`" in text
        security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
        [row] = [
            line
            for line in security.splitlines()
            if line.startswith(f"| {PATTERNS[name]['title'].removeprefix('Keyturn ')} |")
        ]
        for _ in range(20):  # what is told there is looser, at most
            assert re.fullmatch(row.split("`")[3], MADE[name]())

    def test_the_plugin(self) -> None:
        text = (HERE / "detect_secrets_keyturn.py").read_text(encoding="utf-8")
        for pattern in PATTERNS.values():
            assert f're.compile(r"{pattern["regex"]}")' in text

    def test_no_file_holds_what_it_looks_for(self) -> None:
        for path in tracked_files():
            text = path.read_bytes().decode("utf-8", "replace")
            assert not [match[0] for match in KEY.finditer(text) if key_parts(match[0])]


class TestFindsEveryCredential:
    @PROPERTY
    @given(st.integers(0, 2**128 - 1), st.integers(0, 2**256 - 1))
    def test_every_key_that_can_be(self, key_id: int, secret: int) -> None:
        text = key_text(base62(key_id, 22), base62(secret, SECRET_LETTERS))
        assert KEY.fullmatch(text)
        for line in (f"export KEY={text}", f'"{text}"', f"https://x/?k={text}&a", f"user:{text}@"):
            assert [match[0] for match in KEY.finditer(line)] == [text]

    @PROPERTY
    @given(st.integers(0, 2**256 - 1))
    def test_every_invitation_code(self, secret: int) -> None:
        text = "kti_" + base62(secret, SECRET_LETTERS)
        assert CODE.fullmatch(text)

    @PROPERTY
    @given(st.integers(0, 3))
    def test_every_refresh_token(self, tenants: int) -> None:
        ceiling = Authority(new_id() if tenants == 1 else None, {} if tenants else None)
        text = new_refresh(ceiling)
        assert REFRESH.search(f"token: {text}, next")
        assert REFRESH.fullmatch(text)

    @pytest.mark.parametrize("name", MADE)
    def test_with_as_much_entropy_as_the_rule_wants(self, name: str) -> None:
        least = min(entropy(MADE[name]()) for _ in range(300))
        assert least > RULES[name]["entropy"] + 0.3


class TestFindsLittleElse:
    def test_no_near_miss_of_a_key(self) -> None:
        text = new_key()
        prefix, key_id, secret, checksum = text.split("_")
        for miss in (
            f"{prefix}_{key_id}",
            f"{prefix}_{key_id}_***",
            f"{prefix}_{key_id[:-1]}_{secret}_{checksum}",
            f"{prefix}_{key_id}_{secret}x_{checksum}",
            f"{prefix}_{key_id}_{secret}_{checksum[:-1]}",
            f"{prefix}_{key_id}_{secret}_{checksum}0",
            f"{prefix}_{key_id}_{secret}_{checksum}_",
            f"{prefix}-{key_id}-{secret}-{checksum}",
            f"x{text}",
            f"ktr_{key_id}_{secret}_{checksum}",
            text.replace(secret[5], "-"),
            text.upper().replace("KT_", "K_"),
            "kt_…",
            "kt_<key id>_<secret>_<crc32>",
        ):
            assert not KEY.search(miss)

    def test_the_checksum_weeds_out_what_only_looks_like_a_key(self) -> None:
        lookalikes = [alike() for _ in range(2_000)]
        assert all(KEY.fullmatch(text) for text in lookalikes)
        assert [text for text in lookalikes if key_parts(text)] == []

    def test_the_checksum_is_as_the_readme_tells(self) -> None:
        body, _, checksum = new_key().rpartition("_")
        number = 0
        for letter in checksum:
            number = number * 62 + ALPHABET.index(letter)
        assert number == zlib.crc32(body.encode())


@pytest.fixture(scope="module")
def gitleaks() -> str:
    found = shutil.which("gitleaks")
    if found is None:
        pytest.skip("NOT SHOWN: gitleaks itself is not installed, its rules were read by Python")
    return found


class TestGitleaksItself:
    def scan(self, gitleaks: str, where: Path, report: Path) -> list[dict[str, Any]]:
        config = ["--config", str(HERE / "gitleaks.toml")]
        out = ["--report-format", "json", "--report-path", str(report), "--no-banner"]
        done = subprocess.run(
            [gitleaks, "dir", str(where), *config, *out, "--exit-code", "0"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(report.read_text())
        return found

    def test_finds_each_kind_by_its_rule(self, gitleaks: str, tmp_path: Path) -> None:
        made = {name: [make() for _ in range(20)] for name, make in MADE.items()}
        (tmp_path / "in").mkdir()
        for name, texts in made.items():
            lines = [f'{name}_{n} = "{text}"' for n, text in enumerate(texts)]
            (tmp_path / "in" / f"{name}.env").write_text("\n".join(lines))
        found = self.scan(gitleaks, tmp_path / "in", tmp_path / "report.json")
        for name, texts in made.items():
            by_rule = {f["Secret"] for f in found if f["RuleID"].replace("-", "_") == name}
            assert by_rule == set(texts)

    def test_leaves_examples_alone(self, gitleaks: str, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        example = "_".join(["kt", "x" * 22, "S" * 43, "c0ffee"])
        named = "_".join(["kt", "0123456789abcdefghijkl", ("EXAMPLE" + ALPHABET)[:43], "c0ffee"])
        text = f"{example}\n{named}\nkt_<key id>_<secret>_<crc32>\nktr_…\nktr_{'a' * 120}\n"
        (tmp_path / "in" / "README.md").write_text(text)
        assert self.scan(gitleaks, tmp_path / "in", tmp_path / "report.json") == []

    def test_finds_nothing_in_this_repository(self, gitleaks: str, tmp_path: Path) -> None:
        for path in tracked_files():
            copy = tmp_path / "in" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        assert self.scan(gitleaks, tmp_path / "in", tmp_path / "report.json") == []
