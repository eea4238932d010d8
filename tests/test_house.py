"""The rules of the house that no other tool holds: each is a test."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.server.settings import describe

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
SERVER = SRC / "keyturn" / "server"
MODULES = sorted(SRC.rglob("*.py"))

MAX_LINES = 320

#: What `keyturn[server]` brings, by the names it is imported under.
SERVER_EXTRA = (
    "aiosqlite",
    "alembic",
    "argon2",
    "asyncpg",
    "authlib",
    "httptools",
    "limits",
    "opentelemetry",
    "orjson",
    "prometheus_client",
    "pydantic",
    "pydantic_core",
    "redis",
    "rich",
    "sqlalchemy",
    "starlette",
    "typer",
    "uvicorn",
    "uvloop",
)

# In two halves, so that this file does not find itself. What a machine or a registry is called
# belongs into no file: lock files name versions and hashes, not where they came from.
ELSEWHERE = (
    "/ro" + "ot/",
    "/ho" + "me/",
    "/Us" + "ers/",
    "C:\\Us" + "ers",
    "pypi" + ".org",
    "pypi" + ".python.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "crates" + ".io",
    "proxy.golang" + ".org",
    "jfrog" + ".io",
    "/simple" + "/ --trusted-host",
)


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


#: The domain, and what it shares with the libraries.
PURE = [SRC / "keyturn" / "paths.py", *sorted((SERVER / "domain").rglob("*.py"))]


class TestDomainIsPure:
    @pytest.mark.parametrize("path", PURE, ids=name_of)
    def test_imports_only_the_standard_library_and_itself(self, path: Path) -> None:
        siblings = {module.stem for module in (SERVER / "domain").glob("*.py")}
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    assert alias.name.partition(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module is not None
                assert node.module.partition(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module] if node.module else [a.name for a in node.names]
                known = siblings if node.level == 1 else {"paths"}
                assert node.level in (1, 3)
                assert {m.partition(".")[0] for m in modules} <= known

    def test_there_are_modules_to_look_at(self) -> None:
        assert len(list((SERVER / "domain").glob("*.py"))) > 5


class TestModulesAreShort:
    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_under_320_lines(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES


def undocumented(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Public functions, classes and methods of public classes without a docstring.

    A Protocol's methods are excused where their names and types say all.
    """
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield f"{owner}{node.name}"
        if isinstance(node, ast.ClassDef) and not any(
            isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases
        ):
            yield from undocumented(node.body, f"{node.name}.")


class TestPublicNamesAreDocumented:
    @pytest.mark.parametrize(
        "path",
        [p for p in MODULES if {SERVER / "services", SERVER / "domain"} & set(p.parents)],
        ids=name_of,
    )
    def test_in_services_and_domain(self, path: Path) -> None:
        assert list(undocumented(parsed(path).body)) == []

    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_every_module_with_code_says_what_it_is_for(self, path: Path) -> None:
        tree = parsed(path)
        assert not tree.body or ast.get_docstring(tree)


class TestReadme:
    @pytest.mark.parametrize("row", describe(), ids=lambda row: row[0])
    def test_documents_the_setting(self, row: tuple[str, str, str, str]) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        assert f"`{row[0]}`" in readme
        assert row[3] in readme


# Finders are asked in order: this one refuses first, as if the packages were not installed.
BLOCK = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SERVER_EXTRA!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Missing())
"""


def without_the_extra(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(SRC)},
    )


class TestLightPackage:
    def test_the_block_blocks(self) -> None:
        assert "No module named 'starlette'" in without_the_extra("import starlette").stderr

    def test_keyturn_imports_without_the_extra(self) -> None:
        done = without_the_extra("import keyturn, keyturn.cli; print(keyturn.__version__)")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()

    @pytest.mark.parametrize("option", ["version", "--version"])
    def test_the_version_is_told_without_the_extra(self, option: str) -> None:
        done = without_the_extra(
            f"sys.argv[1:] = [{option!r}]; from keyturn.cli import main; main()"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("keyturn ")

    @pytest.mark.parametrize("arguments", [[], ["serve"], ["dev"], ["--help"]])
    def test_a_command_says_in_one_line_what_to_install(self, arguments: list[str]) -> None:
        done = without_the_extra(
            f"sys.argv[1:] = {arguments}; from keyturn.cli import main; main()"
        )
        assert done.returncode != 0
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("keyturn: ")
        extra = "server" if {"serve", "dev"} & set(arguments) else "cli"
        assert f"pip install 'keyturn[{extra}]'" in line

    @pytest.mark.parametrize("package", ["client", "resource"])
    def test_what_is_light_imports_without_the_extra(self, package: str) -> None:
        if not (SRC / "keyturn" / package).is_dir():
            return  # not written yet
        done = without_the_extra(f"import keyturn.{package}")
        assert (done.returncode, done.stderr) == (0, "")


def tracked_files() -> list[Path]:
    """What git knows of, or everything in the source tree where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return [*MODULES, ROOT / "README.md", ROOT / "pyproject.toml"]
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


class TestTrackedFiles:
    def test_name_no_registry_and_nobodys_machine(self) -> None:
        found = []
        for path in tracked_files():
            text = path.read_bytes().decode("utf-8", "replace")
            for number, line in enumerate(text.splitlines(), 1):
                found += [
                    f"{path.relative_to(ROOT)}:{number}: {word}"
                    for word in ELSEWHERE
                    if word in line
                ]
        assert found == []

    def test_there_are_files_to_look_at(self) -> None:
        assert len(tracked_files()) > 20
