"""`keyturn bench`: load on a service, and how it bears it."""

import os
from dataclasses import replace
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import typer

from . import profiles, secret_input
from .commands import ask, taught
from .problems import ExitCode, Problem, reported
from .profiles import Profile


class What(StrEnum):
    """The calls that can be measured."""

    EXCHANGE = "exchange"
    CLIENT_CREDENTIALS = "client_credentials"
    REFRESH = "refresh"
    ME = "me"
    INTROSPECT = "introspect"
    VERIFY = "verify"


def bench(
    url: Annotated[
        str | None,
        typer.Argument(help="Where the service answers; without a path, its /iam.", metavar="URL"),
    ] = None,
    what: Annotated[
        list[What] | None,
        typer.Option(help="What is asked of it; may be repeated. Without: exchange."),
    ] = None,
    connections: Annotated[
        int, typer.Option(help="Connections, each with one request on its way.", min=1, max=512)
    ] = 16,
    seconds: Annotated[
        float, typer.Option(help="How long each call is measured.", min=0.1, max=600)
    ] = 10,
    username: Annotated[
        str | None,
        typer.Option(envvar=profiles.USERNAME, help="With --api-key-stdin: whose it is."),
    ] = None,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read the API key from stdin.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Name of the login (or KEYTURN_PROFILE).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Load a running service, and show its rate and its latencies.

    Whose key is used: that of the login (--profile), of the environment, or one from stdin. Every
    exchange is a real one: its tokens are good until they expire, and a session that is refreshed
    stands in the database. introspect asks as the same user, who needs tokens:introspect.

    The load comes from this machine, from one process: where it cannot send more, it is the limit.
    A proxy that the environment names is not used. Anything but this machine is asked about first.
    Ctrl-C ends it with the figures so far. The exit code is 1 when any answer was not the one asked
    for; 429 (limited) and 503 are counted apart.

    Examples:
      keyturn bench http://127.0.0.1:8080
      keyturn bench https://iam.example --what exchange --what refresh --seconds 30
      keyturn bench --profile staging --connections 64 --yes --json
      keyturn bench https://iam.example --username ci@acme.example --api-key-stdin --yes < key-file
    """
    with reported():
        calls = list(dict.fromkeys(what or [What.EXCHANGE]))
        known = _stdin_user(url, username) if api_key_stdin else _user(url, profile)
        user = replace(known, url=profiles.base_url(url)) if url else known
        if question := _question(user, known, f"{connections} connections, {seconds:g} s a call"):
            ask(question, yes=yes)

        from . import bench_report, bench_run

        done = bench_run.run(user, [str(call) for call in calls], connections, seconds)
        bench_report.show(done, user.url, connections, as_json=as_json)
        if done.problem is not None:
            raise done.problem
        if any(one.errors or not one.requests for one in done.rounds.values()):
            raise typer.Exit(ExitCode.FAILED)


def _stdin_user(url: str | None, username: str | None) -> Profile:
    if not url or not username:
        raise Problem("--api-key-stdin takes a URL and --username", ExitCode.USAGE)
    [key] = secret_input.read(["API key"], from_stdin=True)
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise Problem("that is no API key", ExitCode.USAGE)
    return Profile(None, profiles.base_url(url), username, key)


def _user(url: str | None, profile: str | None) -> Profile:
    """The login, or what the environment says, where the URL may be the one that was given."""
    named = profile or os.environ.get(profiles.PROFILE)
    username, key = os.environ.get(profiles.USERNAME), os.environ.get(profiles.API_KEY)
    if url and username and key and not named and not os.environ.get(profiles.URL):
        return Profile(None, profiles.base_url(url), username, key.strip())
    return profiles.chosen(profile)


def _question(user: Profile, known: Profile, load: str) -> str | None:
    """What has to be said before, if anything."""
    parts, meant = urlsplit(user.url), urlsplit(known.url)
    said = []
    if not _here(parts.hostname or ""):
        plain = ", in plain http: others may read the API key" if parts.scheme == "http" else ""
        said.append(f"This loads a live service ({load}): {user.url}{plain}.")
    if (parts.scheme, parts.netloc) != (meant.scheme, meant.netloc):
        said.append(f"It gets the API key of {known}, which is for {known.url}.")
    return " ".join([*said, "Go on?"]) if said else None


def _here(host: str) -> bool:
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def add_command(app: typer.Typer, panel: str) -> None:
    """Adds the command to the command line, below the heading `panel`."""
    app.command(help=taught(bench), rich_help_panel=panel)(bench)
