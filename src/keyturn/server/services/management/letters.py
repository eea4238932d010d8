"""The letters that people are sent: invitations."""

from dataclasses import dataclass

from ..ports import Mail, Mailer
from .offers import Offer


@dataclass(frozen=True, slots=True)
class Letters:
    """Writes them, and has them sent.

    `page` is the console's page to accept an invitation at, `api` where programs send its code.
    """

    mailer: Mailer
    page: str
    api: str

    async def invite(self, inviter: str, offer: Offer, code: str) -> bool:
        """Sends the code of an offer to whom it is made. Whether a mail server took the letter."""
        text = _INVITATION.format(
            inviter=inviter,
            tenant=offer.tenant_name,
            role=offer.role_name,
            code=code,
            page=self.page,
            api=self.api,
            until=f"{offer.invitation.expires_at:%Y-%m-%d %H:%M} UTC",
        )
        subject = f"Invitation to {offer.tenant_name}"
        return await self.mailer.send(Mail(to=offer.invitation.email, subject=subject, text=text))


# What stands behind a # is sent to no server, and so is in no server's log.
_INVITATION = """\
{inviter} invites you to {tenant}, as {role}.

To accept, open this page by {until}:

    {page}#code={code}

It asks for a password: yours, if you have an account here, or else a new one. The link is good for
one answer. Give it to nobody.

Without a browser, send the code and the password:

    POST {api}
    Content-Type: application/json

    {{"code": "{code}", "password": "…"}}

With an API key, the invitation can also be accepted, with the code, or declined, in the list of
your own invitations.

If you did not expect this, do nothing: nothing happens.
"""
