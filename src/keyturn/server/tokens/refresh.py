"""Refresh tokens: `ktr_` and a sealed state (promise P3).

AES-SIV (RFC 5297) is deterministic: equal states give equal tokens, on every node, which is
how a retried refresh gets the same successor. It needs no nonce, so none can repeat. The
state is written as JSON with sorted keys for the same reason, and is not compressed: two
releases of a compressor may differ.
"""

import base64
import binascii
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ..domain.authority import Authority, Carried
from ..domain.sessions import RefreshState
from .base64url import encode
from .secrets import DerivedKeys

PREFIX = "ktr_"
#: Longest text that is looked at, in bytes. The largest state (20 tenants) stays well below.
MAX_TEXT = 48_000
_FORMAT = b"keyturn refresh 1"
# What `_encode` writes, audiences and all.
_ITEMS = 11
#: Most different ceilings that are kept in memory, opened.
MOST_CEILINGS = 1_000


class RefreshSealer:
    """Seals and opens refresh tokens (port `RefreshTokens`)."""

    def __init__(self, keys: DerivedKeys) -> None:
        """`keys` of 64 bytes: AES-256 for each half of SIV."""
        self._keys = keys
        self._version = keys.version.to_bytes(4, "big")
        self._current = AESSIV(keys.current)
        # Of the refresh tokens of a user most have the same: what follows from it is kept, too.
        self._ceilings: dict[bytes, Authority] = {}

    def seal(self, state: RefreshState) -> str:
        """The token of `state`; the same text each time."""
        sealed = self._current.encrypt(_encode(state), [_FORMAT, self._version])
        return PREFIX + encode(self._version + sealed).decode()

    def open(self, text: str) -> RefreshState | None:
        """The state sealed in `text`, or None for anything not sealed here."""
        if len(text) > MAX_TEXT or not text.startswith(PREFIX):
            return None
        body = text[len(PREFIX) :]
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if encode(raw).decode() != body:
            return None
        version = raw[:4]
        key = self._keys.get(int.from_bytes(version, "big"))
        if key is None or len(raw) < 20:
            return None
        siv = self._current if version == self._version else AESSIV(key)
        try:
            return self._decode(siv.decrypt(raw[4:], [_FORMAT, version]))
        except InvalidTag:
            return None

    def _decode(self, data: bytes) -> RefreshState:
        [session_id, generation, key_id, expires_at, ends_at, *ceiling, epoch, audiences] = _read(
            data
        )
        text = orjson.dumps(ceiling)
        known = self._ceilings.get(text)
        if known is None:
            if len(self._ceilings) >= MOST_CEILINGS:
                self._ceilings.clear()
            known = self._ceilings[text] = _ceiling(*ceiling)
        return RefreshState(
            session_id, generation, key_id, expires_at, ends_at, known, epoch, tuple(audiences)
        )


def _encode(state: RefreshState) -> bytes:
    short = state.ceiling.short
    return orjson.dumps(
        [
            state.session_id,
            state.generation,
            state.key_id,
            state.expires_at,
            state.session_ends_at,
            state.ceiling.tenant_id,
            short.tenants,
            short.sets,
            short.names,
            state.epoch,
            # Only where there are any: else as versions write it that know of none.
            *([state.audiences] if state.audiences else []),
        ],
        option=orjson.OPT_SORT_KEYS,
    )


def _read(data: bytes) -> list[Any]:
    """What `_encode` wrote; it leaves out audiences when there are none."""
    items: list[Any] = orjson.loads(data)
    return items if len(items) == _ITEMS else [*items, ()]


def _ceiling(
    tenant_id: str | None,
    tenants: dict[str, tuple[list[str], int]] | None,
    sets: list[list[int]],
    names: list[str],
) -> Authority:
    if tenants is None:
        return Authority(tenant_id, None)
    permissions = [frozenset(names[n] for n in item) for item in sets]
    return Authority(
        tenant_id,
        {
            tenant: Carried(tuple(roles), permissions[index])
            for tenant, (roles, index) in tenants.items()
        },
    )
