"""Why another server cannot be reached, in words for who set it up.

Libraries wrap what the system said, and their own texts may quote a URL with a password in it: so
what they wrap is looked at, and nothing of it is quoted.
"""

import errno
import socket
import ssl
from collections.abc import Iterator

_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
#: How deep causes are followed.
_DEEP = 16


def unreachable(where: str, error: BaseException) -> str | None:
    """A sentence about `where`; None when nothing in the error or its causes tells."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                return f"no address is known of {where}"
            case TimeoutError():
                return f"{where} does not answer in time"
            case ssl.SSLCertVerificationError():
                return f"{where} has a certificate that is not trusted: {cause.verify_message}"
            case ssl.SSLError():
                return f"{where} does not speak TLS as it should"
            case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
                return f"{where} closes connections"
            case OSError() if _is(cause, errno.ECONNREFUSED):
                return f"{where} refuses connections"
            case OSError() if _is(cause, *_NO_WAY):
                return f"no way leads to {where}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what led to it; of several at once the first."""
    cause: BaseException | None = error
    for _ in range(_DEEP):
        if cause is None:
            return
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__


def _is(error: OSError, *numbers: int) -> bool:
    # Of several addresses, asyncio tells the errors as one text.
    return error.errno in numbers or any(f"[Errno {number}]" in str(error) for number in numbers)
