"""`keyturn` with signing keys that live for seconds: `python -m tests.faults.quick_keys serve`.

All that a verifier, a node or a token may take is shortened alike, so that what is shown of it
holds for the real times.
"""

import sys

from keyturn.cli.root import run
from keyturn.server import parts, wiring
from keyturn.server.domain import sessions
from keyturn.server.tokens import following

#: Seconds; see the names in keyturn.
MAX_AGE, UNREAD_FOR, LEEWAY, INTERVAL = 3, 5.0, 1, 0.5


def main() -> int:
    """One command."""
    for module, name, value in (
        *((module, "JWKS_MAX_AGE", MAX_AGE) for module in (wiring, parts)),
        *((module, "UNREAD_FOR", UNREAD_FOR) for module in (following, parts)),
        (following, "INTERVAL", INTERVAL),
        (sessions, "_LEEWAY", LEEWAY),
    ):
        assert hasattr(module, name)
        setattr(module, name, value)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
