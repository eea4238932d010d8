"""Mail addresses, as the names of users and as what invitations are sent to."""

import unicodedata

#: Where the addresses of service users end. They are generated, and nothing is ever sent there.
_GENERATED = ".service.keyturn.internal"


def folded_address(text: str) -> str:
    """What two addresses have in common exactly when they are one person's.

    Their letters in composed form (NFC) and lower case, and no more: `casefold` would take
    straße@ and strasse@ for one, who are two people.
    """
    return unicodedata.normalize("NFC", text).lower()


def is_generated(address: str) -> bool:
    """Whether only a service user can have the address, be there such a user or not."""
    return folded_address(address).endswith(_GENERATED)
