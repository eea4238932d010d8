"""What the commands of management share: their options, and how one is declared.

A command is a function whose first parameter is a `Call`. `verb` gives it the options that all
have (`--tenant`, `--profile`, `--json`), opens the profile, and reports what goes wrong.
"""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from . import names, profiles, tables
from .answers import Entity, inner_list
from .api import Answer, Api, Value
from .groups import GROUPS
from .problems import ExitCode, Problem, reported
from .values import moment, past, seconds

P = ParamSpec("P")
Command = Callable[Concatenate["Call", P], None]

Limit = Annotated[int, typer.Option("--limit", help="Show so many at most.", min=1)]
Search = Annotated[str | None, typer.Option("--search", help="With this in name or address.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
QuietId = Annotated[bool, typer.Option("--quiet", "-q", help="Print the id alone.")]
QuietSecret = Annotated[bool, typer.Option("--quiet", "-q", help="Print the secret alone.")]
Name = Annotated[str | None, typer.Option("--name", help="Its name.")]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]
ExpiresIn = Annotated[
    int | None,
    typer.Option(
        "--expires-in", parser=seconds, metavar="DURATION", help="As in 90d, 12h, 30m, 45s."
    ),
]
ExpiresAt = Annotated[
    str | None,
    typer.Option("--expires-at", parser=moment, metavar="TIME", help="As in 2026-03-01T12:00Z."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", parser=past, metavar="TIME", help="A time, or how long ago: 12h."),
]
Until = Annotated[
    str | None,
    typer.Option("--until", parser=past, metavar="TIME", help="A time, or how long ago: 1h."),
]

_TENANT = Annotated[
    str | None, typer.Option("--tenant", help="Id or name of the tenant (or KEYTURN_TENANT).")
]
_PROFILE = Annotated[
    str | None, typer.Option("--profile", help="Name of the login (or KEYTURN_PROFILE).")
]
_JSON = Annotated[bool, typer.Option("--json", help="Print what the service answered.")]


@dataclass(slots=True)
class Call:
    """One command at work: the service it talks to, and how it is to print.

    `named_tenant` is what --tenant said; `tenant_id` goes by the environment and the profile, too.
    """

    api: Api
    as_json: bool = False
    named_tenant: str | None = None
    _tenant_id: str | None = field(default=None, repr=False)

    @property
    def wanted_tenant(self) -> str | None:
        """The tenant that was chosen, by id or name, if one was."""
        return self.named_tenant or os.environ.get(profiles.TENANT) or self.api.profile.tenant

    @property
    def tenant_id(self) -> str:
        """The tenant that the command is about. Raises Problem when none is chosen."""
        if self._tenant_id is None:
            self._tenant_id = names.tenant_of_mine(self.api, self.wanted_tenant)
        return self._tenant_id

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, Value] | None = None,
        creates: bool = False,
        etag: str | None = None,
        own: bool = False,
    ) -> Answer:
        """One call in the chosen tenant; or about the caller alone, who may choose one."""
        return self.api.call(
            method,
            path,
            tenant_id=self._choice(own),
            body=body,
            params=params,
            creates=creates,
            etag=etag,
        )

    def list(
        self,
        path: str,
        columns: Sequence[tables.Column],
        limit: int,
        *,
        params: Mapping[str, Value] | None = None,
        own: bool = False,
        none: str = "none",
    ) -> None:
        """Prints a list, all of its pages up to `limit`; `none` when it is empty."""
        items, more = self.api.pages(path, limit=limit, tenant_id=self._choice(own), params=params)
        tables.show_list(items, more, columns, as_json=self.as_json, none=none)

    def list_whole(self, path: str, columns: Sequence[tables.Column], *, own: bool = False) -> None:
        """Prints a list that comes without pages."""
        items = inner_list(self.send("GET", path, own=own).entity, "items")
        tables.show_list(items, False, columns, as_json=self.as_json)

    def show(self, item: Entity, columns: Sequence[tables.Column], *, quiet: bool = False) -> None:
        """Prints one thing; `quiet`, its id alone."""
        if quiet:
            print(item["id"])
        else:
            tables.show_one(self._named(item, columns), columns, as_json=self.as_json)

    def show_secret(
        self, item: Entity, secret: str, columns: Sequence[tables.Column], *, quiet: bool
    ) -> None:
        """Prints one thing with its field `secret`, which is not shown again."""
        shown = self._named(item, columns)
        tables.show_secret(shown, secret, columns, as_json=self.as_json, quiet=quiet)

    def _named(self, item: Entity, columns: Sequence[tables.Column]) -> Entity:
        """The item for people: names with the ids that were looked up by name.

        Not in the first column, which is what one copies: an id, mostly.
        """
        if self.as_json:
            return item
        return {
            field: value if field in columns[:1] else _with_names(field, value, self.api.named)
            for field, value in item.items()
        }

    def _choice(self, own: bool) -> str | None:
        return None if own and self.named_tenant is None else self.tenant_id


def group(noun: str) -> typer.Typer:
    """A group of commands, one of `GROUPS`."""
    return typer.Typer(
        name=noun,
        help=GROUPS[noun].help,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def verb(
    commands: typer.Typer, name: str, *, bound: bool = True, panel: str | None = None
) -> Callable[[Command[P]], Command[P]]:
    """Makes a command of a function. `bound`: it is about a tenant, so --tenant chooses it."""

    def declare(function: Command[P]) -> Command[P]:
        def run(**given: Any) -> None:
            profile, as_json = given.pop("profile"), given.pop("as_json")
            named_tenant = given.pop("named_tenant", None)
            with reported():
                api = Api(profiles.chosen(profile))
                try:
                    function(Call(api, as_json, named_tenant), **given)  # type: ignore[call-arg]
                finally:
                    api.close()

        common = {"named_tenant": _TENANT, "profile": _PROFILE, "as_json": _JSON}
        if not bound:
            del common["named_tenant"]
        _, *own = inspect.signature(function).parameters.values()
        parameters = [
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *(
                inspect.Parameter(
                    option,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=False if option == "as_json" else None,
                    annotation=annotation,
                )
                for option, annotation in common.items()
            ),
        ]
        # Typer reads what a command takes from these.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        commands.command(name, help=taught(function), rich_help_panel=panel)(run)
        return function

    return declare


def taught(function: Callable[..., object]) -> str:
    """A command's docstring as its help: its examples keep their lines."""
    return (inspect.getdoc(function) or "").replace("\n\nExample", "\n\n\b\nExample")


def _with_names(field: str, value: object, known: Mapping[str, str]) -> object:
    match value:
        case str() if field.endswith(("_id", "_ids")):
            return tables.with_name(value, known)
        case list():
            return [_with_names(field, one, known) for one in value]
        case dict():
            return {name: _with_names(name, one, known) for name, one in value.items()}
    return value


def given(**fields: object) -> dict[str, object]:
    """A body of what was said. Raises Problem when nothing was."""
    body = {name: value for name, value in fields.items() if value is not None}
    if not body:
        raise Problem("nothing to change was given (see --help)", ExitCode.USAGE)
    return body


def ask(question: str, *, yes: bool, hint: str = "--yes") -> None:
    """Asks before what cannot be undone. Raises Abort for a no, Problem when nobody can answer.

    `hint` are the options that answer it.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Problem(f"{question} Nobody can answer here: add {hint}.", ExitCode.USAGE)
    typer.confirm(question, abort=True, err=True)
