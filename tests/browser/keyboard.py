"""A page as those use it who have no mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator

_HAS_FOCUS = "element => element === document.activeElement"
_FOCUSED = """() => {
  const element = document.activeElement;
  const name = element.ariaLabel || element.labels?.[0]?.innerText || element.innerText || "";
  return `${element.tagName.toLowerCase()} ${JSON.stringify(name.trim().slice(0, 40))}`;
}"""


def tab_to(target: Locator, *, most: int = 60) -> None:
    """Presses Tab, `most` times at most, until `target` has the focus."""
    page = target.page
    passed: list[str] = []
    while not target.evaluate(_HAS_FOCUS):
        if len(passed) == most:
            pytest.fail(f"{target} does not get the focus; these did: {', '.join(passed)}")
        page.keyboard.press("Tab")
        passed.append(page.evaluate(_FOCUSED))


def press(target: Locator, key: str = "Enter", *, most: int = 60) -> None:
    """Goes to `target` by Tab, and presses a key on it."""
    tab_to(target, most=most)
    target.page.keyboard.press(key)
