"""`python -m tests.scale URL`: a large installation in a migrated PostgreSQL database."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from tests.scale.compare import compare, small_beside, table
from tests.scale.lists import Landmarks
from tests.scale.seed import SeedError, is_seeded, seed
from tests.scale.shape import LARGE, Size


def main(
    url: Annotated[str, typer.Argument(help="A migrated database: postgresql://…")],
    tenants: Annotated[
        int, typer.Option(help="The root and all below it.", min=10)
    ] = LARGE.tenants,
    keys: Annotated[int, typer.Option(help="API keys.", min=100)] = LARGE.keys,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print for programs what came of it.")
    ] = False,
    comparing: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Time each list beside a small installation's, in a second database on that "
            "server, which is dropped afterwards. What is in the database stays as it is.",
        ),
    ] = False,
) -> None:
    """Fill a database with tenants, users, keys and all the rest, and say where to look.

    Takes the schema that `keyturn migrate` makes, and no tenants. Nothing in it can be logged in
    with: no secret belongs to the keys' hashes.
    """
    progress = Console(stderr=True)
    if not (comparing and asyncio.run(is_seeded(url))):
        size = Size(tenants, keys)
        asyncio.run(seed(url, size, say=lambda text: progress.print(text, highlight=False)))
    if comparing:
        with small_beside(url) as small:
            found = asyncio.run(compare(small, url))
        if json_output:
            print(json.dumps([dataclasses.asdict(each) | {"ratio": each.ratio} for each in found]))
        else:
            Console(width=None if sys.stdout.isatty() else 120).print(table(found))
        return
    landmarks = asyncio.run(Landmarks.find(url))
    if json_output:
        print(json.dumps(dataclasses.asdict(landmarks)))
        return
    for view in landmarks.views:
        print(f"the {view.name}: tenant {view.tenant}, a service user {view.service}")
    for name, key in landmarks.keys.items():
        print(f"{name}: {key}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except SeedError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
