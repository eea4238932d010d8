"""Which revocations concern a token, and what they do to it (promise P4)."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from .model import Revocation, RevocationKind
from .tokens import AccessToken, Acting

#: What a revocation names: its kind and the id it kills.
Subject = tuple[RevocationKind, str]

#: The one subject of kind `everything`.
EVERYTHING: Subject = (RevocationKind.EVERYTHING, "*")

#: An epoch above every other: revokes all that a user ever got.
EVERY_EPOCH = 2**62

#: The end of an entry that lasts until it is lifted (a tenant's suspension).
#: Microseconds stay zero, so that every store keeps it to the letter.
FOREVER_YEAR = 9000


def subjects(token: AccessToken) -> tuple[Subject, ...]:
    """All that could kill `token` or take a tenant from it.

    That is at most 6 entries, and one for each of 20 tenants, each token it came from, and
    three for each who acts.
    """
    tenants = [token.tenant_id] if token.tenant_id else list(token.roles or ())
    return (
        (RevocationKind.TOKEN, token.jti),
        (RevocationKind.SESSION, token.session_id),
        (RevocationKind.KEY, token.key_id),
        (RevocationKind.USER, token.user_id),
        (RevocationKind.SIGNING_KEY, token.signed_by),
        EVERYTHING,
        *((RevocationKind.TENANT, tenant_id) for tenant_id in tenants),
        *((RevocationKind.TOKEN, jti) for jti in token.parents),
        *(subject for actor in actors(token) for subject in _acting(actor)),
    )


def actors(token: AccessToken) -> Iterator[Acting]:
    """Who acts for the user of `token`, the latest first."""
    actor = token.actor
    while actor is not None:
        yield actor
        actor = actor.before


def kills(found: Iterable[Revocation], token: AccessToken) -> bool:
    """Whether one of `found` ends the whole token."""
    return any(_kills(entry, token) for entry in found)


def _kills(entry: Revocation, token: AccessToken) -> bool:
    if entry.kind is RevocationKind.TENANT:
        return token.tenant_id == entry.subject
    if entry.kind not in (RevocationKind.USER, RevocationKind.EVERYTHING):
        return True
    below = entry.epoch if entry.epoch is not None else EVERY_EPOCH
    everybody = entry.kind is RevocationKind.EVERYTHING
    if token.epoch < below and (everybody or token.user_id == entry.subject):
        return True
    # Whoever acts for the user does so by a token, too.
    return any(
        actor.epoch < below and (everybody or actor.user_id == entry.subject)
        for actor in actors(token)
    )


def _acting(actor: Acting) -> tuple[Subject, ...]:
    """It acts by a key, or by a token of it, which has a session."""
    session = ((RevocationKind.SESSION, actor.session_id),) if actor.session_id else ()
    return (
        *session,
        (RevocationKind.KEY, actor.key_id),
        (RevocationKind.USER, actor.user_id),
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
