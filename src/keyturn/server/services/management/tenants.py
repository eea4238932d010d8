"""Tenants: made below one's own, renamed, suspended, deleted; and their policies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from ...domain.errors import conflict, not_found
from ...domain.ids import new_id
from ...domain.model import Revocation, RevocationKind, Tenant
from ...domain.policy import Policy, effective, settled_by
from ...domain.revocations import FOREVER_YEAR
from ...domain.trail import Json
from ..callers import TenantCaller
from ..ports import Page, Slice, Store, Transaction
from .changes import Change, Changes, Once, Versions, need_version

FOREVER = datetime(FOREVER_YEAR, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What a tenant settled, and what holds there together with the tenants above.

    `settled_by` is the tenant whose rule holds, the tenant itself or one above; None: the default.
    """

    own: Policy
    effective: Policy
    version: int
    settled_by: Mapping[str, Tenant | None]


class TenantManagement:
    """Manages the caller's tenant and those below it. Others do not exist for it (404)."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def below(
        self, caller: TenantCaller, part: Slice, *, all_levels: bool = False, name: str = ""
    ) -> Page[Tenant]:
        """The tenants right below, or on all levels; with `name`, those that begin so."""
        async with self._store.transaction() as tx:
            tenants = tx.tenants
            find = tenants.descendants if all_levels else tenants.children
            return await find(caller.tenant_id, part, name=name)

    async def get(self, caller: TenantCaller, tenant_id: str) -> Tenant:
        """The caller's tenant, or one below it. Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _reached(tx, caller, tenant_id)

    async def create(
        self, caller: TenantCaller, name: str, once: Once[Tenant] | None = None
    ) -> Tenant:
        """A tenant right below the caller's. Raises Refusal `conflict` when the name is taken."""
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            tenant = Tenant(new_id(), caller.tenant_id, name, change.now)
            await change.tx.tenants.add(tenant)
            _note(change, "tenant.created", tenant.id, after={"name": name})
            return change.made(tenant)

    async def rename(
        self, caller: TenantCaller, tenant_id: str, name: str, seen: Versions
    ) -> Tenant:
        """Raises Refusal `not_found`, `stale`, `conflict`."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tenant = await _locked(change, caller, tenant_id)
            need_version(seen, tenant.version)
            saved = await change.tx.tenants.save(replace(tenant, name=name))
            _note(
                change,
                "tenant.renamed",
                tenant_id,
                before={"name": tenant.name},
                after={"name": name},
            )
            return saved

    async def suspend(self, caller: TenantCaller, tenant_id: str) -> Tenant:
        """Stops a tenant and all below it: no token is good there, none is given out.

        Raises Refusal `not_found`, or `conflict` for the caller's own tenant: nobody in it
        could resume it.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tenant = await _strictly_below(change, caller, tenant_id)
            if tenant.suspended_at is None:
                await change.tx.tenants.set_suspended(tenant_id, change.now)
                change.revoke(
                    *(
                        Revocation(RevocationKind.TENANT, below, FOREVER)
                        for below in await change.tx.tenants.below(tenant_id)
                    )
                )
                _note(change, "tenant.suspended", tenant_id)
            return await _reached(change.tx, caller, tenant_id)

    async def resume(self, caller: TenantCaller, tenant_id: str) -> Tenant:
        """Ends a suspension; what is suspended by itself below it, stays so.

        Raises Refusal `not_found`, `conflict` for the caller's own tenant.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tenant = await _strictly_below(change, caller, tenant_id)
            if tenant.suspended_at is not None:
                await change.tx.tenants.set_suspended(tenant_id, None)
                active = await change.tx.tenants.active(tenant_id)
                change.lift([(RevocationKind.TENANT, name) for name in active])
                _note(change, "tenant.resumed", tenant_id)
            return await _reached(change.tx, caller, tenant_id)

    async def delete(self, caller: TenantCaller, tenant_id: str, seen: Versions) -> None:
        """Deletes an empty tenant: none below it, no service user at home, no key bound to it.

        Raises Refusal `not_found`, `stale`, and `conflict` for one that is not empty or is the
        caller's own.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tenant = await _strictly_below(change, caller, tenant_id)
            need_version(seen, tenant.version)
            if await change.tx.tenants.occupied(tenant_id):
                raise conflict("The tenant is not empty: tenants, users or keys belong to it.")
            members = await change.tx.memberships.user_ids(tenant_id)
            await change.tx.tenants.remove(tenant_id)
            change.reauthorise(members)
            change.note("tenant.deleted", tenant_id, before={"name": tenant.name})

    async def policy(self, caller: TenantCaller, tenant_id: str) -> TenantPolicy:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _policy(tx, await _reached(tx, caller, tenant_id))

    async def set_policy(
        self, caller: TenantCaller, tenant_id: str, policy: Policy, seen: Versions
    ) -> TenantPolicy:
        """Settles a tenant's policy anew. Raises Refusal `not_found`, `stale`.

        It holds at once. Limits and the longest lifetime are for what is made from now on;
        the idle timeout is for all keys.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            tenant = await _locked(change, caller, tenant_id)
            need_version(seen, tenant.version)
            saved = await change.tx.tenants.save(replace(tenant, policy=policy))
            _note(
                change,
                "tenant.policy_changed",
                tenant_id,
                before=_shown(tenant.policy),
                after=_shown(policy),
            )
            return await _policy(change.tx, saved)


def _note(
    change: Change,
    action: str,
    tenant_id: str,
    *,
    before: Mapping[str, Json] | None = None,
    after: Mapping[str, Json] | None = None,
) -> None:
    """In the trail of the tenant, and in that of the one above from where it was done."""
    for trail in {tenant_id, change.tenant_id}:
        change.note(action, tenant_id, before=before, after=after, tenant_id=trail)


def _shown(policy: Policy) -> dict[str, Json]:
    return {name: value for name, value in asdict(policy).items() if value is not None}


async def _policy(tx: Transaction, tenant: Tenant) -> TenantPolicy:
    above = [await tx.tenants.get(name) for name in await tx.tenants.above(tenant.id)]
    lineage = [tenant, *(one for one in above if one is not None)]
    chain = [one.policy for one in lineage]
    settled = {
        rule: None if place is None else lineage[place] for rule, place in settled_by(chain).items()
    }
    return TenantPolicy(tenant.policy, effective(chain), tenant.version, settled)


async def _reached(tx: Transaction, caller: TenantCaller, tenant_id: str) -> Tenant:
    tenant = await tx.tenants.get(tenant_id)
    if tenant is None or not await tx.tenants.reaches(caller.tenant_id, tenant_id):
        raise not_found("no such tenant at or below the caller's")
    return tenant


async def _locked(change: Change, caller: TenantCaller, tenant_id: str) -> Tenant:
    """The tenant, which nobody else changes until this change is through."""
    await change.tx.tenants.lock(tenant_id)
    return await _reached(change.tx, caller, tenant_id)


async def _strictly_below(change: Change, caller: TenantCaller, tenant_id: str) -> Tenant:
    tenant = await _locked(change, caller, tenant_id)
    if tenant.id == caller.tenant_id:
        raise conflict("This is done from the tenant above: choose that one in x-tenant-id.")
    return tenant
