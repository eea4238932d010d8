"""`/invitations`: roles offered by mail address, also to service users of other tenants (W4)."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from keyturn.server import wiring
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Invitation, InvitationState, Membership, User, UserKind
from keyturn.server.domain.permissions import EDITOR, TENANT_ADMIN, VIEWER
from keyturn.server.services.bootstrap import service_username
from keyturn.server.services.management import invitations as rules
from keyturn.server.services.ports import Mail
from tests.http.conftest import Running
from tests.http.management.conftest import Person, person

ADA = "ada@example.com"


class Outbox:
    """Takes mails, or does not."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.works = True

    async def send(self, mail: Mail) -> bool:
        self.mails.append(mail)
        return self.works


@pytest.fixture(autouse=True)
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """What the service sends."""
    outbox = Outbox()
    monkeypatch.setattr(wiring, "open_mailer", lambda *_: outbox)
    return outbox


@pytest.fixture
async def globex_admin(service: Running) -> Person:
    """The administrator of globex, which knows nothing of acme."""
    return await person(service, TENANT_ADMIN, service.globex)


async def invited(admin: Person, email: str = ADA, role: str = VIEWER.id) -> dict[str, Any]:
    answer = await admin.post("/invitations", {"email": email, "role_id": role})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def robot(service: Running, home: str = "") -> User:
    """A service user of acme without a role, its address generated."""
    user = User(
        new_id(),
        UserKind.SERVICE,
        service_username(f"robot {new_id()}", "acme"),
        "Robot",
        home or service.acme,
        1,
        service.clock(),
    )
    async with service.service.parts.store.transaction() as tx:
        await tx.users.add(user)
    return user


async def caller(service: Running, user: User, tenant: str | None = None) -> Person:
    return Person(service, user, (await service.exchange_for(user))["access_token"], tenant)


async def expired(admin: Person, email: str = ADA) -> str:
    """An invitation into acme that nobody answered in time."""
    now = admin.service.clock()
    invitation = Invitation(
        new_id(),
        admin.service.acme,
        VIEWER.id,
        email,
        InvitationState.PENDING,
        now - timedelta(days=2),
        now - timedelta(days=1),
        admin.user.id,
    )
    async with admin.service.service.parts.store.transaction() as tx:
        await tx.invitations.add(invitation, rules.code_hash(f"kti_{invitation.id}"))
    return invitation.id


async def roles_in(service: Running, user: User, tenant: str) -> set[str]:
    async with service.service.parts.store.transaction() as tx:
        member = await tx.memberships.member(tenant, user.id)
    return set() if member is None else {role.name for role in member.roles}


