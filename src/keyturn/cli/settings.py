"""`keyturn settings`: what is in force, without the secrets."""

import json
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from .problems import reported
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from ..server.settings import Settings

Shown = str | int | float | bool | list[str] | None


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", hidden=True)] = False,
    config: ConfigOption = None,
) -> None:
    """Show the settings in force, secrets masked. Fails as `serve` would if one is wrong.

    \b
    Examples:
      keyturn settings
      keyturn settings --config keyturn.toml --json
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        if markdown:
            print(_table())
            return
        shown = _masked(settings_of(config))
        if as_json:
            print(json.dumps(shown))
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        table.add_column("setting", no_wrap=True)
        table.add_column("value", overflow="fold")
        for name, value in shown.items():
            text = ", ".join(value) if isinstance(value, list) else str(value)
            table.add_row(name, "" if value is None else text)
        Console(highlight=False, markup=False).print(table)


def _masked(settings: "Settings") -> dict[str, Shown]:
    from pydantic import SecretStr

    shown: dict[str, Shown] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = _secret(value.get_secret_value())
        elif isinstance(value, (tuple, frozenset)):
            value = sorted("***" if isinstance(item, SecretStr) else str(item) for item in value)
        elif not isinstance(value, (bool, int, float, str, type(None))):
            value = str(value)
        shown[name] = value
    return shown


def _secret(text: str) -> str:
    """Of a URL, where it leads; of any other secret, only that it is there."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        return "***"
    if url.scheme == "sqlite":
        return text.partition("?")[0]
    if not url.scheme or not host:
        return "***" if text else ""
    user = f"{url.username or ''}{':***' if url.password else ''}@" if "@" in url.netloc else ""
    where = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{user}{where}{f':{port}' if port else ''}{url.path}"


def _table() -> str:
    """The README's table; its test regenerates it."""
    from ..server.settings import describe

    rows = ["| variable | type | default | what |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {kind} | {f'`{default}`' if default else ''} | {text} |"
        for name, kind, default, text in describe()
    ]
    return "\n".join(rows)
