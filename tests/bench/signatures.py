"""Raw signatures a second of one core: no token can be made faster than its signature.

`python -m tests.bench.signatures ALGORITHM SECONDS CORE` prints the rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.bench.machine import pin

#: About what a token's header and payload are, in bytes.
MESSAGE = b"x" * 700


def _es256() -> Callable[[], bytes]:
    key, algorithm = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256())
    return lambda: key.sign(MESSAGE, algorithm)


def _rs256() -> Callable[[], bytes]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    form, algorithm = padding.PKCS1v15(), hashes.SHA256()
    return lambda: key.sign(MESSAGE, form, algorithm)


def _ed25519() -> Callable[[], bytes]:
    key = ed25519.Ed25519PrivateKey.generate()
    return lambda: key.sign(MESSAGE)


SIGNERS = {"es256": _es256, "rs256": _rs256, "ed25519": _ed25519}


def rate(sign: Callable[[], bytes], seconds: float) -> float:
    """Signs for that long and gives the signatures a second."""
    started, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(100):
            sign()
        done += 100
    return done / elapsed


def main(algorithm: str, seconds: str, core: str) -> None:
    """Prints the rate."""
    pin(None if core == "-" else int(core))
    print(rate(SIGNERS[algorithm](), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
