"""`keyturn backup`: copies of the database, made and looked at."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .commands import taught
from .files import new_private
from .problems import ExitCode, Problem, reported, say
from .store import ConfigOption, settings_of

if TYPE_CHECKING:
    from ..server.settings import Settings
    from ..server.storage import CopyFacts

app = typer.Typer(
    name="backup",
    help="""Copy the database, and see what a copy is worth.

\b
Examples:
  keyturn backup make keyturn-2026-03-01.db
  keyturn backup check keyturn-2026-03-01.db
  keyturn backup trail trail.jsonl""",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Events read at once.
_BATCH = 1_000

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def make(
    file: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")],
    config: ConfigOption = None,
) -> None:
    """Copy an SQLite database into a file, while it is served.

    For PostgreSQL use its own tools: see deploy/backup.md. The master secret is not in the copy:
    keep it elsewhere, and apart from the copies.

    Example:
      keyturn backup make keyturn-2026-03-01.db
    """
    with reported():
        from ..server.storage import back_up

        settings = settings_of(config, require=("database_url",))
        size = back_up(settings.database_url.get_secret_value(), file)
        say(f"keyturn: {file} has {size} bytes; keyturn backup check {file} looks at it")


def check(
    copy: Annotated[str, typer.Argument(help="An SQLite file, or a database's URL.")],
    as_json: _Json = False,
    config: ConfigOption = None,
) -> None:
    """Look at a copy, and change nothing: is it whole, how old is it, can it be opened?

    The master secret is that of the settings. A dump of PostgreSQL is restored into a database of
    its own first, whose URL this takes. The exit code is 0 for a copy that a service could be
    started on (after `keyturn restored`), else 1.

    Examples:
      keyturn backup check keyturn-2026-03-01.db
      keyturn backup check postgresql://keyturn@db/restored --json
    """
    with reported():
        import asyncio

        from ..server.storage import copy_facts, url_of

        settings = settings_of(config, require=("master_secret",))
        facts = asyncio.run(copy_facts(url_of(copy)))
        opens = facts.revision is not None and _opens(settings, facts)
        good = not facts.broken and opens
        if as_json:
            print(json.dumps({**_told(facts), "master_secret_opens_it": opens, "good": good}))
        else:
            _tell(facts, opens)
        raise typer.Exit(ExitCode.OK if good else ExitCode.FAILED)


def trail(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    config: ConfigOption = None,
) -> None:
    """Save the audit trail of all tenants, as `keyturn restored --keep-keys-unless` takes it.

    It reads the database itself, so the nodes may be down: what a copy does not know is what
    happened until they ended. As `keyturn audit export` prints it: JSON lines, without secrets.

    Example:
      keyturn backup trail trail.jsonl
    """
    with reported():
        import asyncio

        settings = settings_of(config)
        try:
            count = asyncio.run(_trail(settings, file))
        except OSError as error:
            raise Problem(f"cannot write {file}: {error.strerror}", ExitCode.USAGE) from None
        say(f"keyturn: {file} has {count} events")


for command in (make, check, trail):
    app.command(help=taught(command))(command)


async def _trail(settings: "Settings", file: Path) -> int:
    """How many events were written."""
    from ..server.http.management.audit import json_lines
    from ..server.parts import open_parts

    count, after = 0, None
    with new_private(file) as out:
        async with open_parts(settings) as parts:
            while True:
                async with parts.store.transaction() as tx:
                    events = await tx.audit.everything(after, _BATCH)
                out.write(json_lines(events))
                count += len(events)
                if len(events) < _BATCH:
                    return count
                after = events[-1].id


def _opens(settings: "Settings", facts: "CopyFacts") -> bool:
    """Whether the settings have the master secrets for all signing keys and API keys."""
    from ..server.tokens.secrets import DerivedKeys
    from ..server.tokens.signing import KeySealer

    texts = (settings.master_secret, *settings.previous_master_secrets)
    sealer = KeySealer(DerivedKeys(tuple(t.get_secret_value() for t in texts), "signing keys", 64))
    opened = all(sealer.opens(kid, sealed) for kid, sealed in facts.sealed.items())
    return opened and set(facts.peppers) <= set(sealer.versions)


def _told(facts: "CopyFacts") -> dict[str, object]:
    newest = facts.newest_event
    return {
        "revision": facts.revision,
        "newest_event": newest.isoformat() if newest else None,
        "rows": dict(facts.counts),
        "broken": list(facts.broken),
    }


def _tell(facts: "CopyFacts", opens: bool) -> None:
    if facts.revision is None:
        print(f"broken: {'; '.join(facts.broken)}")
        return
    newest = facts.newest_event
    print(f"schema         {facts.revision}")
    print(f"newest event   {newest.isoformat(timespec='seconds') if newest else 'none'}")
    print(f"master secret  {'opens it' if opens else 'does not open it'}")
    for name, count in facts.counts.items():
        print(f"  {name:<18} {count:>9}")
    for line in facts.broken:
        print(f"broken: {line}")
    if not facts.broken:
        print("all that is named is there, and the tree of tenants is right")
