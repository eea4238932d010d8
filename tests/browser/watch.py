"""What a browser complains about while a test goes on, and whom it calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import (
        BrowserContext,
        ConsoleMessage,
        Page,
        Request,
        Response,
        WebError,
    )

# Into every document, before anything of its own. Chromium reports what a policy forbids on the
# console as well; this is the standard's own word for it, whatever the texts there become.
_REPORT = """
document.addEventListener("securitypolicyviolation", event => console.error(
  `securitypolicyviolation: ${event.effectiveDirective} forbids ${event.blockedURI}` +
  ` at ${event.sourceFile || document.location.href}:${event.lineNumber}`));
"""
_POLICY = re.compile(r"Content.Security.Policy|Refused to", re.IGNORECASE)
# What pages and their scripts ask for may be refused: a form that is wrong, a thing that is gone.
_MAY_BE_REFUSED = frozenset({"document", "fetch", "xhr"})


class Watch:
    """Everything that was wrong in some browser contexts. `check` fails the test for it.

    Wrong are: an error on the console, a warning about a content security policy, an exception
    that no script caught, a request that failed or was answered 5xx, a style, script or image
    answered 4xx, a crash, and any request to an origin other than the first one that was asked.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        #: Origins that may be asked: the first one that is, and what a test adds.
        self.origins: set[str] = set()
        self._expected: list[str] = []

    def over(self, context: BrowserContext) -> None:
        """Watches all pages of `context` from now on."""
        context.add_init_script(_REPORT)
        context.on("console", self._console)
        context.on("weberror", self._exception)
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("requestfailed", self._failed)
        context.on("page", lambda page: page.on("crash", self._crashed))

    def expect(self, pattern: str) -> None:
        """A problem that matches this regular expression must come, and is none."""
        self._expected.append(pattern)

    def settle(self, context: BrowserContext) -> None:
        """Hears what its pages still have to say. Before the context is closed."""
        from playwright.sync_api import Error

        for page in context.pages:
            try:  # whatever the page said before it answers this comes before its answer
                page.locator("html").wait_for(state="attached")
            except Error as error:
                self.problems.append(f"{page.url} answers no more: {error}")

    def check(self) -> None:
        """Fails the test for what was wrong, and for what was expected and did not come."""
        unexpected = [
            problem
            for problem in self.problems
            if not any(re.search(pattern, problem) for pattern in self._expected)
        ]
        missing = [
            f"did not come: {pattern}"
            for pattern in self._expected
            if not any(re.search(pattern, problem) for problem in self.problems)
        ]
        if told := [*unexpected, *missing]:
            lines = "\n  ".join(dict.fromkeys(told))
            pytest.fail(f"the browser has something to say:\n  {lines}", pytrace=False)

    def _console(self, message: ConsoleMessage) -> None:
        # Answers and failures are judged below.
        if message.text.startswith("Failed to load resource:"):
            return
        policy = message.type == "warning" and _POLICY.search(message.text)
        if message.type == "error" or policy:
            where = f"{message.location['url']}:{message.location['lineNumber'] + 1}"
            self.problems.append(f"console {message.type}: {message.text} ({where})")

    def _exception(self, error: WebError) -> None:
        self.problems.append(f"exception: {error.error}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("http", "https"):
            return
        origin = f"{parts.scheme}://{parts.netloc}"
        if not self.origins:
            self.origins.add(origin)
        if origin not in self.origins:
            self.problems.append(f"foreign request: {request.method} {request.url}")

    def _response(self, response: Response) -> None:
        kind = response.request.resource_type
        if response.status >= 500 or (response.status >= 400 and kind not in _MAY_BE_REFUSED):
            asked = f"{response.request.method} {response.url}"
            self.problems.append(f"answered {response.status}: {asked} ({kind})")

    def _failed(self, request: Request) -> None:
        # A page that is left takes its requests with it, and a download is no page.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _crashed(self, page: Page) -> None:
        self.problems.append(f"crashed: {page.url}")
