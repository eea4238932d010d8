"""How one setting is declared: its value, and what the README's table says of it."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class SettingsGroup(BaseModel):
    """Some of the settings, declared and checked by themselves."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )


def setting(kind: str, default: object, text: str, *, shown: str = "", **more: Any) -> Any:
    """A field. `kind` and `shown` (the default, if it is derived) are for the README's table."""
    if not callable(default):
        more["default"] = default
    else:
        more["default_factory"] = default
    return Field(description=text, json_schema_extra={"kind": kind, "shown": shown}, **more)


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


#: For lists that a variable gives in one text, separated by commas.
BY_COMMAS = BeforeValidator(_split)
