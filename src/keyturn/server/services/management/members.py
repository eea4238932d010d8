"""Members: who holds which roles in the caller's tenant itself."""

from dataclasses import dataclass

from ...domain.errors import invalid_request, not_found
from ...domain.model import Member, Membership, Role
from ..callers import TenantCaller
from ..ports import Page, Slice, Store, Transaction
from ..ports.team import TeamMember
from .changes import Change, Changes, Once
from .offboarding import take_roles
from .standing import need_standing, role_to_give


@dataclass(frozen=True, slots=True)
class NamedTeamMember:
    """A member of one of several tenants, and what that is called."""

    item: TeamMember
    tenant_name: str


class MemberManagement:
    """Gives and takes roles in the caller's tenant. Who holds none there is not found (404)."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def members(self, caller: TenantCaller, part: Slice, *, query: str = "") -> Page[Member]:
        """Who holds roles in the tenant itself; those who hold them above it are not among them."""
        async with self._store.transaction() as tx:
            return await tx.memberships.members(caller.tenant_id, part, query=query)

    async def team(
        self, caller: TenantCaller, part: Slice, *, query: str = ""
    ) -> Page[NamedTeamMember]:
        """The members of the tenant and of all below it, which the caller's roles reach, too."""
        async with self._store.transaction() as tx:
            page = await tx.team.members(caller.tenant_id, part, query=query)
            names = await tx.team.names({item.tenant_id for item in page.items})
        items = (NamedTeamMember(item, names.get(item.tenant_id, "")) for item in page.items)
        return Page(tuple(items), page.next)

    async def get(self, caller: TenantCaller, user_id: str) -> Member:
        """Raises Refusal `not_found`."""
        async with self._store.transaction() as tx:
            return await _member(tx, caller, user_id)

    async def add(
        self, caller: TenantCaller, user_id: str, role_id: str, once: Once[Member] | None = None
    ) -> Member:
        """Gives a user that belongs here one role more.

        Raises Refusal `invalid_request` for a user who is neither at home here nor a member
        (such ones are invited, so that nobody gets a role unasked) and for an unknown role,
        `insufficient_scope` when the caller lacks what is in the role or in one that the user
        has, `conflict` when the user has the role.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id, once) as change:
            tx = change.tx
            user = await tx.users.get(user_id)
            if user is None or not (
                user.home_tenant_id == caller.tenant_id
                or await tx.memberships.member(caller.tenant_id, user_id)
            ):
                raise invalid_request(
                    "There is no such user in this tenant. Others are invited.", field="user_id"
                )
            role = await role_to_give(tx, caller, caller.tenant_id, role_id, "role_id")
            await need_standing(tx, caller, user.id)
            await tx.memberships.add(Membership(user.id, caller.tenant_id, role.id, change.now))
            change.reauthorise([user.id])
            change.note("membership.created", user.id, after={"role": role.name})
            return change.made(await _member(tx, caller, user.id))

    async def remove(self, caller: TenantCaller, user_id: str) -> None:
        """Takes all roles that the user has in the tenant; a human then has left it.

        Raises Refusal `not_found`, `insufficient_scope` for a user with more than the caller
        could give, `conflict` for the tenant's last administrator.
        """
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            member = await _member(change.tx, caller, user_id)
            await self._take(change, caller, member, member.roles)

    async def take_role(self, caller: TenantCaller, user_id: str, role_id: str) -> None:
        """Takes one role; a human without another here has left. Raises as `remove` does."""
        async with self._changes.begin(caller.actor, caller.tenant_id) as change:
            member = await _member(change.tx, caller, user_id)
            taken = tuple(role for role in member.roles if role.id == role_id.lower())
            if not taken:
                raise not_found("the user does not have that role here")
            await self._take(change, caller, member, taken)

    async def _take(
        self, change: Change, caller: TenantCaller, member: Member, roles: tuple[Role, ...]
    ) -> None:
        await need_standing(change.tx, caller, member.user.id)
        ends = self._changes.last_token_ends(change.now)
        await take_roles(change, caller.tenant_id, member, roles, ends)


async def _member(tx: Transaction, caller: TenantCaller, user_id: str) -> Member:
    member = await tx.memberships.member(caller.tenant_id, user_id)
    if member is None:
        raise not_found("the user holds no role in the tenant itself")
    return member
