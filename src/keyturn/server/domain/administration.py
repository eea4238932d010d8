"""Who may give what: nobody hands out, or takes control of, more than they have themselves."""

from .errors import gives_more
from .permissions import OWN


def administers(permissions: frozenset[str]) -> bool:
    """Whether somebody with these permissions in a tenant is its administrator.

    Administrators hold all of Keyturn's own permissions there. They may give every other one
    that is registered, too: a tenant's roles are theirs to make.
    """
    return permissions >= OWN


def may_give(held: frozenset[str], given: frozenset[str]) -> bool:
    """Whether who holds `held` in a tenant may hand on `given` there."""
    return given <= held or administers(held)


def need_to_give(held: frozenset[str], given: frozenset[str]) -> None:
    """Raises Refusal `insufficient_scope` when that would give what the caller lacks.

    It holds for every way to gain a role: giving it, putting permissions into a role that is
    held, or making, rotating or widening a key of somebody who has it.
    """
    if not may_give(held, given):
        raise gives_more("nobody gives what they lack")
