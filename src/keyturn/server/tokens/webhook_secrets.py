"""The secrets that deliveries to webhooks are signed with (Standard Webhooks, symmetric).

A secret is random, and kept sealed: who has the database alone signs nothing.
"""

import base64
import hashlib
import hmac
import os
from dataclasses import replace
from datetime import datetime

from ..domain.errors import StorageNotReady
from ..domain.webhooks import Webhook
from .answers import SealedAnswers
from .secrets import DerivedKeys

PREFIX = "whsec_"
#: Random bytes of a secret.
_BYTES = 32


class SealedWebhookSecrets:
    """Implements the port `WebhookSecrets`."""

    def __init__(self, keys: DerivedKeys) -> None:
        """`keys` of 64 bytes."""
        self._version = keys.version.to_bytes(4, "big")
        self._seals = SealedAnswers(keys)

    def new(self, webhook_id: str) -> tuple[str, bytes]:
        """`whsec_` and base64, as receivers' libraries take it."""
        secret = os.urandom(_BYTES)
        text = PREFIX + base64.b64encode(secret).decode()
        return text, self._seals.seal(secret, webhook_id.encode())

    def signature(self, webhook: Webhook, now: datetime, content: bytes) -> str | None:
        """`v1,` and base64 of an HMAC-SHA256, once a secret, with spaces between."""
        sealed = [webhook.secret]
        if webhook.old_secret is not None and webhook.old_until and webhook.old_until > now:
            sealed.append(webhook.old_secret)
        signatures = []
        for one in sealed:
            secret = None if one is None else self._seals.open(one, webhook.id.encode())
            if secret is not None:
                digest = hmac.digest(secret, content, hashlib.sha256)
                signatures.append(f"v1,{base64.b64encode(digest).decode()}")
        return " ".join(signatures) or None

    def resealed(self, webhook: Webhook) -> Webhook | None:
        """An old secret that no master secret opens is dropped: it signs nothing any more."""
        old = webhook.old_secret
        stays = [one[:4] == self._version for one in (webhook.secret, old) if one is not None]
        if all(stays):
            return None
        context = webhook.id.encode()
        opened = None if old is None else self._seals.open(old, context)
        kept = None if opened is None else self._seals.seal(opened, context)
        if webhook.secret is None:
            return replace(webhook, old_secret=kept)
        secret = self._seals.open(webhook.secret, context)
        if secret is None:
            raise StorageNotReady(
                f"The secret of the webhook {webhook.id} was sealed under a master secret that is"
                " not in the settings: add that to KEYTURN_PREVIOUS_MASTER_SECRETS, or give the"
                " webhook a new secret."
            )
        return replace(webhook, secret=self._seals.seal(secret, context), old_secret=kept)
