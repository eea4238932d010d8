"""Keyturn: API keys in, short-lived tenant-scoped tokens out.

`keyturn.server` is the token service (extra `server`), `keyturn.cli` its command line.
"""

__version__ = "0.1.0"
