"""What is wrong with a form is said at its fields, in the words of the form."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from keyturn.server.console.forms import Faults, Form, faults_of
from keyturn.server.console.words import in_words
from keyturn.server.domain.errors import Refusal, invalid_request
from keyturn.server.domain.permissions import VIEWER
from tests.http.console import walk
from tests.http.console.conftest import Console
from tests.http.management.keys import add_endpoint, made

_ALERT = re.compile(r'role="alert" id="faults".*?</div>', re.DOTALL)
_FAULT = re.compile(r'<li>(?:<a href="#([^"]+)">([^<]+)</a>[^:<]*: )?([^<]*)</li>')
#: Words of those who write programs: names of fields, and what types are called.
_OF_PROGRAMS = re.compile(
    r"[a-z]+_[a-z]+|String should|Input should|List should|RFC|\bnull\b|^must"
)
#: What no field can mend: a form that was open for too long.
_OF_NO_FIELD = {"/account/second-factor/set-up"}


def told(page: str) -> list[tuple[str, str, str]]:
    """The faults above a form: the field, its label, the text."""
    found = _ALERT.search(page)
    assert found, page
    return [(at, label, html.unescape(text)) for at, label, text in _FAULT.findall(found[0])]


async def things(console: Console) -> dict[str, str]:
    """One of each thing that has forms of its own, by the name that paths have for it."""
    rest, new = console.rest, {"name": "robot", "role_id": VIEWER.id}
    user = (await rest.post("/service-users", new)).json()
    key = await made(rest, user_id=user["id"])
    role = {"name": "reader", "permissions": ["users:read"]}
    server = {"identifier": "https://assets.example", "name": "Assets"}
    endpoint = await add_endpoint(console.service, console.tenant, "GET", "/a/{id}", "a:read")
    return {
        "user_id": user["id"],
        "key_id": key["id"],
        "role_id": (await rest.post("/roles", role)).json()["id"],
        "below_id": (await rest.post("/tenants", {"name": "below"})).json()["id"],
        "server_id": (await rest.post("/resource-servers", server)).json()["id"],
        "endpoint_id": endpoint.id,
    }


class TestForms:
    async def test_name_their_own_fields_and_nothing_of_the_api(self, console: Console) -> None:
        named = await things(console)
        seen = set()
        for view in walk.views(console.service):
            if view.method != "POST" or view.path.endswith(("/sign-in", "/code", "/sign-out")):
                continue
            if view.path.endswith(("/end-all", "/delete", "/revoke", "/leave", "/revocations")):
                continue
            path = walk.address(view, console.tenant, **named)
            answer = await walk.ask(console, view, path, user_id=named["user_id"], with_key="on")
            if answer.status_code != 400 or 'id="faults"' not in answer.text:
                continue
            for at, label, text in told(answer.text):
                assert at or view.path in _OF_NO_FIELD, (view.path, text)
                assert not at or f'id="{at}"' in answer.text, (view.path, at)
                assert not _OF_PROGRAMS.search(text), (view.path, text)
                assert not _OF_PROGRAMS.search(label), (view.path, label)
                seen.add(view.path)
        assert len(seen) > 15, seen

    @pytest.mark.parametrize(
        ("expires_at", "said"),
        [("", "Choose a date and a time."), ("tomorrow", "This is no date and time.")],
    )
    async def test_say_in_plain_words_what_is_odd_about_a_date(
        self, console: Console, expires_at: str, said: str
    ) -> None:
        user = (
            await console.rest.post("/service-users", {"name": "r", "role_id": VIEWER.id})
        ).json()
        fields = {"name": "k", "expires_in": "at", "expires_at": expires_at, "go": "yes"}
        form = f"/api-keys/new?user_id={user['id']}"
        for at, sent, page in (
            ("/api-keys/new", fields, form),
            ("/console/account/api-keys/new", fields, None),
        ):
            answer = await console.post(at, sent, form=page)
            assert answer.status_code == 400
            [(field, label, text)] = told(answer.text)
            assert (field, label) == ("f-expires_at", "Expires at")
            assert text.startswith(said)
            assert f'id="e-expires_at">{said}' in answer.text

    async def test_of_a_key_made_with_its_user_name_that_keys_fields(
        self, console: Console
    ) -> None:
        fields: dict[str, Any] = {
            **{"name": "robot", "role_id": VIEWER.id, "with_key": "on", "api_key.name": "first"},
            **{"api_key.expires_in": "at", "api_key.expires_at": ""},
        }
        answer = await console.post("/service-users/new", fields)
        [(field, label, _)] = told(answer.text)
        assert (field, label) == ("f-api_key.expires_at", "Expires at")

    async def test_say_which_of_several_lines_is_wrong(self, console: Console) -> None:
        user = (
            await console.rest.post("/service-users", {"name": "r", "role_id": VIEWER.id})
        ).json()
        fields = {"name": "k", "networks": "192.0.2.0/24\nnowhere", "go": "yes"}
        form = f"/api-keys/new?user_id={user['id']}"
        answer = await console.post("/api-keys/new", fields, form=form)
        assert '<a href="#f-networks">Networks</a>, number 2: ' in answer.text


class TestFaults:
    def test_of_no_field_of_the_form_are_told_without_a_name(self) -> None:
        faults = faults_of(invalid_request("That is odd.", field="some_thing.0"))
        [placed] = faults.placed({"name": "Name"})
        assert (placed.text, placed.name, placed.label) == ("That is odd.", "", "")

    def test_of_a_part_belong_to_the_nearest_field(self) -> None:
        faults = Faults("Wrong.", {"api_key.networks.3": "x", "api_key.name": "y"})
        networks, name = faults.placed({"api_key.networks": "Networks", "api_key.name": "Name"})
        assert (networks.name, networks.number) == ("api_key.networks", 4)
        assert (name.name, name.number) == ("api_key.name", 0)

    def test_keep_words_that_are_for_people_already(self) -> None:
        assert in_words("The user has an API key of this name.").startswith("The user has")

    def test_have_times_in_utc_where_no_zone_is_said(self) -> None:
        form = Form([("at", "2030-12-31T18:00"), ("zoned", "2030-12-31T18:00+02:00")])
        assert form.moment("at") == "2030-12-31T18:00:00+00:00"
        assert form.moment("zoned") == "2030-12-31T18:00:00+02:00"
        with pytest.raises(Refusal):
            form.moment("none")
