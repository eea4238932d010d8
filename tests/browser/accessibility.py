"""What axe-core finds in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_Scheme = Literal["light", "dark"]

#: axe-core's rules of the category, but for those beyond WCAG's level AA.
_OF_COLOURS = ["color-contrast", "link-in-text-block"]
_WORST = frozenset({"serious", "critical"})


def accessible(page: Page) -> None:
    """Fails the test for every serious or critical finding of axe-core in the page as it is now.

    In light and dark: what else it looks at than colours is the same in both, and found once. axe
    is put into the page by the browser's own debugger, to which its policy does not apply.
    """
    from axe_playwright_python.sync_playwright import Axe

    dark = bool(page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"))
    schemes: tuple[_Scheme, _Scheme] = ("dark", "light") if dark else ("light", "dark")
    own, other = schemes
    found: dict[str, list[dict[str, Any]]] = {own: Axe().run(page).response["violations"]}
    page.emulate_media(color_scheme=other)
    found[other] = page.evaluate("rules => axe.run({runOnly: rules})", _OF_COLOURS)["violations"]
    page.emulate_media(color_scheme=own)
    worst = [
        f"{scheme}: {_told(finding)}"
        for scheme, findings in found.items()
        for finding in findings
        if finding["impact"] in _WORST
    ]
    if worst:
        said = "\n".join(worst)
        pytest.fail(f"{page.url} is not accessible to everybody:\n{said}", pytrace=False)


def _told(finding: dict[str, Any]) -> str:
    lines = [f"{finding['id']} ({finding['impact']}): {finding['help']} ({finding['helpUrl']})"]
    for node in finding["nodes"]:
        lines += [f"  {node['target']}: {node['html']}"]
        lines += [f"    {line}" for line in node["failureSummary"].splitlines()]
    return "\n".join(lines)
