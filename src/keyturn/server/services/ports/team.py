"""Who works in a tenant and in those below it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...domain.model import Member, Role
from .pages import Page, Slice


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A member of one of several tenants."""

    tenant_id: str
    member: Member


class Team(Protocol):
    """A tenant seen with all below it."""

    async def members(self, tenant_id: str, part: Slice, *, query: str = "") -> Page[TeamMember]:
        """Who holds roles in the tenant or below, once for each of these tenants.

        `query` as in `Users.at_home`. Keys: the tenant's id and the user's.
        """
        ...

    async def held(
        self, tenant_ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[str, Sequence[tuple[str, Role]]]:
        """By user, the roles held in these tenants, each with its tenant's id."""
        ...

    async def names(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        """What tenants are called, by id; those that there are."""
        ...
