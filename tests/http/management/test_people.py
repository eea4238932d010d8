"""People: they come in by an invitation's code, change their passwords, leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from keyturn.server import app as wiring
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import (
    Invitation,
    InvitationState,
    Membership,
    Role,
    User,
    UserKind,
)
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.services.management.invitations import code_hash
from keyturn.server.services.management.people import MOST_WRONG
from keyturn.server.tokens.passwords import Argon2Passwords
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

Start = Callable[..., Awaitable[Running]]

ADA = "ada@example.com"
PASSWORD = "three small steps and a fence"
OTHER = "a lamp that hums at noon"
GENERATED = "@acme.service.keyturn.internal"


class Counted(Argon2Passwords):
    """Counts what it computes, and takes less memory for it."""

    computed = 0

    def __init__(self) -> None:
        super().__init__(memory=1024, passes=1, lanes=1)

    async def hash(self, password: str) -> str:
        Counted.computed += 1
        return await super().hash(password)

    async def verify(self, password: str, stored: str | None) -> bool:
        Counted.computed += 1
        return await super().verify(password, stored)


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "Argon2Passwords", Counted)


async def invited(admin: Person, email: str = ADA, role: str = VIEWER.id) -> dict[str, Any]:
    answer = await admin.post("/invitations", {"email": email, "role_id": role})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def accept(
    service: Running, code: str, password: str = PASSWORD, **more: Any
) -> httpx.Response:
    body = {"code": code, "password": password, **more}
    return await service.client.post("/iam/invitations/accept", json=body)


async def preview(service: Running, code: str) -> httpx.Response:
    return await service.client.post("/iam/invitations/preview", json={"code": code})


async def ada(service: Running, admin: Person) -> Person:
    """Somebody with a password and an API key, in acme."""
    answer = await accept(service, (await invited(admin))["code"], api_key={"name": "laptop"})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    async with service.service.parts.store.transaction() as tx:
        user = await tx.users.get(body["user"]["id"])
    assert user is not None
    token = await service.token(
        grant_type="password", username=ADA, password=body["api_key"]["secret"]
    )
    return Person(service, user, token.json()["access_token"], admin.tenant)


async def again(someone: Person, **how: Any) -> Person:
    """With a new key, and a token of what the user may do now."""
    tokens = await someone.service.exchange_for(someone.user, **how)
    return replace(someone, token=tokens["access_token"])


async def offer(admin: Person, email: str, **changes: Any) -> str:
    """An invitation as it could not be made by a request; its code."""
    now = admin.service.clock()
    invitation = Invitation(
        new_id(),
        admin.service.acme,
        VIEWER.id,
        email,
        InvitationState.PENDING,
        now,
        now + timedelta(days=1),
        admin.user.id,
    )
    code = f"kti-{new_id()}"
    async with admin.service.service.parts.store.transaction() as tx:
        await tx.invitations.add(replace(invitation, **changes), code_hash(code))
    return code


async def roles_in(service: Running, user_id: str, tenant: str) -> set[str]:
    async with service.service.parts.store.transaction() as tx:
        member = await tx.memberships.member(tenant, user_id)
    return set() if member is None else {role.name for role in member.roles}


async def suspend(service: Running, tenant_id: str, *, end: bool = False) -> None:
    async with service.service.parts.store.transaction() as tx:
        await tx.tenants.set_suspended(tenant_id, None if end else service.clock())


async def add_user(service: Running, kind: UserKind, email: str, home: str = "") -> User:
    user = User(new_id(), kind, email, email, home or service.acme, 1, service.clock())
    async with service.service.parts.store.transaction() as tx:
        await tx.users.add(user)
    return user


class TestPreview:
    async def test_tells_who_has_the_code_what_is_offered_and_by_whom(
        self, service: Running, admin: Person
    ) -> None:
        offer = await invited(admin)
        before = Counted.computed
        answer = await preview(service, offer["code"])
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "inviter": admin.user.display_name,
            "tenant_name": "acme",
            "role_name": "viewer",
            "expires_at": offer["expires_at"],
        }
        assert Counted.computed == before
        assert (await admin.get(f"/invitations/{offer['id']}")).json()["state"] == "pending"

    async def test_is_the_same_whether_there_is_an_account(
        self, service: Running, admin: Person
    ) -> None:
        known = await ada(service, admin)
        answers = []
        for email in (known.user.username, "nobody@example.com"):
            code = (await invited(admin, email, EDITOR.id))["code"]
            told = (await preview(service, code)).json()
            answers.append({**told, "expires_at": None})
        assert answers[0] == answers[1]

    async def test_has_one_answer_to_all_bad_codes(self, service: Running, admin: Person) -> None:
        withdrawn = await invited(admin)
        await admin.delete(f"/invitations/{withdrawn['id']}")
        spent = await invited(admin)
        assert (await accept(service, spent["code"])).status_code == 201
        answers = {
            (answer.status_code, answer.json()["detail"], answer.json().get("field"))
            for code in (withdrawn["code"], spent["code"], "kti_" + "x" * 43, "")
            for answer in [await preview(service, code)]
        }
        assert len(answers) == 1
        [(status, _, _)] = answers
        assert status == 400


class TestAccept:
    async def test_201_somebody_new(self, service: Running, admin: Person) -> None:
        made = await invited(admin)
        answer = await accept(service, made["code"], name="Ada")
        assert answer.status_code == 201
        body = answer.json()
        assert body["user"] == {
            "id": body["user"]["id"],
            "kind": "human",
            "name": "Ada",
            "email": ADA,
            "home_tenant_id": service.acme,
        }
        assert body["invitation"]["state"] == "accepted"
        assert body["api_key"] is None
        assert await roles_in(service, body["user"]["id"], service.acme) == {"viewer"}
        members = (await admin.get("/members")).json()["items"]
        assert ("human", "Ada", ADA) in {(m["kind"], m["name"], m["email"]) for m in members}

    async def test_201_n3_with_a_first_key(self, service: Running, admin: Person) -> None:
        made = await invited(admin)
        answer = await accept(service, made["code"], api_key={"name": "laptop"})
        key = answer.json()["api_key"]
        assert (key["name"], key["user_id"], key["created_by"]) == (
            "laptop",
            answer.json()["user"]["id"],
            answer.json()["user"]["id"],
        )
        token = await service.token(grant_type="password", username=ADA, password=key["secret"])
        roles = await service.get("/iam/users/me", token.json()["access_token"])
        assert [r["role_name"] for r in roles.json()["roles"]] == ["viewer"]

    async def test_201_audited_without_secrets(self, service: Running, admin: Person) -> None:
        made = await invited(admin)
        body = (await accept(service, made["code"], api_key={"name": "laptop"})).json()
        events = await admin.get("/audit-events", params={"actor": body["user"]["id"]})
        assert {(e["action"], e["target"]) for e in events.json()["items"]} == {
            ("user.created", body["user"]["id"]),
            ("invitation.accepted", made["id"]),
            ("membership.created", body["user"]["id"]),
            ("api_key.created", body["api_key"]["id"]),
        }
        for secret in (made["code"], PASSWORD, body["api_key"]["secret"]):
            assert secret not in events.text

    async def test_201_somebody_known_gives_their_password(
        self, service: Running, admin: Person
    ) -> None:
        me = await ada(service, admin)
        globex_admin = await person(service, TENANT_ADMIN, service.globex)
        made = await invited(globex_admin, ADA.upper(), EDITOR.id)
        answer = await accept(service, made["code"])
        assert answer.status_code == 201
        assert answer.json()["user"]["id"] == me.user.id
        assert answer.json()["user"]["home_tenant_id"] == service.acme
        assert await roles_in(service, me.user.id, service.globex) == {"editor"}
        # What they may do has changed: the token from before is dead.
        assert (await me.get("/users/me")).status_code == 401

    async def test_400_an_account_gets_no_first_key(self, service: Running, admin: Person) -> None:
        me = await ada(service, admin)
        made = await invited(admin, role=EDITOR.id)
        answer = await accept(service, made["code"], api_key={"name": "second"})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "api_key"
        assert await roles_in(service, me.user.id, service.acme) == {"viewer"}
        assert (await accept(service, made["code"])).status_code == 201

    async def test_400_one_refusal_for_all_that_is_wrong(
        self, service: Running, admin: Person
    ) -> None:
        store, acme, now = service.service.parts.store, service.acme, service.clock()
        me = await ada(service, admin)
        keyless = await add_user(service, UserKind.HUMAN, "no-password@example.com")
        robot = await add_user(service, UserKind.SERVICE, "robot@example.com")
        gone = await person(service, TENANT_ADMIN, acme)
        async with store.transaction() as tx:
            await tx.users.set_password(robot.id, await Counted().hash(PASSWORD), now)
            await tx.memberships.remove(Membership(gone.user.id, acme, TENANT_ADMIN.id, now))
        withdrawn = await invited(admin, "w@example.com")
        await admin.delete(f"/invitations/{withdrawn['id']}")
        answered = await invited(admin, "b@example.com")
        assert (await accept(service, answered["code"])).status_code == 201
        mine = (await invited(admin, role=EDITOR.id))["code"]
        attempts = {
            "unknown": ("kti_" + "0" * 43, PASSWORD),
            "malformed": ("\N{SNOWMAN}", PASSWORD),
            "empty": ("", PASSWORD),
            "answered": (answered["code"], PASSWORD),
            "withdrawn": (withdrawn["code"], PASSWORD),
            "expired": (await offer(admin, "x@example.com", expires_at=now), PASSWORD),
            "inviter gone": (
                await offer(admin, "y@example.com", created_by=gone.user.id),
                PASSWORD,
            ),
            "service user": (await offer(admin, robot.username), PASSWORD),
            "no password": (await offer(admin, keyless.username), PASSWORD),
            "wrong password": (mine, OTHER),
            "address of a service user": (await offer(admin, f"new{GENERATED}"), PASSWORD),
        }
        # What costs memory is done for those only who could come in, and once for each.
        computed = ("service user", "no password", "wrong password", "address of a service user")
        answers = {}
        for name, (code, password) in attempts.items():
            Counted.computed = 0
            answer = await accept(service, code, password)
            assert Counted.computed == (1 if name in computed else 0), name
            answers[name] = {k: v for k, v in answer.json().items() if k != "request_id"}
        [one] = {str(answer) for answer in answers.values()}
        assert answers["unknown"]["errors"][0]["field"] == "code"
        assert (answers["unknown"]["status"], "kti_" in one) == (400, False)
        async with store.transaction() as tx:
            await tx.users.set_disabled(me.user.id, now)
        disabled = await accept(service, mine)
        assert disabled.json()["detail"] == answers["unknown"]["detail"]
        assert await roles_in(service, me.user.id, acme) == {"viewer"}

    @pytest.mark.parametrize("password", ["short", "x" * 300, "aaaaaaaaaaaaaaa", "{} 12"])
    async def test_400_tells_not_who_has_an_account(
        self, service: Running, admin: Person, password: str
    ) -> None:
        me = await ada(service, admin)
        robot = await add_user(service, UserKind.SERVICE, "robot@example.com")
        texts = set()
        for email in (me.user.username, "nobody@example.com", robot.username):
            code = (await invited(admin, email, EDITOR.id))["code"]
            Counted.computed = 0
            answer = await accept(service, code, password.format(email))
            assert Counted.computed == 0
            problem = answer.json()
            texts.add((answer.status_code, problem["detail"], problem["errors"][0]["field"]))
        assert len(texts) == 1
        assert {field for *_, field in texts} == {"password"}

    async def test_400_audited_when_the_code_was_right(
        self, service: Running, admin: Person
    ) -> None:
        await ada(service, admin)
        made = await invited(admin, role=EDITOR.id)
        assert (await accept(service, made["code"], OTHER)).status_code == 400
        assert (await accept(service, "kti_" + "0" * 43, OTHER)).status_code == 400
        events = await admin.get("/audit-events", params={"action": "invitation.refused"})
        [event] = events.json()["items"]
        assert (event["target"], event["outcome"]) == (made["id"], "refused")
        assert event["data"] == {"why": "not with this password"}
        assert not [secret for secret in (made["code"], OTHER) if secret in events.text]

    @pytest.mark.parametrize("above", [False, True])
    async def test_400_while_the_tenant_is_suspended(
        self, service: Running, admin: Person, root_admin: Person, above: bool
    ) -> None:
        below = await service.add_tenant("below", service.acme)
        code = await offer(admin, ADA, tenant_id=below.id)
        await suspend(service, service.acme if above else below.id)
        answer = await accept(service, code)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "code"
        await suspend(service, service.acme if above else below.id, end=True)
        assert (await accept(service, code)).status_code == 201

    async def test_201_addresses_are_one_only_when_they_are_the_same(
        self, service: Running, admin: Person
    ) -> None:
        one = await add_user(service, UserKind.HUMAN, "strasse@example.com")
        other = await accept(service, await offer(admin, "straße@example.com"))
        assert other.status_code == 201
        assert other.json()["user"]["id"] != one.id
        assert await roles_in(service, one.id, service.acme) == set()

    @pytest.mark.parametrize(
        "password",
        ["short", "ada@example.com 12", "aaaaaaaaaaaaaaa", "x" * 257, "tab\there and so"],
    )
    async def test_400_a_password_nobody_should_have(
        self, service: Running, admin: Person, password: str
    ) -> None:
        made = await invited(admin)
        answer = await accept(service, made["code"], password)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "password"
        assert password not in answer.text
        # The code is not spent.
        assert (await accept(service, made["code"])).status_code == 201

    @pytest.mark.parametrize(
        "change",
        [
            {"code": None},
            {"code": "x" * 129},
            {"password": 1},
            {"password": "x" * 1025},
            {"name": ""},
            {"api_key": {}},
            {"api_key": {"name": "k", "networks": []}},
            {"email": ADA},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_400_malformed(
        self, service: Running, admin: Person, change: dict[str, Any]
    ) -> None:
        body = {"code": (await invited(admin))["code"], "password": PASSWORD} | change
        answer = await service.client.post("/iam/invitations/accept", json=body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"].split(".")[0] == next(iter(change))

    async def test_409_no_room_for_a_key(self, service: Running, admin: Person) -> None:
        await admin.put(f"/tenants/{service.acme}/policy", {"max_api_keys": 1})
        made = await invited(admin)
        answer = await accept(service, made["code"], api_key={"name": "laptop"})
        assert answer.status_code == 409
        # Nothing was written.
        async with service.service.parts.store.transaction() as tx:
            assert await tx.users.by_username(ADA) is None
        assert (await admin.get(f"/invitations/{made['id']}")).json()["state"] == "pending"
        assert (await accept(service, made["code"])).status_code == 201

    async def test_one_of_two_wins(self, service: Running, admin: Person) -> None:
        made = await invited(admin)
        answers = await asyncio.gather(
            *(accept(service, made["code"], word) for word in (PASSWORD, OTHER))
        )
        assert sorted(answer.status_code for answer in answers) == [201, 400]

    async def test_two_offers_make_one_account(self, service: Running, admin: Person) -> None:
        codes = [(await invited(admin, role=role.id))["code"] for role in (VIEWER, EDITOR)]
        answers = await asyncio.gather(*(accept(service, code) for code in codes))
        # Both at once: one makes the account; the other finds it, or must try again.
        assert sorted(answer.status_code for answer in answers) in ([201, 400], [201, 201])
        second = answers[0]
        for code, answer in zip(codes, answers, strict=True):
            if answer.status_code == 400:
                second = await accept(service, code)
        assert second.status_code == 201
        assert await roles_in(service, second.json()["user"]["id"], service.acme) == {
            "viewer",
            "editor",
        }


async def of_globex(service: Running) -> Person:
    """A viewer at home in globex."""
    user = await add_user(service, UserKind.HUMAN, "eve@example.com", service.globex)
    await service.give(user.id, service.globex, VIEWER.id)
    return await again(Person(service, user, "", service.globex))


class TestAnswerAsAPerson:
    """One's own invitations: a person needs the code."""

    async def test_400_by_who_had_the_address_first(self, service: Running, admin: Person) -> None:
        # The code went to whoever invited, in the answer: no mail was ever read.
        squatter = await ada(service, admin)
        globex_admin = await person(service, TENANT_ADMIN, service.globex)
        made = await invited(globex_admin, role=TENANT_ADMIN.id)
        others = await invited(globex_admin, "other@example.com")
        [seen] = (await squatter.get("/users/me/invitations")).json()["items"]
        path = seen["href"].removeprefix("/iam")
        texts = set()
        for code in (None, "", "kti_" + "0" * 43, "\N{SNOWMAN}", others["code"]):
            for body in ({"state": "accepted", "code": code}, {"state": "accepted"}):
                answer = await squatter.patch(path, body)
                assert answer.status_code == 400
                assert [e["field"] for e in answer.json()["errors"]] == ["code"]
                texts.add(answer.json()["detail"])
        assert len(texts) == 1
        assert await roles_in(service, squatter.user.id, service.globex) == set()
        assert (await globex_admin.get(f"/invitations/{made['id']}")).json()["state"] == "pending"

    async def test_200_with_the_code(self, service: Running, admin: Person) -> None:
        me = await ada(service, admin)
        globex_admin = await person(service, TENANT_ADMIN, service.globex)
        made = await invited(globex_admin, ADA.upper())
        body = {"state": "accepted", "code": made["code"]}
        answer = await me.patch(f"/users/me/invitations/{made['id']}", body)
        assert (answer.status_code, answer.json()["state"]) == (200, "accepted")
        assert await roles_in(service, me.user.id, service.globex) == {"viewer"}

    async def test_200_declined_without_it(self, service: Running, admin: Person) -> None:
        me = await ada(service, admin)
        globex_admin = await person(service, TENANT_ADMIN, service.globex)
        made = await invited(globex_admin)
        answer = await me.patch(f"/users/me/invitations/{made['id']}", {"state": "declined"})
        assert (answer.status_code, answer.json()["state"]) == (200, "declined")

    async def test_400_without_it_wherever_one_is_at_home(
        self, service: Running, admin: Person, root_admin: Person
    ) -> None:
        """Who is at home moves with tenants that are deleted; the code does not."""
        me = await ada(service, admin)
        below = await service.add_tenant("below", service.acme)
        chief = await person(service, TENANT_ADMIN, below.id)
        for who in (chief, admin, root_admin):
            made = await invited(who, role=EDITOR.id)
            answer = await me.patch(f"/users/me/invitations/{made['id']}", {"state": "accepted"})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["field"] == "code"

    @pytest.mark.parametrize("how", ["scope", "token", "tenant", "roles"])
    async def test_403_by_less_than_all(self, service: Running, admin: Person, how: str) -> None:
        me = await of_globex(service)
        made = await invited(admin, me.user.username, TENANT_ADMIN.id)
        narrowing: dict[str, dict[str, Any]] = {
            "tenant": {"tenant_id": service.globex},
            "roles": {"role_ids": (VIEWER.id,)},
        }
        key = await service.add_key(
            user_id=me.user.id, home_tenant_id=service.globex, **narrowing.get(how, {})
        )
        asked: dict[str, Any] = {
            "token": {"tenant": service.globex},
            "scope": {"scope": "users:read"},
        }.get(how, {})
        tokens = await service.exchange(key=key, user=me.user.username, **asked)
        narrow = replace(me, token=tokens["access_token"])
        path = f"/users/me/invitations/{made['id']}"
        for state in ("accepted", "declined"):
            answer = await narrow.patch(path, {"state": state, "code": made["code"]})
            assert answer.status_code == 403
        answer = await me.patch(path, {"state": "accepted", "code": made["code"]})
        assert answer.status_code == 200

    async def test_409_while_the_tenant_is_suspended(self, service: Running, admin: Person) -> None:
        me = await of_globex(service)
        made = await invited(admin, me.user.username)
        await suspend(service, service.acme)
        path = f"/users/me/invitations/{made['id']}"
        body = {"state": "accepted", "code": made["code"]}
        assert (await me.patch(path, body)).status_code == 409
        await suspend(service, service.acme, end=True)
        assert (await me.patch(path, body)).status_code == 200


