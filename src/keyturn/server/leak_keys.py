"""The public keys with which reports of leaked credentials are signed, and their signatures.

GitHub publishes its own at https://api.github.com/meta/public_keys/secret_scanning; a file of the
same form does for other scanners, and where nothing can be fetched. They are read when the first
report comes, not at the start, and never often: anybody may send a report, so anybody may ask.
"""

import asyncio
import base64
import binascii
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx
import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .domain.errors import Unavailable

log = logging.getLogger(__name__)

#: Seconds between two looks for the keys, whoever asks and whatever became of the first.
PAUSE = 300.0
#: Seconds that keys are believed: one that is taken back must end.
GOOD_FOR = 3_600.0
#: Seconds that reading them may take, and their size in bytes.
READ_WAIT, MOST_BYTES = 5.0, 65_536
#: Reports that may wait for them; others are told at once to come again.
MOST_WAITING = 8
_MOST_KEYS = 100

_KEY_ID = re.compile(r"[0-9A-Za-z_-]{1,128}")
_LONGEST_SIGNATURE = 128  # in base64; one of P-256 has 96 letters

Keys = Mapping[str, ec.EllipticCurvePublicKey]
Source = Callable[[], Awaitable[bytes]]


def open_leak_keys(url: str | None, file: Path | None) -> "LeakKeys":
    """The keys that the settings `leak_keys_url` and `leak_keys_file` name."""
    sources = [from_url(url)] if url else []
    if file:
        sources.append(from_file(file))
    return LeakKeys(sources)


class LeakKeys:
    """Checks signatures by ECDSA on P-256 with SHA-256 (port `ReportSignatures`)."""

    def __init__(
        self, sources: Sequence[Source], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` in seconds."""
        self._sources = sources
        self._clock = clock
        self._keys: Keys = {}
        self._tried_at: float | None = None
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0

    async def verified(self, body: bytes, key_id: str, signature: str) -> bool:
        """Whether the key of that id signed `body`. Raises Unavailable without keys to tell by."""
        raw = _decoded(signature)
        if raw is None or not _KEY_ID.fullmatch(key_id):
            return False
        key = await self._key(key_id)
        if key is None:
            return False
        try:
            key.verify(raw, body, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    async def _key(self, key_id: str) -> ec.EllipticCurvePublicKey | None:
        if key_id not in self._believed() and (self._reading or self._pause() <= 0):
            await self._news()
        known = self._believed()
        if key_id not in known and self._read_at != self._tried_at:
            retry_after = max(1, int(self._pause()))
            raise Unavailable("no keys to check leak reports with", retry_after=retry_after)
        return known.get(key_id)

    async def _news(self) -> None:
        """Until they are read: by one for all, who goes on when nobody waits any more."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable(
                "too many wait for the keys of leak reports", retry_after=math.ceil(READ_WAIT)
            )
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._is_read)
        self._waiting += 1
        try:
            await asyncio.shield(self._reading)
        finally:
            self._waiting -= 1

    def _is_read(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    def _believed(self) -> Keys:
        fresh = self._read_at is not None and self._clock() - self._read_at < GOOD_FOR
        return self._keys if fresh else {}

    def _pause(self) -> float:
        """Seconds until they may be read again."""
        return 0.0 if self._tried_at is None else self._tried_at + PAUSE - self._clock()

    async def _read(self) -> None:
        self._tried_at = now = self._clock()
        keys: dict[str, ec.EllipticCurvePublicKey] = {}
        try:
            async with asyncio.timeout(READ_WAIT):
                for source in self._sources:
                    keys |= parsed(await source())
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            ValueError,
        ) as error:  # TimeoutError is an OSError
            log.warning("keys of leak reports cannot be read: %s", type(error).__name__)
            return
        self._keys, self._read_at = keys, now


def from_url(url: str) -> Source:
    """Reads what stands at `url`: by itself, wherever that leads, and through no proxy."""

    async def source() -> bytes:
        timeout = httpx.Timeout(READ_WAIT)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            # Packed, a small answer could become a large one.
            if response.status_code != 200 or "content-encoding" in response.headers:
                raise ValueError("another answer than the keys")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ValueError("too large")
            return body

    return source


def from_file(path: Path) -> Source:
    """Reads a file."""

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)

    async def source() -> bytes:
        return await asyncio.to_thread(read)

    return source


def parsed(document: bytes) -> dict[str, ec.EllipticCurvePublicKey]:
    """The keys on P-256, by id; others are passed over. Raises ValueError when there are none."""
    if len(document) > MOST_BYTES:
        raise ValueError("too large")
    try:
        items = orjson.loads(document)["public_keys"][:_MOST_KEYS]
        listed = [(str(item["key_identifier"]), str(item["key"])) for item in items]
    except (KeyError, TypeError) as error:
        raise ValueError("not a document of keys") from error
    found = {key_id: key for key_id, pem in listed if (key := _p256(pem)) is not None}
    if not found:
        raise ValueError("no key on P-256")
    return found


def _p256(pem: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_pem_public_key(pem.encode("utf-8", "replace"))
    except (ValueError, UnsupportedAlgorithm):
        return None
    usable = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    return key if usable else None  # type: ignore[return-value]


def _decoded(signature: str) -> bytes | None:
    if len(signature) > _LONGEST_SIGNATURE:
        return None
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
