"""The keyring of this node, kept in step with the signing keys in the database."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from ..domain.errors import KeyturnError, Unavailable
from ..domain.model import Revocation, RevocationKind
from ..domain.signing_keys import Ring
from ..services.signing_keys import SigningKeyUpkeep
from .signing import Keyring, KeySealer, SigningKey

log = logging.getLogger(__name__)

#: How often a node reads the signing keys, in seconds.
INTERVAL = 2.0
#: How long it may sign without having read them, in seconds: others rely on it when they delete a
#: key, and when a new one begins to sign.
UNREAD_FOR = 60.0


class KeyringFollower:
    """Reads the keys every `INTERVAL` seconds, and hands them on as a Keyring."""

    def __init__(self, upkeep: SigningKeyUpkeep, sealer: KeySealer, eddsa_header: str) -> None:
        """`eddsa_header` is the `alg` that Ed25519 signs under."""
        self._upkeep = upkeep
        self._sealer = sealer
        self._eddsa_header = eddsa_header
        #: Called with the keyring, whenever it is another one.
        self.on_change: Callable[[Keyring], None] | None = None
        self._opened: dict[str, SigningKey] = {}
        self._seen: object = None
        #: The keys as they were read last, and when (monotonic, in seconds).
        self.ring: Ring | None = None
        self.read_at = 0.0
        self._keyring: Keyring | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    async def read(self) -> Keyring:
        """The keyring of this moment. What is due is done before.

        Raises Unavailable, and StorageNotReady for keys that no master secret in force opens.
        """
        async with self._turn:
            started = time.monotonic()
            ring = await self._upkeep.keep()
            self.ring, self.read_at = ring, time.monotonic()
            signer = ring.signer(self._upkeep.ages)
            if signer is None:
                raise Unavailable("no signing key is in force")
            seen = ([(key.kid, key.slot) for key in ring.keys], signer.kid)
            if self._keyring is None or seen != self._seen:
                self._keyring = self._made(ring, signer.kid)
                self._seen = seen
                if self.on_change is not None:
                    self.on_change(self._keyring)
            self._keyring.good_until = started + UNREAD_FOR
            return self._keyring

    async def read_now(self) -> None:
        """After a change made here. Never raises: what fails is tried again."""
        with contextlib.suppress(KeyturnError):
            await self.read()

    def heard(self, entries: Sequence[Revocation]) -> None:
        """Has the keys read at once when one of them was revoked: it must not sign any more."""
        if any(entry.kind is RevocationKind.SIGNING_KEY for entry in entries):
            self._wake.set()

    async def follow(self) -> None:
        """Reads for ever. Ends by cancellation only."""
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.read()
            except Exception as error:  # noqa: BLE001 - it must go on
                # The keys at hand stay good for a while; what failed is hearing of new ones.
                if not failing:
                    said = str(error) if isinstance(error, KeyturnError) else type(error).__name__
                    log.warning("the signing keys cannot be read: %s", said)
                failing = True
            else:
                if failing:
                    log.info("the signing keys are read again")
                failing = False

    def _made(self, ring: Ring, signer: str) -> Keyring:
        for key in ring.keys:
            # To open an RSA key takes tens of milliseconds, and a key never changes.
            if key.kid not in self._opened:
                self._opened[key.kid] = self._sealer.open(key, self._eddsa_header)
        kept = {key.kid: self._opened[key.kid] for key in ring.keys}
        self._opened = kept
        return Keyring(kept.values(), kept[signer], [kept[key.kid] for key in ring.current])
