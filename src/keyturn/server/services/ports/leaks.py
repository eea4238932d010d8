"""What the services need to believe a report of leaked credentials."""

from typing import Protocol


class ReportSignatures(Protocol):
    """The signatures of those whose reports are believed."""

    async def verified(self, body: bytes, key_id: str, signature: str) -> bool:
        """Whether the key of that id signed `body`, byte by byte. False for an unknown key.

        Raises Unavailable when it cannot be told now.
        """
        ...
