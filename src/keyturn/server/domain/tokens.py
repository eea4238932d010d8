"""What an access token says, and the type that exists only once it was verified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType

from .records import transient


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts for a token's user (RFC 8693, 4.1), by which key; who did `before`.

    `session_id` is empty for who showed the key itself.
    """

    user_id: str
    key_id: str
    session_id: str
    epoch: int
    before: "Acting | None" = None


@transient
class AccessToken:
    """The claims of an access token (RFC 9068). Times are Unix seconds.

    `roles` maps tenant ids to role names. It has one entry when a tenant was chosen
    (`tenant_id`), and is None when there are too many tenants to list.

    `audiences` are the resource servers that it is for; none: the installation's audience.
    `parents` are the ids of the tokens that it was exchanged from, the latest first: it ends
    when one of them is revoked. `endpoints` are the only ones that it opens; None: no such
    list, or (`unlisted_endpoints`) one too long for a token. `signed_by` is the signing key's id,
    once it was verified.
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
    audiences: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    actor: Acting | None = None
    endpoints: tuple[str, ...] | None = None
    unlisted_endpoints: bool = False
    signed_by: str = field(default="", compare=False)


#: Signature, issuer, audience, type and times were checked. Revocation was not.
VerifiedToken = NewType("VerifiedToken", AccessToken)

#: A verified token that the revocation list does not know.
LiveToken = NewType("LiveToken", VerifiedToken)
