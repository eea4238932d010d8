"""`--help` teaches: every command has examples, and they are right."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from keyturn.cli.groups import GROUPS
from keyturn.cli.root import app
from keyturn.server.domain.policy import Policy
from tests.cli.conftest import Run

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, *path: str) -> Iterator[tuple[str, Any]]:
    """All of them, with the words that call them."""
    context = group.make_context("keyturn", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join([*path, name]), command


COMMANDS = dict(commands())
WITHOUT_LOGIN = {"invitation join", "api-key inspect", "api-key leaked"}
MANAGEMENT = {name: command for name, command in COMMANDS.items() if name.split()[0] in GROUPS}


def examples(command: Any) -> list[list[str]]:
    """The words of each example, from the one after `keyturn` on."""
    return calls(command.help.partition("\b\nExample")[2].partition("\n")[2])


def calls(script: str) -> list[list[str]]:
    """The words of each call of `keyturn` in a shell's script."""
    lines = [line.strip() for line in script.replace("\\\n", " ").splitlines()]
    # What the shell does around it is not the command's.
    found = [re.search(r"(?:^|[ (])keyturn ([^)|<>]+)", line) for line in lines]
    return [shlex.split(call[1], comments=True) for call in found if call]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "version"])
class TestEveryCommand:
    def test_has_examples_that_parse(self, name: str) -> None:
        found = examples(COMMANDS[name])
        assert 1 <= len(found) <= 4
        for words in found:
            own = name.split()
            assert words[: len(own)] == own
            COMMANDS[name].make_context(name, words[len(own) :])

    def test_takes_no_secret_as_an_argument(self, name: str) -> None:
        for parameter in COMMANDS[name].params:
            takes_text = not getattr(parameter, "is_flag", False)
            secret = re.search(r"secret|password|api_key$|^code$|token$", parameter.name)
            assert not (takes_text and secret and parameter.name != "single_token")


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_has_examples_that_parse(name: str) -> None:
    context = ROOT.make_context("keyturn", [], resilient_parsing=True)
    found = examples(ROOT.get_command(context, name))
    assert len(found) == 2
    for noun, verb, *more in found:
        assert noun == name
        COMMANDS[f"{noun} {verb}"].make_context(verb, more)


def test_what_the_readme_shows_parses() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = calls("".join(re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)))
    assert len(shown) > 6
    for words in shown:
        named = 2 if words[0] in {*GROUPS, "backup", "secrets"} else 1
        COMMANDS[" ".join(words[:named])].make_context(words[0], words[named:])


@pytest.mark.parametrize("name", MANAGEMENT)
class TestEveryCommandOfManagement:
    def test_has_the_options_that_all_have(self, name: str) -> None:
        options = {option for p in MANAGEMENT[name].params for option in p.opts}
        assert "--json" in options
        assert "--profile" in options or name in WITHOUT_LOGIN

    def test_asks_before_what_cannot_be_undone(self, name: str) -> None:
        if name.split()[1] in {"delete", "remove", "revoke", "withdraw", "leave", "suspend"}:
            assert "--yes" in {option for p in MANAGEMENT[name].params for option in p.opts}


def test_a_policy_says_what_each_setting_is() -> None:
    texts = {p.name: getattr(p, "help", None) for p in COMMANDS["tenant policy"].params}
    for field in fields(Policy):
        assert "Default: " in str(texts[field.name])


class TestRoot:
    def test_lists_commands_under_headings(self, run: Run) -> None:
        text = run("--help").stdout
        headings = [text.index(f"\n{name}:\n") for name in ("Run a service", "Sign in to one")]
        assert headings == sorted(headings)
        listed = text[text.index("\nManage it:\n") :]
        assert re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE) == list(GROUPS)

    @pytest.mark.parametrize("arguments", [["tenant"], ["tenant", "--help"]])
    def test_0_a_group_says_what_it_has(self, run: Run, arguments: list[str]) -> None:
        text = run(*arguments).stdout
        assert "Usage: keyturn tenant" in text
        assert "suspend" in text

    def test_shows_no_value_of_the_environment(self, run: Run) -> None:
        for command in ("login", "token", "whoami"):
            assert "kt_x" not in run(command, "--help", api_key="kt_x", username="kt_x").stdout

    @pytest.mark.parametrize("arguments", [["--help"], ["api-key", "--help"], ["token", "-h"]])
    def test_imports_nothing_slow(self, environment: dict[str, str], arguments: list[str]) -> None:
        slow = ("keyturn.server", "httpx", "rich", "asyncio")
        code = (
            f"import sys; from keyturn.cli.root import run; run({arguments!r});"
            f" print([name for name in {slow!r} if name in sys.modules])"
        )
        out = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert out.splitlines()[-1] == "[]"
