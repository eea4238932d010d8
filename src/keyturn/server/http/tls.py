"""TLS as this service speaks it, and certificates that are renewed while it runs."""

import logging
import os
import ssl
from pathlib import Path
from typing import Literal, Self

log = logging.getLogger(__name__)

#: How often the files are looked at, in seconds.
RENEWED_WITHIN = 60

MinVersion = Literal["1.2", "1.3"]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# Of TLS 1.2 what has forward secrecy and authenticated encryption. TLS 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_State = tuple[tuple[int, int, int], ...]


class Certificates(ssl.SSLContext):
    """A server's context that can take its certificate from the files anew.

    Connections that are there keep the certificate that they began with.
    """

    _files: tuple[Path, Path]
    _loaded: _State
    _refused: _State | None

    @classmethod
    def of(cls, certificate: Path, key: Path, minimum: MinVersion) -> Self:
        """A context of the PEM files. Raises OSError (ssl.SSLError is one) if they are no pair."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[minimum]
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context._files = (certificate, key)
        context._refused = None
        context._loaded = context._state()
        _load(context, certificate, key)
        return context

    def renew(self) -> bool:
        """Takes the files anew if they have changed; whether it did.

        What is no certificate and its key (half of it is written yet, say) is left alone: the
        present one is served on, and the log has a warning.
        """
        try:
            state = self._state()
            if state in (self._loaded, self._refused):
                return False
            # On trial: the live context would keep a certificate without its key.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self._files)
            _load(self, *self._files)
        except OSError as error:
            why = error.strerror or type(error).__name__
            log.warning("the renewed TLS certificate cannot be used, the old one is: %s", why)
            self._refused = None if isinstance(error, FileNotFoundError) else state
            return False
        self._loaded, self._refused = state, None
        log.info("the TLS certificate was renewed")
        return True

    def _state(self) -> _State:
        """What changes when a file is written or replaced."""
        found = (file.stat() for file in self._files)
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    # Without a password OpenSSL would ask the terminal for that of a sealed key.
    context.load_cert_chain(os.fspath(certificate), os.fspath(key), password=lambda: "")


def serving_context(
    _config: object, _default: object, *, certificate: Path, key: Path, minimum: MinVersion
) -> ssl.SSLContext:
    """For uvicorn, in each of its workers."""
    return Certificates.of(certificate, key, minimum)
