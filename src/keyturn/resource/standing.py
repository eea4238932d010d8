"""How a token stands with revocation now, also where what is known of that has grown too old."""

from math import inf
from typing import Literal

from .errors import Unavailable
from .introspection import ANSWER_AGE, Introspection
from .revocation import Presented, RevocationSource, Stale, Verdict

WhenStale = Literal["deny", "introspect", "accept"]


class Standing:
    """Asks `source`; when that is stale, `when_stale` decides. No source: by the signature alone.

    `max_staleness` in seconds.
    """

    def __init__(
        self,
        source: RevocationSource | None,
        introspection: Introspection | None,
        *,
        when_stale: WhenStale,
        max_staleness: float,
    ) -> None:
        self._source = source
        self._introspection = introspection
        self._when_stale = when_stale
        self._max_staleness = max_staleness
        # A list knows of suspensions, whatever a token names. Who asks about each token learns of
        # those that it names: what else the service said may not be kept for longer than that.
        self._holds = ANSWER_AGE if isinstance(source, Introspection) else inf

    async def of(
        self, text: str, presented: Presented, tenant_id: str | None
    ) -> tuple[Verdict, float]:
        """The verdict, and for how long what the service said of the token there holds (seconds).

        Raises Unavailable.
        """
        if self._source is None:
            return Verdict.LIVE, self._max_staleness
        try:
            return await self._source.find(text, presented, tenant_id), self._holds
        except Stale as stale:
            return await self._when_stale_says(text, presented, tenant_id, stale)

    async def _when_stale_says(
        self, text: str, presented: Presented, tenant_id: str | None, stale: Stale
    ) -> tuple[Verdict, float]:
        if self._when_stale == "accept":
            return stale.known, self._max_staleness
        if self._when_stale == "introspect" and self._introspection is not None:
            try:
                verdict = await self._introspection.find(text, presented, tenant_id)
            except Stale as other:
                stale = other
            else:
                heard_of = verdict is Verdict.LIVE and stale.known is Verdict.SUSPENDED
                return (stale.known if heard_of else verdict), ANSWER_AGE
        raise Unavailable(str(stale)) from stale
