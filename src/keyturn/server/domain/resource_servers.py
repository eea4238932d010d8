"""Resource servers: who takes tokens."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ResourceServer:
    """Who takes tokens: `identifier` is their `aud` (RFC 8707), `algorithm` how they are signed.

    It is known in its tenant and those below.
    """

    id: str
    tenant_id: str
    identifier: str
    name: str
    algorithm: str
    created_at: datetime
    version: int = 1
