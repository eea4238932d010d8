"""Settings without any limit on how often: for tests that are about something else, and hammer."""

from keyturn.server.settings.limiting import RATES

#: For `Settings`, and for servers that take settings by name.
UNLIMITED: dict[str, str] = dict.fromkeys(RATES, "")
#: The same as environment variables.
UNLIMITED_ENVIRONMENT = {f"KEYTURN_{name.upper()}": value for name, value in UNLIMITED.items()}
