"""Mail to people. Where no server is configured, the log tells that a mail was due."""

import logging

from .services.ports import Mail, Mailer

log = logging.getLogger(__name__)


def open_mailer(smtp_url: str | None, mail_from: str) -> Mailer:
    """The mailer that the settings `smtp_url` and `mail_from` ask for."""
    if not smtp_url:
        return LogMailer()
    from .smtp import SmtpMailer  # not for who sends no mail

    return SmtpMailer(smtp_url, mail_from)


class LogMailer:
    """Sends nothing, and says so (port `Mailer`)."""

    async def send(self, mail: Mail) -> bool:
        """Always False."""
        log.warning("mail to %r not sent: no mail server is configured", mail.to)
        return False
