"""Cursors: where a page of a list goes on. Opaque to callers, and no secret."""

import base64
import binascii

import orjson

from ..domain.errors import Refusal, invalid_request

# In letters. Keys are ids, names and times.
_LONGEST = 1024


def write_cursor(keys: tuple[str, ...] | None) -> str | None:
    """The cursor of a row's keys; None for none."""
    if keys is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps(keys)).rstrip(b"=").decode()


def read_cursor(cursor: str | None) -> tuple[str, ...] | None:
    """The keys in a cursor. Raises Refusal `invalid_request` for what is none."""
    if cursor is None:
        return None
    if not cursor.isascii() or len(cursor) > _LONGEST:
        raise _malformed()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        keys = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise _malformed() from None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise _malformed()
    return tuple(keys)


def _malformed() -> Refusal:
    return invalid_request("The cursor is not valid.", field="cursor")