class TestChangePassword:
    async def test_204_sessions_go_on(self, service: Running, admin: Person) -> None:
        me = await ada(service, admin)
        change = {"current": PASSWORD, "new": OTHER}
        assert (await me.post("/users/me/password", change)).status_code == 204
        assert (await me.get("/users/me")).status_code == 200
        made = await invited(admin, role=EDITOR.id)
        assert (await accept(service, made["code"], PASSWORD)).status_code == 400
        assert (await accept(service, made["code"], OTHER)).status_code == 201
        events = await admin.get("/audit-events", params={"action": "user.password_changed"})
        [event] = events.json()["items"]
        assert (event["actor"]["user_id"], event["target"]) == (me.user.id, me.user.id)
        assert event["data"] == {}

    async def test_204_the_first_one(self, service: Running, admin: Person) -> None:
        change = {"current": None, "new": OTHER}
        assert (await admin.post("/users/me/password", change)).status_code == 204
        wrong = await admin.post("/users/me/password", change)
        assert wrong.status_code == 400
        assert wrong.json()["errors"][0]["field"] == "current"

    @pytest.mark.parametrize("current", ["not the right one", "", None])
    async def test_400_current(self, service: Running, admin: Person, current: str | None) -> None:
        me = await ada(service, admin)
        Counted.computed = 0
        answer = await me.post("/users/me/password", {"current": current, "new": OTHER})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "current"
        assert Counted.computed == 1

    async def test_400_current_when_none_is_set(self, admin: Person) -> None:
        answer = await admin.post("/users/me/password", {"current": PASSWORD, "new": OTHER})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "current"

    @pytest.mark.parametrize("new", ["short", "x" * 300, "ada@example.com!", "password1234"])
    async def test_400_new(self, service: Running, admin: Person, new: str) -> None:
        me = await ada(service, admin)
        answer = await me.post("/users/me/password", {"current": PASSWORD, "new": new})
        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == ["new"]

    async def test_400_current_left_out(self, admin: Person) -> None:
        answer = await admin.post("/users/me/password", {"new": OTHER})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "current"

    @pytest.mark.parametrize("how", ["tenant", "roles", "networks", "token", "scope"])
    async def test_403_the_first_one_by_less_than_all(
        self, service: Running, admin: Person, how: str
    ) -> None:
        narrowing: dict[str, dict[str, Any]] = {
            "tenant": {"tenant_id": service.acme},
            "roles": {"role_ids": (TENANT_ADMIN.id,)},
            "networks": {"networks": ("127.0.0.0/8",)},
        }
        key = await service.add_key(
            user_id=admin.user.id, home_tenant_id=service.acme, **narrowing.get(how, {})
        )
        asked: dict[str, Any] = {
            "token": {"tenant": service.acme},
            "scope": {"scope": "users:read"},
        }.get(how, {})
        tokens = await service.exchange(key=key, user=admin.user.username, **asked)
        narrow = replace(admin, token=tokens["access_token"])
        answer = await narrow.post("/users/me/password", {"current": None, "new": OTHER})
        assert answer.status_code == 403
        # With the present one it needs no more.
        await admin.post("/users/me/password", {"current": None, "new": OTHER})
        answer = await narrow.post("/users/me/password", {"current": OTHER, "new": PASSWORD})
        assert answer.status_code == 204

    async def test_403_p6_service_users_have_none(self, service: Running) -> None:
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        answer = await program.post("/users/me/password", {"current": None, "new": OTHER})
        assert answer.status_code == 403
        async with service.service.parts.store.transaction() as tx:
            assert await tx.users.password(program.user.id) is None


