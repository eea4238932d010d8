"""The command line does it all: every operation of openapi.yaml has a command that calls it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import yaml

from keyturn.cli import names
from tests.cli.conftest import Run
from tests.cli.test_help import COMMANDS, examples

BASE = "http://keyturn.localhost"
ID = "01989e6c-0000-7000-8000-000000000001"
#: What programs ask that got a token, not people who manage.
FOR_PROGRAMS = {
    *("introspect", "currentTenant"),
    *("followRevocations", "getPolicy", "verifyCall", "reportLeaks"),
    "previewInvitation",
}

#: An answer to anything, with whatever some command looks for in it.
ANSWER = {
    "items": [],
    "next_cursor": None,
    "id": ID,
    "access_token": "x",
    "expires_in": 300,
    "roles": [{"tenant_id": ID, "tenant_name": "acme", "role_id": ID, "role_name": "viewer"}],
    "permissions": ["assets:read"],
    "secret": "x",
    "code": "x",
    "username": "ada",
}


def operations() -> dict[str, tuple[str, re.Pattern[str]]]:
    """Method and path of each operation, by its id."""
    text = (Path(__file__).parents[2] / "openapi.yaml").read_text(encoding="utf-8")
    found = {}
    for path, methods in yaml.safe_load(text)["paths"].items():
        pattern = re.compile("/".join("[^/]+" if "{" in s else s for s in path.split("/")))
        for method, operation in methods.items():
            if path.startswith("/iam/") and method in {"get", "post", "put", "patch", "delete"}:
                found[operation["operationId"]] = (method.upper(), pattern)
    return found


def every_command() -> Iterator[list[str]]:
    """Each example of each command; those about one's own things are tried both ways."""
    for name, command in COMMANDS.items():
        options = {option for parameter in command.params for option in parameter.opts}
        if "--profile" not in options and name != "invitation join":
            continue
        for words in examples(command):
            more = ["--yes"] if "--yes" in options - set(words) else []
            yield [*words, *more]
            if "--mine" in options - set(words) and "--user" not in words:
                yield [*words, *more, "--mine"]


def test_every_operation_has_a_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[tuple[str, str]] = set()

    def anything(request: httpx.Request) -> httpx.Response:
        called.add((request.method, request.url.path))
        return httpx.Response(200, json=ANSWER)

    def some_id(*_: Any, **__: Any) -> str:
        return ID

    monkeypatch.setattr(names, "_only", some_id)
    (tmp_path / "openapi.json").write_text(json.dumps({"openapi": "3.0.3"}))
    who = {"username": "ada", "api_key": "kt_x", "tenant": ID}
    with respx.mock() as router:
        router.route().mock(side_effect=anything)
        run("login", "--url", BASE, "--username", "ada", api_key="kt_x")
        run("token")
        run("logout")
        for words in every_command():
            run(*words, stdin="one\ntwo\n", url=BASE, **who)
    missing = {
        operation
        for operation, (method, path) in operations().items()
        if not any(method == m and path.fullmatch(p) for m, p in called)
    }
    assert missing == FOR_PROGRAMS
