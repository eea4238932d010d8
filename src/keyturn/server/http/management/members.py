"""`/members`: who holds which roles in the caller's tenant itself."""

from typing import Any

from starlette.responses import Response

from ...domain.model import Member
from ...services.callers import Needs
from ...services.management.members import MemberManagement, NamedTeamMember
from ..fields import Body, Id, Name, PageQuery
from ..operation import Call, Operation, done, listed, part, shown


class NewMember(Body):
    """A role for a user who is at home here, or a member already."""

    user_id: Id
    role_id: Id


class MemberQuery(PageQuery):
    """Which members."""

    below: bool = False
    query: Name = ""


def member_operations(members: MemberManagement, base: str) -> list[Operation]:
    """The operations on members. `base` is what the answers' `href` begin with."""

    def view(member: Member) -> dict[str, Any]:
        user = member.user
        return {
            "user_id": user.id,
            "href": f"{base}/members/{user.id}",
            "kind": user.kind,
            "name": user.display_name,
            "email": user.username,
            "disabled_at": user.disabled_at,
            "roles": [{"role_id": role.id, "role_name": role.name} for role in member.roles],
        }

    def team_view(found: NamedTeamMember) -> dict[str, Any]:
        tenant = {"tenant_id": found.item.tenant_id, "tenant_name": found.tenant_name}
        return {**view(found.item.member), **tenant}

    def created(member: Member) -> Response:
        body = view(member)
        return shown(body, status=201, at=body["href"])

    async def list_members(call: Call) -> Response:
        query = call.query(MemberQuery)
        slice_ = part(query.limit, query.cursor)
        if query.below:
            return listed(await members.team(call.tenant, slice_, query=query.query), team_view)
        return listed(await members.members(call.tenant, slice_, query=query.query), view)

    async def read(call: Call) -> Response:
        return shown(view(await members.get(call.tenant, call.path("user_id"))))

    async def add(call: Call) -> Response:
        new = await call.body(NewMember)
        return created(await members.add(call.tenant, new.user_id, new.role_id, call.once(created)))

    async def remove(call: Call) -> Response:
        await members.remove(call.tenant, call.path("user_id"))
        return done()

    async def take_role(call: Call) -> Response:
        await members.take_role(call.tenant, call.path("user_id"), call.path("role_id"))
        return done()

    read_them, write_them = Needs("users:read"), Needs("users:write", administers=True)
    one = "/members/{user_id}"
    return [
        Operation("listMembers", "GET", "/members", read_them, list_members, query=MemberQuery),
        Operation("addMember", "POST", "/members", write_them, add, body=NewMember, creates=True),
        Operation("getMember", "GET", one, read_them, read),
        Operation("removeMember", "DELETE", one, write_them, remove),
        Operation("takeRole", "DELETE", f"{one}/roles/{{role_id}}", write_them, take_role),
    ]