class TestLeave:
    async def test_204(self, service: Running, admin: Person) -> None:
        me = await person(service, VIEWER, service.acme)
        await service.give(me.user.id, service.acme, EDITOR.id)
        await service.give(me.user.id, service.globex, VIEWER.id)
        me = await again(me)
        assert (await me.delete(f"/users/me/memberships/{service.acme.upper()}")).status_code == 204
        assert await roles_in(service, me.user.id, service.acme) == set()
        # The token from before is dead; the next one has what is left.
        assert (await me.get("/users/me")).status_code == 401
        roles = (await (await again(me)).get("/users/me")).json()["roles"]
        assert [r["tenant_id"] for r in roles] == [service.globex]
        events = (await admin.get("/audit-events", params={"actor": me.user.id})).json()["items"]
        told = {(e["action"], e["target"]) for e in events if e["action"] != "token.issued"}
        assert told == {("membership.deleted", me.user.id)}

    async def test_204_w4_a_service_user_leaves_another_tenant(self, service: Running) -> None:
        program = await person(
            service, VIEWER, service.globex, kind=UserKind.SERVICE, home=service.acme
        )
        path = f"/users/me/memberships/{service.globex}"
        assert (await program.delete(path)).status_code == 204
        assert await roles_in(service, program.user.id, service.globex) == set()

    @pytest.mark.parametrize("offboarding", ["keep", "disable", "delete"])
    async def test_204_n1_service_users_outlive_unless_the_policy_says_else(
        self, service: Running, admin: Person, offboarding: str
    ) -> None:
        await admin.put(f"/tenants/{service.acme}/policy", {"offboarding": offboarding})
        leaver = await person(service, TENANT_ADMIN, service.acme)
        body = {"name": "Robot", "role_id": VIEWER.id, "api_key": {"name": "first"}}
        robot = (await leaver.post("/service-users", body)).json()
        path = f"/users/me/memberships/{service.acme}"
        assert (await leaver.delete(path)).status_code == 204
        read = await admin.get(f"/service-users/{robot['id']}")
        assert read.status_code == (404 if offboarding == "delete" else 200)
        token = await service.token(
            grant_type="password", username=robot["email"], password=robot["api_key"]["secret"]
        )
        assert (token.status_code == 200) is (offboarding == "keep")

    async def test_409_the_last_administrator(self, service: Running, admin: Person) -> None:
        path = f"/users/me/memberships/{service.acme}"
        assert (await admin.delete(path)).status_code == 409
        await person(service, TENANT_ADMIN, service.acme)
        assert (await admin.delete(path)).status_code == 204

    async def test_409_though_a_service_user_holds_the_role(
        self, service: Running, admin: Person
    ) -> None:
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        path = f"/users/me/memberships/{service.acme}"
        # It may administer nobody, unless the policy says else.
        assert (await admin.delete(path)).status_code == 409
        await admin.put(f"/tenants/{service.acme}/policy", {"service_users_administer": True})
        assert (await admin.delete(path)).status_code == 204
        assert await roles_in(service, program.user.id, service.acme) == {"tenant-admin"}

    async def test_one_of_two_last_administrators_stays(
        self, service: Running, admin: Person
    ) -> None:
        other = await person(service, TENANT_ADMIN, service.acme)
        path = f"/users/me/memberships/{service.acme}"
        answers = await asyncio.gather(*(who.delete(path) for who in (admin, other)))
        assert sorted(answer.status_code for answer in answers) == [204, 409]

    async def test_409_a_service_users_home(self, service: Running) -> None:
        program = await person(service, VIEWER, service.acme, kind=UserKind.SERVICE)
        path = f"/users/me/memberships/{service.acme}"
        assert (await program.delete(path)).status_code == 409

    async def test_404(self, service: Running, admin: Person) -> None:
        below = await service.add_tenant("below", service.acme)
        me = await again(admin)
        bodies = set()
        # Not there, apart, malformed; and one that is only reached from above.
        for tenant_id in (new_id(), service.globex, "x", below.id):
            answer = await me.delete(f"/users/me/memberships/{tenant_id}")
            assert answer.status_code == 404
            bodies.add(answer.json()["detail"])
        assert len(bodies) == 1

    async def test_404_by_a_token_for_another_tenant(self, service: Running) -> None:
        me = await person(service, VIEWER, service.acme)
        await service.give(me.user.id, service.globex, VIEWER.id)
        narrow = await again(me, tenant=service.globex)
        path = f"/users/me/memberships/{service.acme}"
        assert (await narrow.delete(path)).status_code == 404
        assert await roles_in(service, me.user.id, service.acme) == {"viewer"}

    async def test_403_by_a_token_with_some_of_the_roles(self, service: Running) -> None:
        me = await person(service, VIEWER, service.acme)
        role: Role = await service.add_role(service.acme, "smith", "assets:write")
        await service.give(me.user.id, service.acme, role.id)
        key = await service.add_key(
            user_id=me.user.id, home_tenant_id=service.acme, role_ids=(role.id,)
        )
        tokens = await service.exchange(key=key, user=me.user.username)
        narrow = replace(me, token=tokens["access_token"])
        path = f"/users/me/memberships/{service.acme}"
        assert (await narrow.delete(path)).status_code == 403
        assert await roles_in(service, me.user.id, service.acme) == {"viewer", "smith"}

    async def test_204_by_a_token_that_lists_no_tenants(self, service: Running) -> None:
        me = await person(service, VIEWER, service.acme)
        for number in range(21):
            tenant = await service.add_tenant(f"t{number}")
            await service.give(me.user.id, tenant.id, VIEWER.id)
        me = await again(me)
        assert (await me.delete(f"/users/me/memberships/{service.globex}")).status_code == 404
        assert (await me.delete(f"/users/me/memberships/{service.acme}")).status_code == 204


