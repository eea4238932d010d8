"""What a key gives on: a key that is made with another is never wider than that one.

A key is made, or given a new secret, with an access token, and a token can carry less than its
key gives: it may be for one tenant, or narrowed by scope. For one tenant it makes a key that
works there alone. A token narrowed by scope makes none, since no key is that narrow.

So it is for the keys that administrators make for others: networks, endpoints, tenant and time
of their own key bound those, else two service users with narrow keys would make each other wide
ones. What the key's roles and the token's scope leave out, they lack when roles are compared.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from ...domain.authority import carries_all
from ...domain.errors import Code, Refusal, bad_token
from ...domain.model import ApiKey, UserKind
from ...domain.networks import within
from ...domain.tokens import AccessToken
from ..callers import OwnCaller, TenantCaller
from ..ports import KeyLookup, Transaction

T = TypeVar("T")


def _wider(field: str) -> Refusal:
    return Refusal(
        Code.INSUFFICIENT_SCOPE,
        "A key is never wider than the one that it is made with.",
        field=field,
    )


def bounded(key: ApiKey, bounds: ApiKey) -> ApiKey:
    """`key`, made no wider than `bounds`: what it leaves open, it inherits.

    Raises Refusal `insufficient_scope` that names what is wider.
    """
    return replace(
        key,
        tenant_id=_bounded("tenant_id", key.tenant_id, bounds.tenant_id, str.__eq__),
        role_ids=_bounded("role_ids", key.role_ids, bounds.role_ids, _subset),
        endpoint_ids=_bounded("endpoint_ids", key.endpoint_ids, bounds.endpoint_ids, _subset),
        networks=_bounded("networks", key.networks, bounds.networks, within),
        expires_at=_bounded(
            "expires_at", key.expires_at, bounds.expires_at, lambda mine, theirs: mine <= theirs
        ),
        idle_timeout=_bounded(
            "idle_timeout",
            key.idle_timeout,
            bounds.idle_timeout,
            lambda mine, theirs: mine <= theirs,
        ),
    )


def need_within(key: ApiKey, bounds: ApiKey) -> None:
    """Raises Refusal `insufficient_scope` when `key` is wider than `bounds`."""
    if bounded(key, bounds) != key:
        raise Refusal(Code.INSUFFICIENT_SCOPE, "This API key gives more than what you call with.")


async def bounds_of(tx: Transaction, lookup: KeyLookup, caller: OwnCaller) -> ApiKey:
    """The key that the caller came with, as narrow as the caller's token.

    Raises Refusal `insufficient_scope` for a token that is narrowed by scope or endpoints, and for
    one by which somebody else acts.
    """
    token = caller.token
    _need_nobody_acts(token)
    key = await _calling(tx, token)
    if (
        key is None
        or (token.endpoints is not None and set(token.endpoints) != set(key.endpoint_ids or ()))
        or not await _carries_all(tx, lookup, caller, key)
    ):
        raise Refusal(
            Code.INSUFFICIENT_SCOPE,
            "The token carries less than its API key gives: exchange the key without a scope.",
        )
    return replace(key, tenant_id=token.tenant_id or key.tenant_id)


async def bounds_for_others(tx: Transaction, caller: TenantCaller) -> ApiKey:
    """What bounds keys that the caller makes for others: its own key, but for its roles.

    A person's key may end before those it makes: service users outlive who made them (N1), and
    people are told to have keys that expire. A program's may not, or it would outlive itself.

    Raises Refusal `invalid_token` when that key has just gone, and `insufficient_scope` when
    somebody else acts for the caller.
    """
    _need_nobody_acts(caller.token)
    key = await _calling(tx, caller.token)
    if key is None:
        raise bad_token("the key is gone")
    if caller.token.endpoints is not None:
        key = replace(key, endpoint_ids=caller.token.endpoints)
    if caller.kind is UserKind.HUMAN:
        key = replace(key, expires_at=None, idle_timeout=None)
    return replace(key, role_ids=None)


async def _calling(tx: Transaction, token: AccessToken) -> ApiKey | None:
    """The key that the token is of. What is made in a browser outlives the sign-in there."""
    key = await tx.api_keys.of_caller(token.key_id)
    if key is None or not key.for_console:
        return key
    return replace(key, expires_at=None, idle_timeout=None)


def _need_nobody_acts(token: AccessToken) -> None:
    """What was lent for minutes makes nothing that stays (RFC 8693)."""
    if token.actor is not None:
        raise Refusal(
            Code.INSUFFICIENT_SCOPE, "Whoever acts for somebody makes no API keys in their name."
        )


async def _carries_all(tx: Transaction, lookup: KeyLookup, caller: OwnCaller, key: ApiKey) -> bool:
    token = caller.token
    if token.roles is None:
        return True  # a token that is narrowed lists what it carries
    if not carries_all(caller.record, token.roles, token.scope):
        return False
    if token.tenant_id is not None:
        return True
    # Narrowed by scope it may have left out whole tenants. Those below come and go without it.
    left_out = {
        membership.tenant_id
        for membership, _ in await tx.memberships.of_user(token.user_id)
        if membership.tenant_id not in token.roles
        and (key.role_ids is None or membership.role_id in key.role_ids)
    }
    if not left_out:
        return True
    record = await lookup.find(token.key_id, tenants=sorted(left_out))
    return record is not None and not record.roles  # they are suspended


def _bounded(field: str, mine: T | None, bound: T | None, fits: Callable[[T, T], bool]) -> T | None:
    if bound is None:
        return mine
    if mine is None:
        return bound
    if not fits(mine, bound):
        raise _wider(field)
    return mine


def _subset(some: Collection[str], of: Collection[str]) -> bool:
    return set(some) <= set(of)
