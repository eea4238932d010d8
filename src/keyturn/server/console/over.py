"""What a form would be about has ended, or is not to be changed here: a page says so instead."""

from .api import Document

_ENDED_KEY = frozenset({"revoked", "expired", "idle"})


class Over(Exception):
    """A form could do nothing: its page says `text`, and leads to `back`, an address in the tenant.

    Raised by what shows the form, so that it is said to who opens it and to who sends it too late.
    """

    def __init__(self, title: str, text: str, back: str) -> None:
        super().__init__(title)
        self.title = title
        self.text = text
        self.back = back


def has_ended(key: Document) -> bool:
    """Whether an API key is worth nothing any more, whoever it is of."""
    return key["state"] in _ENDED_KEY


def need_live(key: Document, at: str) -> None:
    """Raises Over for an API key that has ended. `at` is where keys are listed."""
    if has_ended(key):
        text = f"{key['reason'] or ''} Nothing of it can be changed. Make a new key in its place."
        raise Over(f"The API key {key['name']} has ended", text.strip(), f"{at}/{key['id']}")


def need_not_revoked(key: Document, at: str) -> None:
    """Raises Over for an API key that was revoked before."""
    if key["revoked_at"]:
        text = f"{key['reason'] or ''} There is nothing left of it to end."
        raise Over(f"The API key {key['name']} has ended", text.strip(), f"{at}/{key['id']}")


def need_own(thing: Document, tenant_id: str, name: str, back: str) -> None:
    """Raises Over for what another tenant has, or every tenant: it is changed there, or nowhere."""
    if thing["tenant_id"] is None:
        raise Over(f"{name} is built in", "It is the same in every tenant and not changed.", back)
    if thing["tenant_id"] != tenant_id:
        raise Over(f"{name} is of a tenant above", "It is seen here and changed there.", back)
