"""Raw ES256 signatures a second of one core: no token can be made faster than its signature.

`python -m tests.bench.signatures SECONDS CORE` prints the rate.
"""

from __future__ import annotations

import sys
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.bench.machine import pin

#: About what a token's header and payload are, in bytes.
MESSAGE = b"x" * 700


def rate(seconds: float) -> float:
    """Signs for that long and gives the signatures a second."""
    key, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    started, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(100):
            key.sign(MESSAGE, algorithm)
        done += 100
    return done / elapsed


def main(seconds: str, core: str) -> None:
    """Prints the rate."""
    pin(None if core == "-" else int(core))
    print(rate(float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
