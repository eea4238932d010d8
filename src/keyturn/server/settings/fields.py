"""How one setting is declared: its value, and what the README's table says of it."""

from typing import Any

from pydantic import Field


def setting(kind: str, default: object, text: str, *, shown: str = "", **more: Any) -> Any:
    """A field. `kind` and `shown` (the default, if it is derived) are for the README's table."""
    if not callable(default):
        more["default"] = default
    else:
        more["default_factory"] = default
    return Field(description=text, json_schema_extra={"kind": kind, "shown": shown}, **more)
