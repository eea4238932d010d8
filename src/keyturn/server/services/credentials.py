"""Who is calling, told by an API key: one read, one constant-time comparison."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.errors import bad_client
from ..domain.model import KeyHash, KeyRecord
from .ports import ApiKeyFormat, Clock, KeyLookup, PresentedKey

# Compared with when there is no such key, so that the answer takes as long.
_NO_HASH = KeyHash(bytes(32), 0)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """How a client named itself (RFC 6749, 2.3): HTTP Basic, body parameters, or not at all.

    `client_id` is an API key's id or its user's name; `secret` an API key, or empty.
    """

    method: str
    client_id: str | None = None
    secret: str = ""

    def __repr__(self) -> str:
        return f"ClientCredentials(method={self.method!r}, client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a presented API key after one read.

    `record` is the stored key, whatever its state. `genuine`: the secret is right, and key and
    user may be used now. `why` says, for the log only, what is wrong otherwise.
    """

    presented: PresentedKey | None
    record: KeyRecord | None
    genuine: bool
    why: str

    def named(self, name: str) -> bool:
        """Whether `name` is the key's id or its user's name."""
        return self.record is not None and names(self.record, name)


NOTHING = Evidence(None, None, False, "not an API key")


def names(record: KeyRecord, name: str) -> bool:
    """Whether `name` is the key's id or its user's name (in any case)."""
    given = name.casefold().encode()
    return hmac.compare_digest(given, record.username.casefold().encode()) or hmac.compare_digest(
        name.encode(), record.key_id.encode()
    )


class Credentials:
    """Reads and checks API keys."""

    def __init__(self, lookup: KeyLookup, key_format: ApiKeyFormat, clock: Clock) -> None:
        self._lookup = lookup
        self._format = key_format
        self._clock = clock

    async def examine(self, text: str, tenants: Sequence[str] | None = None) -> Evidence:
        """What is known of the key in `text`. Only well-formed keys reach the database.

        `tenants` restricts the roles that are read. Raises Unavailable.
        """
        presented = self._format.parse(text)
        if presented is None:
            return NOTHING
        record = await self._lookup.find(presented.key_id, tenants=tenants)
        if record is None:
            self._format.matches(presented, _NO_HASH)
            return Evidence(presented, None, False, "no such key")
        right = self._format.matches(presented, record.hash)
        if not right:
            return Evidence(presented, record, False, "wrong secret")
        if not record.live(self._clock()):
            return Evidence(presented, record, False, _why_dead(record))
        return Evidence(presented, record, True, "")

    def rehash(self, evidence: Evidence) -> KeyHash | None:
        """A proven key's hash under the newest pepper; None when it has that already."""
        if evidence.presented is None or evidence.record is None or not evidence.genuine:
            return None
        return self._format.rehash(evidence.presented, evidence.record.hash)

    async def client(
        self, client: ClientCredentials, tenants: Sequence[str] | None = None
    ) -> KeyRecord:
        """The key of a client that must authenticate with its secret.

        Raises Refusal `invalid_client`, the same for an unknown client and a wrong secret.
        """
        if client.client_id is None or not client.secret:
            raise bad_client("no client credentials")
        evidence = await self.examine(client.secret, tenants)
        if evidence.record is None or not evidence.genuine or not evidence.named(client.client_id):
            raise bad_client(evidence.why or "client_id is not of this key")
        return evidence.record


def _why_dead(record: KeyRecord) -> str:
    if record.user_disabled_at is not None:
        return "the user is disabled"
    return "revoked" if record.revoked_at is not None else "expired"