class TestGuesses:
    """A human's password is no secret of 256 bits: few tries, and none of them free."""

    async def known(self, start: Start, **limits: str) -> tuple[Running, Person, str]:
        """Ada, who has an account, and the code of another invitation of hers."""
        service = await start(**limits)
        admin = await person(service, TENANT_ADMIN, service.acme)
        me = await ada(service, admin)
        return service, me, (await invited(admin, role=EDITOR.id))["code"]

    async def test_429_for_one_user_before_anything_is_judged(self, start: Start) -> None:
        service, me, code = await self.known(start, limit_failures_per_username="3/hour")
        Counted.computed = 0
        answers = await asyncio.gather(*(accept(service, code, OTHER) for _ in range(9)))
        assert sorted(answer.status_code for answer in answers) == [400] * 3 + [429] * 6
        answer = await accept(service, code)  # the right one
        assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
        assert Counted.computed == 3
        # What others do about an invitation keeps nobody from their own account.
        change = {"current": PASSWORD, "new": OTHER}
        assert (await me.post("/users/me/password", change)).status_code == 204

    async def test_429_for_one_address_whoever_is_guessed_at(self, start: Start) -> None:
        service, _, code = await self.known(start, limit_failures_per_address="2/hour")
        assert (await accept(service, code, OTHER)).status_code == 400
        assert (await accept(service, "kti_" + "0" * 43, OTHER)).status_code == 400
        Counted.computed = 0
        assert (await accept(service, code)).status_code == 429
        assert Counted.computed == 0

    async def test_400_ten_wrong_passwords_end_the_code_alone(
        self, service: Running, admin: Person
    ) -> None:
        me = await ada(service, admin)
        made = await invited(admin, role=EDITOR.id)
        code = made["code"]
        for _ in range(MOST_WRONG):
            assert (await accept(service, code, OTHER)).status_code == 400
        Counted.computed = 0
        assert (await accept(service, code)).status_code == 400
        assert Counted.computed == 0
        assert await roles_in(service, me.user.id, service.acme) == {"viewer"}
        await admin.delete(f"/invitations/{made['id']}")
        other = (await invited(admin, role=EDITOR.id))["code"]
        assert (await accept(service, other)).status_code == 201

    async def test_429_for_the_password_that_is_to_be_changed(self, start: Start) -> None:
        _, me, _ = await self.known(start, limit_failures_per_username="2/hour")
        for status in (400, 400, 429):
            answer = await me.post("/users/me/password", {"current": "wrong", "new": OTHER})
            assert answer.status_code == status
        answer = await me.post("/users/me/password", {"current": PASSWORD, "new": OTHER})
        assert answer.status_code == 429

    async def test_429_for_the_address_that_changes_passwords(self, start: Start) -> None:
        _, me, _ = await self.known(start, limit_failures_per_address="1/hour")
        for status in (400, 429):
            answer = await me.post("/users/me/password", {"current": "wrong", "new": OTHER})
            assert answer.status_code == status
