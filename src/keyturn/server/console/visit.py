"""One request of a browser: who is there, in which tenant, and what its page may do."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from ..domain.errors import Guessed, Refusal
from ..http.limits import FAILED
from ..services.callers import Arrival, TenantCaller
from .api import Answer, Document, Operations, Query, answer_of
from .forms import AT_THE_FORM, ONCE, Faults, Form, faults_of
from .notices import notice
from .templates import Templates, ago

#: What no browser, and nobody between, keeps: pages show what is secret, or changes.
NO_STORE = {"Cache-Control": "no-store"}
#: Where the console stands.
ROOT = "/console"


@dataclass(slots=True)
class Visit:
    """One request of the console.

    `arrival` is who signed in, `here` that person in the tenant of the page; None: nobody did, or
    the page is of no tenant. `origin` is the public URL's, for links that people send on. `csrf` is
    what forms carry. `is_root`: the tenant is the platform.
    """

    request: Request
    address: str | None
    operations: Operations
    templates: Templates
    origin: str = ""
    cookie: str = field(default="", repr=False)
    arrival: Arrival | None = None
    here: TenantCaller | None = None
    csrf: str = field(default="", repr=False)
    is_root: bool = False
    form: Form = field(default_factory=Form)
    faults: Faults = field(default_factory=Faults)

    @property
    def tenant(self) -> TenantCaller:
        """The person in the tenant of a page that is of one."""
        assert self.here is not None  # noqa: S101 - the frame lets nobody else in
        return self.here

    def path(self, name: str) -> str:
        """A part of the page's path."""
        value: str = self.request.path_params[name]
        return value

    def asked(self, name: str) -> str:
        """A parameter of the page's URL, in at most 1,024 characters; empty without it."""
        value: str = self.request.query_params.get(name, "")
        return value.strip()[:1024]

    def may(self, operation_id: str) -> bool:
        """Whether the person is let in to the operation in this tenant: what a page offers."""
        if self.here is None:
            return self.arrival is not None
        return self.operations.allows(operation_id, self.here.permissions)

    # --- asking ---------------------------------------------------------------------------

    async def ask(
        self,
        operation_id: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: object = None,
        if_match: str | None = None,
        once: bool = False,
    ) -> Answer:
        """What an operation answers, in the page's tenant.

        `once`: it makes something, and the form that asks may come twice. Raises what operations
        raise: Refusal, Throttled, Unavailable.
        """
        return answer_of(
            await self.stream(
                operation_id,
                path=path,
                query=query,
                body=body,
                if_match=if_match,
                once=(self.form.text(ONCE) or None) if once else None,
            )
        )

    async def get(
        self, operation_id: str, /, *, query: Query | None = None, **path: str
    ) -> Document:
        """What an operation that reads answers: its document alone."""
        return (await self.ask(operation_id, path=path, query=query)).data

    async def get_if(
        self, operation_id: str, /, *, query: Query | None = None, **path: str
    ) -> Document:
        """The same; an empty document for who is not let in to it."""
        if not self.may(operation_id):
            return {}
        return await self.get(operation_id, query=query, **path)

    async def stream(
        self,
        operation_id: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Query | None = None,
        body: object = None,
        if_match: str | None = None,
        once: str | None = None,
    ) -> Response:
        """The operation's own response: for what is downloaded."""
        return await self.operations.ask(
            operation_id,
            self.arrival,
            address=self.address,
            tenant_id=None if self.here is None else self.here.tenant_id,
            path=path,
            query=query,
            body=body,
            if_match=if_match,
            once=once,
            outer=self.request.scope,
        )

    # --- answering ------------------------------------------------------------------------

    def url(self, path: str = "", /, **query: object) -> str:
        """An address in the page's tenant (`/api-keys`), or without one in the console."""
        asked = urlencode({name: value for name, value in query.items() if value not in (None, "")})
        base = ROOT if self.here is None else f"{ROOT}/t/{self.here.tenant_id}"
        return f"{base}{quote(path)}{'?' if asked else ''}{asked}"

    def render(self, template: str, /, status: int = 200, **context: Any) -> Response:
        """A page. `context` is what its template names."""
        html = self.templates.render(
            template,
            {
                "visit": self,
                "form": self.form,
                "faults": self.faults,
                # What each field of the page's form is called: the macros that write them say so.
                "labels": {},
                "may": self.may,
                "url": self.url,
                "csrf": self.csrf,
                "once": secrets.token_urlsafe(18),
                "notice": notice(self.asked("done")),
                **context,
            },
        )
        return Response(html, status, NO_STORE, "text/html")

    def confirm(
        self,
        title: str,
        *,
        label: str,
        action: str,
        back: str,
        ends: Sequence[str] = (),
        note: str = "",
        fields: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """The page that asks before a destructive act, and says what it `ends`.

        `action` and `back` are addresses in the tenant.
        """
        return self.render(
            "confirm.html",
            status,
            title=title,
            ends=ends,
            note=note,
            label=label,
            action=self.url(action),
            back=self.url(back),
            fields=fields or {},
        )

    def ago(self, at: str | None) -> str:
        """How long ago a time of the API was; `never` for none."""
        return "never" if at is None else ago(at, self.templates.now())

    def to(self, path: str, /, done: str = "", **query: object) -> Response:
        """On to another page of the tenant, which says what is `done` (the name of a notice)."""
        return see_other(self.url(path, done=done, **query))

    def forget(self, name: str) -> None:
        """What was sent in a field is not shown again: a secret."""
        self.form = Form([(key, value) for key, value in self.form.pairs if key != name])

    def refused(self, refusal: Refusal) -> None:
        """A form was refused: it is shown again and says why. Raises what no form can mend."""
        if refusal.code not in AT_THE_FORM:
            raise refusal
        self.count(refusal)
        self.faults = faults_of(refusal)

    def count(self, refusal: Refusal) -> None:
        """A refusal is answered by a page: what was guessed counts as a failure all the same."""
        if isinstance(refusal, Guessed):
            self.request.scope[FAILED] = True


def see_other(url: str) -> Response:
    """On to another page, by GET (RFC 9110, 15.4.4)."""
    return Response(status_code=303, headers={**NO_STORE, "Location": url})
