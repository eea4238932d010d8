"""Reads pages as a browser does, to find what somebody else's text became in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Attributes that browsers follow.
_FOLLOWED = {"href", "src", "action", "formaction", "hx-get", "hx-post", "data", "poster"}


@dataclass
class Markup(HTMLParser):
    """What stands in a page. `wrong`: what the console never writes, so somebody else did."""

    wrong: list[str] = field(default_factory=list)
    #: Names of fields in forms, with their types.
    fields: dict[str, str] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    _inside: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag in ("iframe", "object", "embed", "base", "style"):
            self.wrong.append(f"<{tag}>")
        if tag == "meta" and "http-equiv" in given:
            self.wrong.append("<meta http-equiv>")
        if tag == "script" and not given.get("src", "").startswith("/console/assets/"):
            self.wrong.append(f"<script {given}>")
        for name, value in given.items():
            if name.startswith(("on", "hx-on")) or name == "style":
                self.wrong.append(f"{name}={value}")
            if name in ("hx-vals", "hx-headers") and value.strip().startswith("js"):
                self.wrong.append(f"{name}={value}")
            if name in _FOLLOWED:
                self.links.add(value)
                if not value.startswith(("/", "#", "?")) or value.startswith(("//", "/\\")):
                    self.wrong.append(f"{name}={value}")
        if tag in ("input", "textarea", "select") and "name" in given:
            self.fields[given["name"]] = given.get("type", tag)

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and data.strip():
            self.wrong.append(f"inside a script: {data}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"<!--{data}-->")


def read(page: str) -> Markup:
    """A page as a browser understands it."""
    found = Markup()
    found.feed(page)
    found.close()
    return found
