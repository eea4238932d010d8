"""SECURITY.md and deploy/asvs.md: what they rest on exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECURITY, ASVS = ROOT / "SECURITY.md", ROOT / "deploy" / "asvs.md"

#: How many items each section of the standard has.
SECTIONS = {
    **{"9.1": 3, "9.2": 4},
    **{"10.1": 2, "10.2": 3, "10.3": 5, "10.4": 16, "10.5": 5, "10.6": 2, "10.7": 3},
}
ITEMS = [f"{section}.{n}" for section, most in SECTIONS.items() for n in range(1, most + 1)]

_TEST = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """`test_x` and `TestX::test_y` of a file."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}::{f.name}" for f in node.body if isinstance(f, functions)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def named(document: Path) -> list[tuple[str, str]]:
    """File and name of each test that a document names."""
    found: list[tuple[str, str]] = _TEST.findall(document.read_text(encoding="utf-8"))
    return found


def rows() -> list[list[str]]:
    """The cells of each item."""
    lines = ASVS.read_text(encoding="utf-8").splitlines()
    items = [line for line in lines if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in items]


class TestNamedTests:
    @pytest.mark.parametrize("document", [SECURITY, ASVS], ids=lambda path: path.name)
    def test_exist(self, document: Path) -> None:
        found = named(document)
        assert len(found) > 40
        missing = [
            f"{path}::{name}"
            for path, name in found
            if not (ROOT / path).is_file() or name not in names_in(path)
        ]
        assert missing == []

    @pytest.mark.parametrize("document", [SECURITY, ASVS], ids=lambda path: path.name)
    def test_are_written_so_that_they_are_found(self, document: Path) -> None:
        text = document.read_text(encoding="utf-8")
        assert text.count("::test_") + text.count("::Test") == sum(
            1 + name.count("::") for _, name in named(document)
        )

    def test_what_is_not_there_is_noticed(self) -> None:
        assert "test_is_noticed" not in names_in("tests/test_house.py")
        assert "TestReadme::test_documents_the_setting" in names_in("tests/test_house.py")


class TestAsvs:
    def test_each_item_once_and_in_order(self) -> None:
        assert [row[0] for row in rows()] == ITEMS

    @pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0]))
    def test_each_says_whether_and_why(self, row: list[str]) -> None:
        _, requirement, status, why, shown = row
        assert requirement
        assert status in {"met", "partly", "not applicable", "not met"}
        assert why or status == "met"
        assert _TEST.search(shown) or status == "not met"

    def test_the_numbers_are_right(self) -> None:
        states = [row[2] for row in rows()]
        text = ASVS.read_text(encoding="utf-8")
        told = re.search(
            r"Of (\d+) items (\d+) are met, (\d+) partly, (\d+) are not met, and (\d+)", text
        )
        assert told is not None
        wanted = [states.count(s) for s in ("met", "partly", "not met", "not applicable")]
        assert [int(number) for number in told.groups()] == [len(ITEMS), *wanted]


class TestThreatModel:
    def test_every_row_of_attackers_and_faults_names_a_test(self) -> None:
        text = SECURITY.read_text(encoding="utf-8")
        for heading in ("## Who attacks", "## Faults"):
            table = text.partition(heading)[2].partition("\n## ")[0]
            body = [line for line in table.splitlines() if line.startswith("|")][2:]
            assert len(body) > 15
            assert [line for line in body if not _TEST.search(line)] == []


class TestLocks:
    @pytest.mark.parametrize("name", ["server", "dev"])
    def test_every_dependency_is_pinned_by_hash(self, name: str) -> None:
        text = (ROOT / "deploy" / "lock" / f"{name}.txt").read_text(encoding="utf-8")
        joined = text.replace("\\\n", " ").splitlines()
        pinned = [line for line in joined if line.strip() and not line.lstrip().startswith("#")]
        assert len(pinned) > 20
        for line in pinned:
            assert re.match(r"[\w.\[\],-]+==\S+ ", line)
            assert "--hash=sha256:" in line