class TestInvite:
    async def test_201(self, service: Running, admin: Person) -> None:
        answer = await admin.post("/invitations", {"email": ADA, "role_id": VIEWER.id})
        assert answer.status_code == 201
        body = answer.json()
        assert answer.headers["location"] == body["href"] == f"/iam/invitations/{body['id']}"
        assert re.fullmatch(r"kti_[0-9A-Za-z]{43}", body["code"])
        assert (body["state"], body["tenant_name"], body["role_name"]) == (
            "pending",
            "acme",
            "viewer",
        )
        assert body["created_by"] == admin.user.id
        # The code is shown this once.
        read = await admin.get(f"/invitations/{body['id']}")
        assert read.json() == {k: v for k, v in body.items() if k not in ("code", "mailed")}
        assert (await admin.get("/invitations")).json()["items"] == [read.json()]

    async def test_201_the_code_is_mailed(self, admin: Person, outbox: Outbox) -> None:
        body = await invited(admin)
        [mail] = outbox.mails
        assert body["mailed"] is True
        assert mail.to == ADA
        assert "acme" in mail.subject
        for said in (body["code"], admin.user.username, "viewer", "acme", "/invitations/accept"):
            assert said in mail.text
        # The link leads to the page of the console; no server is told what stands behind the #.
        origin = admin.service.settings.public_origin
        assert f"\n    {origin}/console/invitation#code={body['code']}\n" in mail.text
        assert body["code"] not in repr(mail)

    async def test_201_though_the_mail_server_is_down(self, admin: Person, outbox: Outbox) -> None:
        outbox.works = False
        body = await invited(admin)
        assert body["mailed"] is False
        assert (await admin.get(f"/invitations/{body['id']}")).status_code == 200

    @pytest.mark.parametrize("there", [True, False], ids=["there", "nobody's"])
    async def test_201_p6_service_users_get_no_mail(
        self, service: Running, admin: Person, outbox: Outbox, there: bool
    ) -> None:
        address = "nobody@acme.service.keyturn.internal"
        if there:
            address = (await robot(service)).username
        body = await invited(admin, address)
        assert body["mailed"] is False
        assert outbox.mails == []

    async def test_201_p6_nor_one_with_another_address(
        self, service: Running, admin: Person, outbox: Outbox
    ) -> None:
        user = User(
            new_id(), UserKind.SERVICE, "cron@example.com", "Cron", service.acme, 1, service.clock()
        )
        async with service.service.parts.store.transaction() as tx:
            await tx.users.add(user)
        await invited(admin, "cron@example.com")
        assert outbox.mails == []

    async def test_201_tells_not_who_has_an_account(
        self, service: Running, admin: Person, globex_admin: Person
    ) -> None:
        known = (await robot(service, service.globex)).username
        answers = [await invited(admin, known), await invited(admin, f"x{known}")]
        own = ("id", "href", "code", "email", "created_at", "expires_at")
        first, second = ({k: v for k, v in a.items() if k not in own} for a in answers)
        assert first == second

    async def test_201_audited_without_the_code(self, admin: Person) -> None:
        body = await invited(admin)
        events = await admin.get("/audit-events", params={"action": "invitation.created"})
        [event] = events.json()["items"]
        assert event["target"] == body["id"]
        assert event["data"]["after"] == {
            "email": ADA,
            "role": "viewer",
            "expires_at": event["data"]["after"]["expires_at"],
        }
        assert body["code"] not in events.text

    async def test_201_done_once(self, admin: Person, outbox: Outbox) -> None:
        again = [
            await admin.post(
                "/invitations",
                {"email": ADA, "role_id": VIEWER.id},
                headers={"Idempotency-Key": "one"},
            )
            for _ in range(2)
        ]
        assert [answer.status_code for answer in again] == [201, 201]
        first, second = (answer.json() for answer in again)
        assert first["code"] == second["code"]
        assert (first.pop("mailed"), second.pop("mailed")) == (True, None)
        assert first == second
        assert len(outbox.mails) == 1

    async def test_201_again_when_the_first_expired(self, admin: Person) -> None:
        old = await expired(admin)
        assert (await admin.get(f"/invitations/{old}")).json()["state"] == "expired"
        new = await invited(admin)
        assert (await admin.get(f"/invitations/{old}")).json()["state"] == "expired"
        assert new["state"] == "pending"

    async def test_201_again_when_declined(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        me = await caller(service, user)
        first = await invited(admin, user.username)
        await me.patch(f"/users/me/invitations/{first['id']}", {"state": "declined"})
        await invited(admin, user.username)

    async def test_201_lifetime(self, admin: Person) -> None:
        body = {"email": ADA, "role_id": VIEWER.id, "expires_in": 60}
        made = (await admin.post("/invitations", body)).json()
        events = await admin.get("/audit-events", params={"target": made["id"]})
        assert (
            events.json()["items"][0]["data"]["after"]["expires_at"][:16]
            == (made["expires_at"][:16])
        )
        assert made["created_at"] < made["expires_at"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"email": "ada"}, "email"),
            ({"email": "ada@"}, "email"),
            ({"email": "a b@example.com"}, "email"),
            ({"email": "ada@example.com\r\nBcc: all@example.com"}, "email"),
            ({"email": None}, "email"),
            ({"email": "a@" + "x" * 260}, "email"),
            ({"role_id": "viewer"}, "role_id"),
            ({"role_id": "01a201a3-0000-7000-8000-000000000000"}, "role_id"),
            ({"role_id": 7}, "role_id"),
            ({"expires_in": 0}, "expires_in"),
            ({"expires_in": 2_592_001}, "expires_in"),
            ({"expires_in": "60"}, "expires_in"),
            ({"code": "mine"}, "code"),
        ],
        ids=str,
    )
    async def test_400(self, admin: Person, change: dict[str, Any], field: str) -> None:
        answer = await admin.post("/invitations", {"email": ADA, "role_id": VIEWER.id} | change)
        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert (await admin.get("/invitations")).json()["items"] == []

    async def test_400_what_is_no_mail_address(self, admin: Person, outbox: Outbox) -> None:
        odd = [
            *("=?utf-8?q??=@x.org", "=?utf-8?q?a=0ab?=@x.org", "a=?b@x.org", "=?@x.org"),
            *(".ada@x.org", "ada.@x.org", "a..da@x.org", ".@x.org", "@x.org", "ada", "ada@"),
            *("a b@x.org", "a\tb@x.org", "a@b@x.org", "a,b@x.org", "a;b@x.org", "a:b@x.org"),
            *("<a@x.org>", "a<b@x.org", '"a b"@x.org', "a(b)@x.org", "[a]@x.org", "a\\b@x.org"),
            *("straße@x.org", "a\u200bb@x.org", "\ud800@x.org", "ada@exämple.org"),
            *("ada@.x.org", "ada@x.org.", "ada@-x.org", "ada@x..org", "ada@[127.0.0.1]"),
            *("ada@x_y.org", "ada@=?a?=", "a" * 65 + "@x.org", "ada@x.org\n", "ada@x.org\0"),
        ]
        for email in odd:
            answer = await admin.call(
                "POST",
                "/invitations",
                content=json.dumps({"email": email, "role_id": VIEWER.id}),
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 400, email
        assert outbox.mails == []

    async def test_201_what_is_a_mail_address(self, admin: Person, outbox: Outbox) -> None:
        good = [
            *("ada@example.org", "ada.lovelace@example.org", "ada+keys@x.org", "a@b", "1@2.3"),
            *("!#$%&'*+-/=^_`{|}~@x.org", "a=b@x.org", "a?b@x.org", "?=@x.org", "_@x.org"),
            *("o'hara@x-y.org", "a.b.c.d@sub.sub.example.org", "a" * 64 + "@x.org"),
            *("ada@xn--exmple-cua.org", "ada-@x.org", "-ada@x.org", "{ada}@x.org"),
        ]
        for email in good:
            assert (await invited(admin, email))["email"] == email
        assert [mail.to for mail in outbox.mails] == good

    async def test_400_another_tenants_role(self, service: Running, admin: Person) -> None:
        role = await service.add_role(service.globex, "theirs", "assets:read")
        answers = [
            await admin.post("/invitations", {"email": ADA, "role_id": role_id})
            for role_id in (role.id, new_id())
        ]
        assert [answer.status_code for answer in answers] == [400, 400]
        assert answers[0].json()["detail"] == answers[1].json()["detail"]

    async def test_403_more_than_one_has(self, service: Running) -> None:
        role = await service.add_role(service.acme, "clerk", "users:read", "users:write")
        clerk = await person(service, role, service.acme)
        body = {"email": ADA, "role_id": TENANT_ADMIN.id}
        assert (await clerk.post("/invitations", body)).status_code == 403
        assert (await clerk.get("/invitations")).json()["items"] == []
        assert (await clerk.post("/invitations", body | {"role_id": role.id})).status_code == 201

    async def test_403_p6_service_users_do_not_administer(
        self, service: Running, admin: Person
    ) -> None:
        program = await person(service, TENANT_ADMIN, service.acme, kind=UserKind.SERVICE)
        body = {"email": ADA, "role_id": VIEWER.id}
        assert (await program.post("/invitations", body)).status_code == 403
        policy = {"service_users_administer": True}
        assert (await admin.put(f"/tenants/{service.acme}/policy", policy)).status_code == 200
        assert (await program.post("/invitations", body)).status_code == 201

    async def test_403_viewer(self, service: Running) -> None:
        viewer = await person(service, VIEWER, service.acme)
        body = {"email": ADA, "role_id": VIEWER.id}
        assert (await viewer.post("/invitations", body)).status_code == 403

    async def test_409_offered_already_in_any_case(self, admin: Person) -> None:
        await invited(admin)
        body = {"email": "ADA@Example.COM", "role_id": VIEWER.id}
        assert (await admin.post("/invitations", body)).status_code == 409
        await invited(admin, role=EDITOR.id)

    async def test_409_holds_it_already(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        await service.give(user.id, service.acme, VIEWER.id)
        body = {"email": user.username.upper(), "role_id": VIEWER.id}
        answer = await admin.post("/invitations", body)
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["field"] == "role_id"

    async def test_409_too_many(self, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rules, "MAX_PENDING", 2)
        await expired(admin)
        made = [await invited(admin, f"{name}@example.com") for name in "ab"]
        body = {"email": "c@example.com", "role_id": VIEWER.id}
        assert (await admin.post("/invitations", body)).status_code == 409
        assert (await admin.delete(f"/invitations/{made[0]['id']}")).status_code == 204
        await invited(admin, "c@example.com")


class TestListInvitations:
    async def test_200_by_state(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        me = await caller(service, user)
        declined = await invited(admin, user.username)
        await me.patch(f"/users/me/invitations/{declined['id']}", {"state": "declined"})
        accepted = await invited(admin, user.username)
        await me.patch(f"/users/me/invitations/{accepted['id']}", {"state": "accepted"})
        withdrawn = await invited(admin, "w@example.com")
        await admin.delete(f"/invitations/{withdrawn['id']}")
        swept = await expired(admin, "s@example.com")
        pending = await invited(admin)
        late = await expired(admin, "late@example.com")
        for state, ids in {
            "declined": {declined["id"]},
            "accepted": {accepted["id"]},
            "withdrawn": {withdrawn["id"]},
            "pending": {pending["id"]},
            "expired": {swept, late},
        }.items():
            page = (await admin.get("/invitations", params={"state": state})).json()
            assert {item["id"] for item in page["items"]} == ids, state
            assert {item["state"] for item in page["items"]} == {state}

    async def test_200_pages(self, admin: Person) -> None:
        made = [(await invited(admin, f"{name}@example.com"))["id"] for name in "abc"]
        first = (await admin.get("/invitations", params={"limit": 2})).json()
        rest = {"limit": 2, "cursor": first["next_cursor"]}
        second = (await admin.get("/invitations", params=rest)).json()
        assert [item["id"] for item in first["items"] + second["items"]] == made
        assert second["next_cursor"] is None

    async def test_200_nothing_of_others(self, admin: Person, globex_admin: Person) -> None:
        await invited(admin)
        assert (await globex_admin.get("/invitations")).json()["items"] == []

    async def test_400(self, admin: Person) -> None:
        answer = await admin.get("/invitations", params={"state": "lost"})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "state"

    async def test_404_another_tenants(self, admin: Person, root_admin: Person) -> None:
        made = await invited(root_admin)
        for invitation_id in (made["id"], new_id(), "x"):
            for method in ("GET", "DELETE"):
                answer = await admin.call(method, f"/invitations/{invitation_id}")
                assert answer.status_code == 404


class TestWithdraw:
    async def test_204(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        made = await invited(admin, user.username)
        assert (await admin.delete(f"/invitations/{made['id']}")).status_code == 204
        read = (await admin.get(f"/invitations/{made['id']}")).json()
        assert read["state"] == "withdrawn"
        assert read["answered_at"] is not None
        me = await caller(service, user)
        assert (await me.get("/users/me/invitations")).json()["items"] == []

    async def test_409_twice(self, admin: Person) -> None:
        made = await invited(admin)
        statuses = [(await admin.delete(f"/invitations/{made['id']}")).status_code for _ in "12"]
        assert statuses == [204, 409]

    async def test_409_expired(self, admin: Person) -> None:
        assert (await admin.delete(f"/invitations/{await expired(admin)}")).status_code == 409

    async def test_403_viewer(self, service: Running, admin: Person) -> None:
        viewer = await person(service, VIEWER, service.acme)
        made = await invited(admin)
        assert (await viewer.get(f"/invitations/{made['id']}")).status_code == 200
        assert (await viewer.delete(f"/invitations/{made['id']}")).status_code == 403


class TestAnswerOwn:
    async def test_200_w4_a_service_user_accepts(
        self, service: Running, globex_admin: Person
    ) -> None:
        user = await robot(service)
        me = await caller(service, user)
        made = await invited(globex_admin, user.username)
        # Nothing is effective before.
        assert (await service.get("/iam/users/me", me.token)).json()["roles"] == []
        [offer] = (await me.get("/users/me/invitations")).json()["items"]
        assert (offer["id"], offer["tenant_name"], offer["role_name"]) == (
            made["id"],
            "globex",
            "viewer",
        )
        assert "code" not in offer
        href = offer["href"].removeprefix("/iam")
        answer = await me.patch(href, {"state": "accepted"})
        assert answer.status_code == 200
        assert answer.json()["state"] == "accepted"
        assert answer.json()["answered_at"] is not None
        # What it may do has changed: the token from before is dead.
        assert (await me.get("/users/me/invitations")).status_code == 401
        fresh = await caller(service, user, service.globex)
        assert (await fresh.get("/users/me/invitations")).json()["items"] == []

    async def test_200_w2_w5_the_new_tenant_is_open(
        self, service: Running, globex_admin: Person
    ) -> None:
        user = await robot(service)
        key = await service.add_key(user_id=user.id, home_tenant_id=user.home_tenant_id)
        ask = {"grant_type": "password", "username": user.username, "password": key.text}
        there = {"x-tenant-id": service.globex}
        assert (await service.token(headers=there, **ask)).status_code == 403
        made = await invited(globex_admin, user.username)
        assert (await service.token(headers=there, **ask)).status_code == 403
        me = await caller(service, user)
        await me.patch(f"/users/me/invitations/{made['id']}", {"state": "accepted"})

        token = (await service.exchange(key=key, user=user.username))["access_token"]
        roles = (await service.get("/iam/users/me", token)).json()["roles"]
        assert [(r["tenant_name"], r["role_name"]) for r in roles] == [("globex", "viewer")]
        current = await service.get("/iam/tenants/current", token, service.globex)
        assert current.json()["tenant_name"] == "globex"
        assert (await service.token(headers=there, **ask)).status_code == 200

    async def test_200_declined(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        me = await caller(service, user)
        made = await invited(admin, user.username)
        path = f"/users/me/invitations/{made['id']}"
        answer = await me.patch(path, {"state": "declined"})
        assert (answer.status_code, answer.json()["state"]) == (200, "declined")
        assert await roles_in(service, user, service.acme) == set()
        assert (await me.patch(path, {"state": "accepted"})).status_code == 409
        events = await admin.get("/audit-events", params={"target": made["id"]})
        assert [e["action"] for e in events.json()["items"]] == [
            "invitation.declined",
            "invitation.created",
        ]

    async def test_200_given_meanwhile(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        made = await invited(admin, user.username)
        await service.give(user.id, service.acme, VIEWER.id)
        me = await caller(service, user)
        path = f"/users/me/invitations/{made['id']}"
        assert (await me.patch(path, {"state": "accepted"})).status_code == 200
        assert await roles_in(service, user, service.acme) == {"viewer"}

    async def test_200_audited(self, service: Running, admin: Person) -> None:
        user = await robot(service, service.globex)
        me = await caller(service, user)
        made = await invited(admin, user.username)
        await me.patch(f"/users/me/invitations/{made['id']}", {"state": "accepted"})
        events = (await admin.get("/audit-events", params={"actor": user.id})).json()["items"]
        assert {(e["action"], e["target"]) for e in events} == {
            ("invitation.accepted", made["id"]),
            ("membership.created", user.id),
        }

    async def test_one_of_two_answers_counts(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        me = await caller(service, user)
        made = await invited(admin, user.username)
        path = f"/users/me/invitations/{made['id']}"
        answers = await asyncio.gather(
            *(me.patch(path, {"state": state}) for state in ("accepted", "declined"))
        )
        statuses = sorted(answer.status_code for answer in answers)
        # Whoever comes late may find the token dead already, or without the role just gained.
        assert statuses in ([200, 409], [200, 401], [200, 403])

    @pytest.mark.parametrize(
        "body", [{}, {"state": "pending"}, {"state": "withdrawn"}, {"state": None}, []], ids=str
    )
    async def test_400(self, service: Running, admin: Person, body: Any) -> None:
        user = await robot(service)
        me = await caller(service, user)
        made = await invited(admin, user.username)
        answer = await me.patch(f"/users/me/invitations/{made['id']}", body)
        assert answer.status_code == 400

    async def test_404_to_somebody_else(self, service: Running, admin: Person) -> None:
        made = await invited(admin)
        me = await caller(service, await robot(service))
        for invitation_id in (made["id"], new_id(), "x"):
            path = f"/users/me/invitations/{invitation_id}"
            assert (await me.patch(path, {"state": "accepted"})).status_code == 404

    async def test_409_expired(self, service: Running, admin: Person) -> None:
        user = await robot(service)
        me = await caller(service, user)
        path = f"/users/me/invitations/{await expired(admin, user.username)}"
        for state in ("accepted", "declined"):
            assert (await me.patch(path, {"state": state})).status_code == 409
        assert (await me.get("/users/me/invitations")).json()["items"] == []

    @pytest.mark.parametrize("how", ["left", "lesser", "disabled", "deleted", "policy"])
    async def test_409_nobody_stands_behind_it(
        self, service: Running, admin: Person, how: str
    ) -> None:
        kind = UserKind.SERVICE if how == "policy" else UserKind.HUMAN
        store = service.service.parts.store
        if how == "policy":
            await admin.put(f"/tenants/{service.acme}/policy", {"service_users_administer": True})
        inviter = await person(service, TENANT_ADMIN, service.acme, kind=kind)
        user = await robot(service)
        path = f"/users/me/invitations/{(await invited(inviter, user.username))['id']}"
        async with store.transaction() as tx:
            held = Membership(inviter.user.id, service.acme, TENANT_ADMIN.id, service.clock())
            if how in ("left", "lesser"):
                await tx.memberships.remove(held)
            if how == "disabled":
                await tx.users.set_disabled(inviter.user.id, service.clock())
            if how == "deleted":
                await tx.users.remove(inviter.user.id)
        if how == "lesser":
            await service.give(inviter.user.id, service.acme, EDITOR.id)
        if how == "policy":
            await admin.put(f"/tenants/{service.acme}/policy", {})
        me = await caller(service, user)
        assert (await me.patch(path, {"state": "accepted"})).status_code == 409
        assert await roles_in(service, user, service.acme) == set()
        # To decline is nobody's authority.
        assert (await me.patch(path, {"state": "declined"})).status_code == 200

    async def test_200_the_inviter_stands_above(self, service: Running, root_admin: Person) -> None:
        user = await robot(service)
        root_admin.tenant = service.acme
        made = await invited(root_admin, user.username)
        me = await caller(service, user)
        path = f"/users/me/invitations/{made['id']}"
        assert (await me.patch(path, {"state": "accepted"})).status_code == 200


class TestAnswerForServiceUser:
    async def test_200_w4_an_editor_of_its_home_accepts(
        self, service: Running, globex_admin: Person
    ) -> None:
        user = await robot(service)
        made = await invited(globex_admin, user.username, EDITOR.id)
        editor = await person(service, EDITOR, service.acme)
        page = await editor.get(f"/service-users/{user.id}/invitations")
        [offer] = page.json()["items"]
        assert offer["id"] == made["id"]
        answer = await editor.patch(offer["href"].removeprefix("/iam"), {"state": "accepted"})
        assert answer.status_code == 200
        assert answer.json()["state"] == "accepted"
        assert await roles_in(service, user, service.globex) == {"editor"}
        fresh = await caller(service, user)
        roles = (await service.get("/iam/users/me", fresh.token)).json()["roles"]
        assert [r["tenant_id"] for r in roles] == [service.globex]

    async def test_200_declined_and_audited_at_home_too(
        self, service: Running, admin: Person, globex_admin: Person
    ) -> None:
        user = await robot(service)
        made = await invited(globex_admin, user.username)
        path = f"/service-users/{user.id}/invitations/{made['id']}"
        assert (await admin.patch(path, {"state": "declined"})).status_code == 200
        assert (await admin.patch(path, {"state": "accepted"})).status_code == 409
        for who in (admin, globex_admin):
            asked = {"action": "invitation.declined", "target": made["id"]}
            events = (await who.get("/audit-events", params=asked)).json()["items"]
            assert [event["actor"]["user_id"] for event in events] == [admin.user.id]

    async def test_403_one_that_may_more(self, service: Running, globex_admin: Person) -> None:
        user = await robot(service)
        await service.give(user.id, service.acme, TENANT_ADMIN.id)
        made = await invited(globex_admin, user.username)
        editor = await person(service, EDITOR, service.acme)
        path = f"/service-users/{user.id}/invitations/{made['id']}"
        assert (await editor.patch(path, {"state": "accepted"})).status_code == 403

    async def test_403_viewer(self, service: Running, globex_admin: Person) -> None:
        user = await robot(service)
        made = await invited(globex_admin, user.username)
        viewer = await person(service, VIEWER, service.acme)
        path = f"/service-users/{user.id}/invitations"
        assert (await viewer.get(path)).status_code == 200
        answer = await viewer.patch(f"{path}/{made['id']}", {"state": "accepted"})
        assert answer.status_code == 403

    async def test_404_not_at_home_here(
        self, service: Running, admin: Person, globex_admin: Person
    ) -> None:
        user = await robot(service)
        made = await invited(globex_admin, user.username)
        path = f"/service-users/{user.id}/invitations"
        assert (await globex_admin.get(path)).status_code == 404
        answer = await globex_admin.patch(f"{path}/{made['id']}", {"state": "accepted"})
        assert answer.status_code == 404
        # Nor people's, nor an invitation of somebody else.
        assert (await admin.get(f"/service-users/{admin.user.id}/invitations")).status_code == 404
        other = await robot(service)
        path = f"/service-users/{other.id}/invitations/{made['id']}"
        assert (await admin.patch(path, {"state": "accepted"})).status_code == 404
