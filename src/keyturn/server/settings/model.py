"""All settings: one frozen object, read once, refusing to be half-configured.

`Settings(…)` by itself reads nothing but its arguments, so tests and embedders get exactly what
they say; `load_settings` (sources.py) reads the environment and the file. Each group of settings
is declared in a module of its own.
"""

from typing import Self
from urllib.parse import urlsplit

from pydantic import model_validator

from ..domain.sessions import Lifetimes
from ..services.ports import Rate
from .bounds import Bounds
from .browsers import Browsers
from .checks import check_together
from .leaks import Leaks
from .limiting import RATES, Limiting
from .listening import Listening
from .observing import Observing
from .stores import Stores
from .telling import Telling
from .tokens import Tokens

PREFIX = "KEYTURN_"
CONFIG = "KEYTURN_CONFIG"

#: Settings that may come from a file, named by the variable with `_FILE` appended.
FROM_FILE = ("master_secret", "previous_master_secrets", "database_url", "redis_url", "smtp_url")


class SettingsError(Exception):
    """The settings are incomplete, contradictory or unreadable. Its text is one line."""


def env_name(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


# The last base's fields stand first, in the README and for defaults that derive from others.
class Settings(Observing, Leaks, Telling, Browsers, Limiting, Bounds, Tokens, Stores, Listening):
    """The server's settings. Times are in seconds, sizes in bytes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_together(self)
        return self

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url.get_secret_value().startswith("sqlite")

    @property
    def base_url(self) -> str:
        """What all routes stand below, for clients."""
        return self.public_url + self.base_path

    @property
    def public_origin(self) -> str:
        """Where the console stands: the public URL without its path."""
        url = urlsplit(self.public_url)
        return f"{url.scheme}://{url.netloc}"

    @property
    def rates(self) -> dict[str, Rate | None]:
        """The limits, by the names of their counters."""
        from ..limiting import read_rate

        return {name.removeprefix("limit_"): read_rate(getattr(self, name)) for name in RATES}

    @property
    def lifetimes(self) -> Lifetimes:
        """The lifetimes as the domain takes them."""
        return Lifetimes(
            access_token=self.access_token_lifetime,
            refresh_token=self.refresh_token_lifetime,
            session=self.session_max_lifetime,
            refresh_grace=self.refresh_grace,
        )
