"""The pages of the person who signed in, whichever tenants they look at."""

from ...services.callers import Callers
from ...services.entrance import Entrance
from ..cookies import Cookies
from ..frame import View
from . import invitations, key_changes, keys, overview, password, sessions, tenants
from .browsers import BrowserPages
from .second_factor import SecondFactorPages


def account_views(entrance: Entrance, cookies: Cookies, callers: Callers) -> list[View]:
    """All of them."""
    return [
        *BrowserPages(entrance.signing_in, callers, cookies).views(),
        *SecondFactorPages(entrance.second_factor, callers).views(),
        *invitations.views(),
        *keys.views(),
        *key_changes.views(),
        *overview.views(callers),
        *password.views(),
        *sessions.views(cookies),
        *tenants.views(),
    ]
