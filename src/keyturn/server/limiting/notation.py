"""Rates as they are written in settings: `60/minute`, `10 per 5 seconds`."""

import limits

from ..services.ports import Rate

#: No window is longer (seconds): what is counted is kept for two of them.
LONGEST = 86_400
#: Nobody needs a limit above that, and a typing error may look like one.
MOST = 1_000_000_000


def read_rate(text: str) -> Rate | None:
    """The rate in `limits`' notation; None for an empty text: no limit.

    Raises ValueError.
    """
    if not text.strip():
        return None
    advice = "must be such as 60/minute or 1000 per 5 minutes, at most a day; or empty for no limit"
    try:
        (item,) = limits.parse_many(text)
    except ValueError:  # more than one, too
        raise ValueError(advice) from None
    window = item.get_expiry()
    if not (0 < item.amount <= MOST and 0 < window <= LONGEST):
        raise ValueError(advice)
    return Rate(item.amount, window)
