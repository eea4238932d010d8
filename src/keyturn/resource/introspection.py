"""Asks the service about each token (RFC 7662): a source without a list, and the way out of a
stale one. An answer holds for a second at most, and who asks the same meanwhile waits for it.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .flights import Complaint, SingleFlight
from .revocation import Presented, Stale, Verdict
from .service import Fault, Service

#: How long an answer holds, in seconds, and how many are kept.
ANSWER_AGE = 1.0
MAX_ANSWERS = 4_096
#: Questions under way at once; more are not asked.
MAX_ASKED = 256


@dataclass(frozen=True, slots=True)
class _Answer:
    """`tenants` are those that the asker may know of, where the token is live."""

    asked_at: float
    active: bool
    tenants: frozenset[str]


class Introspection:
    """A source that asks every time. It needs client credentials."""

    def __init__(
        self, service: Service, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._monotonic = monotonic
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: SingleFlight[bytes, _Answer] = SingleFlight()
        self._complaint = Complaint("introspection does not work")
        # Who goes on asking when it is too much already is refused for longer.
        self._not_before = -math.inf

    async def start(self) -> None:
        """There is nothing to be fetched."""

    async def close(self) -> None:
        """Forgets what it was told."""
        self._answers.clear()

    async def find(self, text: str, presented: Presented, tenant_id: str | None) -> Verdict:
        """What the service says of the token. Raises Stale when it cannot be asked."""
        key = hashlib.sha256(text.encode()).digest()
        answer = self._answers.get(key)
        if answer is None or self._monotonic() - answer.asked_at > ANSWER_AGE:
            if len(self._asking) >= MAX_ASKED and key not in self._asking:
                raise Stale("too many questions are under way")
            try:
                answer = await self._asking.run(key, lambda: self._ask(text, key, presented))
            except Fault as fault:
                self._complaint.about(fault)
                raise Stale(f"introspection: {fault}") from fault
        if not answer.active:
            return Verdict.DEAD
        listed = presented.token.roles
        if listed is None:
            # Its tenants are not told: of each the service is asked elsewhere, as often as this.
            return Verdict.LIVE
        # A tenant that is listed and not answered is suspended, or none of this asker's business.
        wanted = listed.keys() if tenant_id is None else {tenant_id} & listed.keys()
        gone = bool(wanted) and answer.tenants.isdisjoint(wanted)
        return Verdict.SUSPENDED if gone else Verdict.LIVE

    async def _ask(self, text: str, key: bytes, presented: Presented) -> _Answer:
        if self._service.basic is None:
            raise Fault("there are no client credentials")
        if (wait := self._not_before - self._monotonic()) > 0:
            raise Fault("the service has had too many questions", status=429, retry_after=wait)
        asked_at = self._monotonic()
        metadata = await self._service.metadata()
        reply = await self._service.fetch(
            "POST",
            metadata.introspection_endpoint,
            form={"token": text},
            auth=self._service.basic,
        )
        if reply.status == 429:
            self._not_before = self._monotonic() + (reply.fault().retry_after or 1.0)
        answer = _read(reply.document(), presented, asked_at)
        self._complaint.settled()
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        return answer


def _read(document: Mapping[str, Any], presented: Presented, asked_at: float) -> _Answer:
    active = document.get("active")
    if not isinstance(active, bool):
        raise Fault("introspection answered something else")
    if active and document.get("jti") != presented.token.jti:
        raise Fault("introspection answered about another token")
    tenant_id, tenants = document.get("tenant_id"), document.get("tenants", {})
    if isinstance(tenant_id, str):
        tenants = {tenant_id: []}
    if not isinstance(tenants, dict):
        raise Fault("introspection answered something else")
    return _Answer(asked_at, active, frozenset(tenants))
