"""The pictures that the documentation shows: taken by `make screenshots`, missed by `make test`.

A test takes one with the fixture `shot`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Pictures lie beside what they show how to use.
PICTURES = Path(__file__).parents[2] / "deploy" / "console"
#: Everybody who clones the repository gets them all.
MOST_BYTES = 150_000


def take(page: Page, name: str, *, write: bool, directory: Path = PICTURES) -> None:
    """Writes what the page shows now to `<name>.png`; or fails if nobody ever did."""
    path = directory / f"{name}.png"
    if not write:
        assert path.is_file(), f"{path.name} is not in {directory.name}/: run `make screenshots`"
        return
    # One state of the page, one picture: nothing blinks and nothing moves in it.
    picture = page.screenshot(animations="disabled", caret="hide", scale="css")
    assert len(picture) <= MOST_BYTES, f"{path.name} has {len(picture)} bytes"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
