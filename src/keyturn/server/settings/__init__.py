"""All settings: one frozen object, read once, refusing to be half-configured."""

from .files import open_to_all
from .model import Settings, SettingsError, env_name
from .sources import describe, load_settings, secret_files, unknown_variables

__all__ = [
    "Settings",
    "SettingsError",
    "describe",
    "env_name",
    "load_settings",
    "open_to_all",
    "secret_files",
    "unknown_variables",
]
