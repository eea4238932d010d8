"""What browsers may do."""

import re
from typing import Annotated

from pydantic import field_validator

from .fields import BY_COMMAS, SettingsGroup, setting

_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_DEFAULT_PORTS = {("http", ":80"), ("https", ":443")}


class Browsers(SettingsGroup):
    """Calls from web pages."""

    cors_origins: Annotated[tuple[str, ...], BY_COMMAS] = setting(
        "list", (), "Origins whose web pages may call the API, such as `https://app.example`."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin == "*":
                raise ValueError(
                    "must name each origin: with * any website could use a token that it got"
                )
            found = _ORIGIN.fullmatch(origin)
            if found is None or (found[1], found[3]) in _DEFAULT_PORTS:
                raise ValueError(
                    "must be origins as browsers send them: https://app.example, in lower case,"
                    " without a path, and without :443 (or :80 of http)"
                )
        return value
