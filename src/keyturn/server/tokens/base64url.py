"""base64url without padding (RFC 7515, 2)."""

import binascii

_LETTERS = bytes.maketrans(b"+/", b"-_")


def encode(data: bytes) -> bytes:
    """`data` in ASCII."""
    return binascii.b2a_base64(data, newline=False).translate(_LETTERS, b"=")
