"""What is opened before requests are answered."""

from dataclasses import dataclass

from .http.stopping import Stopping
from .parts import Parts, WebhookParts
from .revocation import KeptList
from .services.continuity import Continuity
from .services.counts import Counts
from .services.ports import Clock, Passwords
from .services.throttling import Throttling
from .services.usage import Usage
from .settings import Settings
from .tokens.access import AccessTokenSigner
from .tokens.following import KeyringFollower


@dataclass(frozen=True, slots=True)
class Running:
    """What was opened, and runs."""

    settings: Settings
    parts: Parts
    revocations: KeptList
    signer: AccessTokenSigner
    keyring: KeyringFollower
    usage: Usage
    throttling: Throttling
    passwords: Passwords
    stopping: Stopping
    clock: Clock
    counts: Counts
    webhooks: WebhookParts
    history: Continuity | None = None
