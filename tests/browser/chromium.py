"""Chromium as this machine has it, or a loud word that it has none.

Nothing is downloaded: Playwright brings no browser of its own here. Without one the tests are
skipped, and say so; where one must be there (`CI`, or `KEYTURN_REQUIRE_BROWSER=1`) they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

from tests.browser.plugin import NOT_SHOWN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType

#: Names a program to take instead of those that are looked for.
PROGRAM = "KEYTURN_CHROMIUM"
#: `1`: without a browser the tests fail; `0`: not even under CI.
REQUIRED = "KEYTURN_REQUIRE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")

START_MS = 60_000
#: For whatever a test waits for. Playwright waits no longer than it must; a loaded machine is slow.
PATIENCE_MS = 15_000


@dataclass(frozen=True, slots=True)
class Screen:
    """What a page is shown on. Sizes in CSS pixels; one of them is one of a screenshot's."""

    width: int
    height: int
    color_scheme: Literal["light", "dark"]

    def __str__(self) -> str:
        return f"{self.width}-{self.color_scheme}"

    def options(self) -> dict[str, Any]:
        """What a browser context is made with."""
        return {
            "viewport": {"width": self.width, "height": self.height},
            "color_scheme": self.color_scheme,
            "reduced_motion": "reduce",
            "locale": "en-US",
            # No hour is the same there and in UTC, and it knows no summer time.
            "timezone_id": "Asia/Kolkata",
            "service_workers": "block",
            # Servers here have certificates that signed themselves.
            "ignore_https_errors": True,
        }


DESK = Screen(1280, 800, "light")
SCREENS = (DESK, Screen(375, 812, "dark"))  # `accessible` looks at the other colours of each, too


def program(environment: Mapping[str, str] = os.environ) -> str | None:
    """The browser's program, if there is one."""
    names = (environment[PROGRAM],) if environment.get(PROGRAM) else NAMES
    found = (shutil.which(name, path=environment.get("PATH")) for name in names)
    return next(filter(None, found), None)


def not_shown(why: str, environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Skips the test, or fails it where a browser must be there."""
    said = f"{NOT_SHOWN}: {why}"
    if environment.get(REQUIRED, environment.get("CI", "")).lower() in ("", "0", "false"):
        pytest.skip(said)
    pytest.fail(said, pytrace=False)


@contextmanager
def launched(
    chromium: BrowserType, environment: Mapping[str, str] = os.environ
) -> Iterator[Browser]:
    """A headless Chromium until the block ends."""
    from playwright.sync_api import Error

    found = program(environment)
    if found is None:
        looked_for = environment.get(PROGRAM) or ", ".join(NAMES)
        not_shown(f"no Chromium ({looked_for}) on this machine", environment)
    try:
        browser = chromium.launch(
            executable_path=found,
            headless=True,
            # It refuses to sandbox itself as root.
            chromium_sandbox=os.geteuid() != 0,
            timeout=START_MS,
        )
    except Error as error:
        first = str(error).strip().partition("\n")[0]
        not_shown(f"Chromium ({found}) does not start: {first}", environment)
    try:
        yield browser
    finally:
        browser.close()
