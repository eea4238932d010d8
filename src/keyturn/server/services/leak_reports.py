"""Reports of credentials that a scanner for secrets has found, and what becomes of these.

The signature is checked first. What was reported before, and what is no credential, changes
nothing: a report may come again, from whomever.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from ..domain.errors import Code, Guessed, Refusal
from ..domain.key_text import PREFIX as KEY_PREFIX
from ..domain.key_text import key_parts
from ..domain.trail import Actor
from .management.leaked_keys import Finding, LeakedKey, LeakedKeys
from .ports import ReportSignatures
from .revoking import Revoking

log = logging.getLogger(__name__)

#: Entries of one report that are looked at.
MOST_ENTRIES = 1_000
#: Those among them, each once, that look like a credential of ours and are asked for.
MOST_ASKED = 100
#: Characters kept of where a credential was found.
MOST_URL, MOST_SOURCE = 500, 50

_TOKEN_PREFIXES = ("ktr_", "eyJ")
# A credential in an address, whole or cut, must not get into the audit trail that way. Loose on
# purpose. (What follows `eyJ` is a token's header at least.)
_CREDENTIAL = re.compile(r"kt[ri]?_[\w-]{8}|eyJ[\w-]{8}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something that looks like a credential, and where it was found, in the finder's words."""

    token: str = field(repr=False)
    url: str = field(default="", repr=False)
    source: str = ""


class LeakReports:
    """Takes reports."""

    def __init__(self, signatures: ReportSignatures, keys: LeakedKeys, revoking: Revoking) -> None:
        self._signatures = signatures
        self._keys = keys
        self._revoking = revoking

    async def need_signed(self, body: bytes, key_id: str | None, signature: str | None) -> None:
        """Raises Refusal `access_denied`, the same for every reason, and Unavailable."""
        if key_id is None or signature is None:
            raise unsigned("no signature")
        if not await self._signatures.verified(body, key_id, signature):
            raise unsigned("the signature is not of a known key")

    async def report(self, sightings: Sequence[Sighting], actor: Actor) -> Mapping[str, bool]:
        """Ends what is a credential here; says of each token whether it is, or was, one.

        Tokens beyond the limits are not in the answer. Raises Unavailable: what was ended until
        then stays so, and the report can be sent again.
        """
        judged: dict[str, bool] = {}
        ended: list[LeakedKey] = []
        asked, left = 0, max(0, len(sightings) - MOST_ENTRIES)
        try:
            for sighting in sightings[:MOST_ENTRIES]:
                if sighting.token in judged:
                    continue
                if not _may_be_ours(sighting.token):
                    judged[sighting.token] = False
                elif asked == MOST_ASKED:
                    left += 1
                else:
                    asked += 1
                    judged[sighting.token] = await self._ended(sighting, actor, ended)
        finally:
            await self._keys.tell(ended)
        if left:
            log.warning("a report of leaked credentials is too long: %d were not looked at", left)
        return judged

    async def _ended(self, sighting: Sighting, actor: Actor, ended: list[LeakedKey]) -> bool:
        finding = _finding(sighting)
        if not sighting.token.startswith(KEY_PREFIX):
            return await self._revoking.found(sighting.token, actor, finding)
        leaked = await self._keys.found(sighting.token, actor, finding)
        if leaked is not None:
            ended.append(leaked)
        return leaked is not None


def unsigned(detail: str) -> Refusal:
    """The one answer to every report that is not to be believed."""
    return Guessed(Code.ACCESS_DENIED, "The report is not signed by a known key.", detail=detail)


def _may_be_ours(text: str) -> bool:
    """What can be told without a store, and at no cost."""
    if not text.isascii():
        return False
    return key_parts(text) is not None or text.startswith(_TOKEN_PREFIXES)


def _finding(sighting: Sighting) -> Finding:
    url, source = cleaned(sighting.url, MOST_URL), cleaned(sighting.source, MOST_SOURCE)
    return Finding("scanner", url, source)


def cleaned(text: str, most: int) -> str:
    """Words of somebody else's, fit to be kept and shown: one line of `most` characters at most,
    and none at all when a credential is among them.
    """
    text = text[: 4 * most]  # what is behind is not even looked at
    if _CREDENTIAL.search(text) or _CREDENTIAL.search(unquote(unquote(text))):
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:most]
