"""What axe-core finds in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_WORST = frozenset({"serious", "critical"})


def accessible(page: Page) -> None:
    """Fails the test for every serious or critical finding of axe-core in the page as it is now.

    axe is put into the page by the browser's own debugger, to which its policy does not apply.
    """
    from axe_playwright_python.sync_playwright import Axe

    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    worst = [_told(finding) for finding in found if finding["impact"] in _WORST]
    if worst:
        said = "\n".join(worst)
        pytest.fail(f"{page.url} is not accessible to everybody:\n{said}", pytrace=False)


def _told(finding: dict[str, Any]) -> str:
    lines = [f"{finding['id']} ({finding['impact']}): {finding['help']} ({finding['helpUrl']})"]
    for node in finding["nodes"]:
        lines += [f"  {node['target']}: {node['html']}"]
        lines += [f"    {line}" for line in node["failureSummary"].splitlines()]
    return "\n".join(lines)
