"""What an access token says, and the type that exists only once it was verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of an access token (RFC 9068). Times are Unix seconds.

    `roles` maps tenant ids to role names. It has one entry when a tenant was chosen
    (`tenant_id`), and is None when there are too many tenants to list.
    """

    jti: str
    user_id: str
    key_id: str
    session_id: str
    epoch: int
    issued_at: int
    expires_at: int
    scope: tuple[str, ...]
    tenant_id: str | None
    roles: Mapping[str, tuple[str, ...]] | None


#: Signature, issuer, audience, type and times were checked. Revocation was not.
VerifiedToken = NewType("VerifiedToken", AccessToken)

#: A verified token that the revocation list does not know.
LiveToken = NewType("LiveToken", VerifiedToken)
