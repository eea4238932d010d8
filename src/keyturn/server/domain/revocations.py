"""Which revocations concern a token, and what they do to it (promise P4)."""

from collections.abc import Iterable
from datetime import datetime

from .model import Revocation, RevocationKind
from .tokens import AccessToken

#: What a revocation names: its kind and the id it kills.
Subject = tuple[RevocationKind, str]

#: An epoch above every other: revokes all that a user ever got.
EVERY_EPOCH = 2**62

#: The end of an entry that lasts until it is lifted (a tenant's suspension).
#: Microseconds stay zero, so that every store keeps it to the letter.
FOREVER_YEAR = 9000


def subjects(token: AccessToken) -> tuple[Subject, ...]:
    """All that could kill `token` or take a tenant from it. At most 4 + 20 entries."""
    tenants = [token.tenant_id] if token.tenant_id else list(token.roles or ())
    return (
        (RevocationKind.TOKEN, token.jti),
        (RevocationKind.SESSION, token.session_id),
        (RevocationKind.KEY, token.key_id),
        (RevocationKind.USER, token.user_id),
        *((RevocationKind.TENANT, tenant_id) for tenant_id in tenants),
    )


def kills(found: Iterable[Revocation], token: AccessToken) -> bool:
    """Whether one of `found` ends the whole token."""
    return any(
        token.epoch < (entry.epoch if entry.epoch is not None else EVERY_EPOCH)
        if entry.kind is RevocationKind.USER
        else entry.kind is not RevocationKind.TENANT or token.tenant_id == entry.subject
        for entry in found
    )


def suspended(found: Iterable[Revocation]) -> frozenset[str]:
    """The tenants that a token listing several of them may no longer be used in."""
    return frozenset(entry.subject for entry in found if entry.kind is RevocationKind.TENANT)


def stronger(one: Revocation, other: Revocation) -> Revocation:
    """Of two entries for one subject, one that kills what either does, as long as either does.

    Needed because a user's epoch only ever rises, and entries may arrive in any order.
    """
    epoch = None
    if one.epoch is not None and other.epoch is not None:
        epoch = max(one.epoch, other.epoch)
    return Revocation(one.kind, one.subject, max(one.expires_at, other.expires_at), epoch)


def still_counts(entry: Revocation, now: datetime) -> bool:
    """Whether `entry` can still hit a token at `now`."""
    return entry.expires_at > now
