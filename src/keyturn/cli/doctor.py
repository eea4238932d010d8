"""`keyturn doctor`: the installation looked at, one line a finding."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from . import profiles
from .problems import ExitCode, reported, say
from .store import ConfigOption

if TYPE_CHECKING:
    from ..server.examining import Finding, Level

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail, too.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody over HTTP, the service itself neither.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Look at the whole installation: what is well, what will not be, and what to do.

    Settings and the files they name, database, Redis, what the master secret opens, signing keys,
    API keys, the issuer as clients reach it, TLS, proxies, mail, where traces go, keys for leak
    reports. Nothing is changed, and no secret is shown. Run it where the service runs, with the
    same settings.

    Exit codes: 0 no problem (with --strict: no warning either), 1 problems, 2 the settings are
    wrong, so that nothing could be looked at.

    \b
    Examples:
      keyturn doctor
      keyturn doctor --offline --strict
      keyturn doctor --json
    """  # noqa: D301 - \b keeps the examples' lines
    with reported():
        if config is not None:
            os.environ["KEYTURN_CONFIG"] = str(config.absolute())

        import asyncio

        from ..server.examining import Level, counted, examine
        from ..server.settings import load_settings

        settings = load_settings()
        found = asyncio.run(examine(settings, offline=offline, variables=profiles.VARIABLES))
        counts = {level: sum(one.level is level for one in found) for level in Level}
        if as_json:
            print(json.dumps(_told(found, counts)))
        else:
            _tell(found)
            say(
                f"keyturn: {counted(counts[Level.PROBLEM], 'problem')},"
                f" {counted(counts[Level.WARNING], 'warning')},"
                f" {counts[Level.OK]} ok"
            )
        bad = counts[Level.PROBLEM] + (counts[Level.WARNING] if strict else 0)
        raise typer.Exit(ExitCode.FAILED if bad else ExitCode.OK)


def _told(found: "Sequence[Finding]", counts: "dict[Level, int]") -> dict[str, object]:
    return {
        "findings": [
            {"check": o.check, "level": o.level.value, "seen": o.seen, "advice": o.advice}
            for o in found
        ],
        "counts": {str(level): count for level, count in counts.items()},
    }


def _tell(found: "Sequence[Finding]") -> None:
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    room = max(len(one.check) for one in found)
    for one in found:
        level = f"{one.level.value:<7}"
        if colours:
            level = typer.style(level, fg=_COLOURS[one.level.value])
        advice = f"  → {one.advice}" if one.advice else ""
        print(f"{level}  {one.check:<{room}}  {one.seen}{advice}")
