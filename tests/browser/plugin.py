"""What pytest must know of browser tests before it has read their folder, wherever they run."""

from __future__ import annotations

import pytest

OPTION = "--screenshots"
#: How a test begins to say that it was skipped for want of a browser.
NOT_SHOWN = "NOT SHOWN in a browser"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--screenshots`."""
    text = "write the pictures of deploy/console/, by the tests that take one alone"
    parser.addoption(OPTION, action="store_true", help=text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With the option, leaves out what takes no picture."""
    if not config.getoption(OPTION):
        return
    takers = [item for item in items if "shot" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in takers])
    items[:] = takers


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in one line what many tests were skipped for."""
    reasons = [
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and NOT_SHOWN in report.longrepr[2]
    ]
    if reasons:
        terminalreporter.section("the console was not tried", yellow=True, bold=True)
        terminalreporter.write_line(f"{len(reasons)} tests {reasons[0]}", yellow=True)
