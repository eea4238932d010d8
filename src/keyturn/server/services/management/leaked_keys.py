"""API keys that leaked: revoked at once by whoever shows the whole key.

To have a key is reason enough to end it, as RFC 7009 has it of tokens: it may be used by whoever
else has it, too. Half of one (the public id with another secret) ends nothing.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ...domain.errors import Code, Refusal, Unavailable, bad_client
from ...domain.model import ApiKey, KeyRecord, UserKind
from ...domain.trail import Actor
from ..credentials import ClientCredentials, Credentials
from ..ports import Mail, Mailer, Transaction
from .changes import Changes
from .key_states import LEAKED
from .rotation import revoke_key

log = logging.getLogger(__name__)

#: Seconds that the mails of one report may take together.
MAIL_WAIT = 5.0
#: Mails of one report. The audit trail tells of every key.
MOST_MAILS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Who says that something leaked, `holder` or `scanner`, and where that one found it: an
    address and a kind of place, cleaned of all that must not be shown.
    """

    reported_by: str
    url: str = ""
    source: str = ""


HOLDER = Finding("holder")


@dataclass(frozen=True, slots=True)
class LeakedKey:
    """A key that was shown. `to` are the addresses of whom to tell, when it died by that."""

    key: KeyRecord
    name: str = ""
    tenant_name: str = ""
    finding: Finding = HOLDER
    to: tuple[str, ...] = ()


class LeakedKeys:
    """Ends keys that leaked, and tells the people who administer their home tenants: there, or
    where there are none, in the nearest tenant above that has some.
    """

    def __init__(self, credentials: Credentials, changes: Changes, mailer: Mailer) -> None:
        self._credentials = credentials
        self._changes = changes
        self._mailer = mailer

    async def presented(self, text: str, client: ClientCredentials, actor: Actor) -> bool:
        """Ends the key in `text`, which its holder sent. Anything but a live key is no error.

        False for what looks like a key and never was one: somebody may be guessing.
        A client that names itself must be the key's. Raises Refusal `invalid_client`.
        """
        evidence = await self._credentials.examine(text, None, tenants=())
        if not evidence.proven:
            return not evidence.guessed
        if client.client_id is not None and not evidence.named(client.client_id):
            raise bad_client("the key is another client's")
        record = evidence.key
        who = replace(actor, user_id=record.user_id, key_id=record.key_id)
        await self.tell([await self._end(record, who, HOLDER)])
        return True

    async def found(self, text: str, actor: Actor, finding: Finding) -> LeakedKey | None:
        """Ends the key in `text`, which was found, and tells nobody yet.

        None for what never was a key here, a wrong secret, or one that had been replaced. A key
        that was revoked before stays as it is.
        """
        evidence = await self._credentials.examine(text, None, tenants=())
        return await self._end(evidence.key, actor, finding) if evidence.proven else None

    async def tell(self, leaked: Iterable[LeakedKey]) -> None:
        """Mails the administrators. What becomes of the mails undoes nothing."""
        mails = [Mail(to, _SUBJECT, _text(one)) for one in leaked for to in one.to]
        if len(mails) > MOST_MAILS:
            log.warning("of %d mails about leaked keys %d are sent", len(mails), MOST_MAILS)
        try:
            async with asyncio.timeout(MAIL_WAIT):
                for mail in mails[:MOST_MAILS]:
                    await self._mailer.send(mail)
        except TimeoutError:
            log.warning("mails about leaked keys took too long: not all are sent")

    async def _end(self, record: KeyRecord, actor: Actor, finding: Finding) -> LeakedKey:
        if record.revoked_at is not None:
            return LeakedKey(record)
        try:
            return await self._revoked(record, actor, finding)
        except Refusal as refusal:
            if refusal.code is not Code.NOT_FOUND:
                raise
            # The key has another home since it was read: the next try finds that one.
            raise Unavailable("the home tenant of a leaked key was deleted just now") from None

    async def _revoked(self, record: KeyRecord, actor: Actor, finding: Finding) -> LeakedKey:
        async with self._changes.begin(actor, record.home_tenant_id) as change:
            key = await change.tx.api_keys.get(record.key_id)
            if key is None or key.revoked_at is not None:
                return LeakedKey(record)  # in between
            await revoke_key(change, key, self._changes.last_token_ends(change.now), LEAKED)
            change.note(
                "api_key.leaked",
                key.id,
                tenant_id=key.home_tenant_id,
                reported_by=finding.reported_by,
                url=finding.url,
                source=finding.source,
            )
            leaked = await _to_tell(change.tx, record, key, finding)
        log.warning("an API key leaked and is revoked: %s", key.id)
        return leaked


async def _to_tell(tx: Transaction, record: KeyRecord, key: ApiKey, finding: Finding) -> LeakedKey:
    home = await tx.tenants.get(key.home_tenant_id)
    people: list[str] = []
    for tenant_id in (key.home_tenant_id, *await tx.tenants.above(key.home_tenant_id)):
        ids = await tx.memberships.administrators(tenant_id)
        users = [await tx.users.get(user_id) for user_id in ids]
        people = [u.username for u in users if u is not None and u.kind is UserKind.HUMAN]
        if people:
            break
    return LeakedKey(record, key.name, home.name if home else "", finding, tuple(people))


_SUBJECT = "An API key leaked, and is revoked"

_TEXT = """\
The API key {name!r} ({id}) of {username} in {tenant}
{where}

It is revoked, with every session and token that it gave. Whoever needs it makes another one.
What it was used for, its tenant's audit trail tells.
"""


def _text(leaked: LeakedKey) -> str:
    where = "was reported by somebody who has it."
    if leaked.finding.reported_by == "scanner":
        where = "was found where others can read it, by a scanner for secrets."
        if leaked.finding.url:
            where += f"\n\n    {leaked.finding.url}"
    return _TEXT.format(
        name=leaked.name,
        id=leaked.key.key_id,
        username=leaked.key.username,
        tenant=leaked.tenant_name,
        where=where,
    )
