"""Token exchange (RFC 8693): never more than the subject token, in any respect."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from keyturn.server.domain.endpoints import Endpoint
from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import User
from keyturn.server.domain.permissions import VIEWER
from keyturn.server.domain.policy import Policy
from keyturn.server.services.ports import NewKey
from tests.http.conftest import Running
from tests.http.test_audiences import BILLS, METERS, claims, granted, register

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


async def swap(
    service: Running,
    token: str,
    *,
    tenant: str | None = None,
    auth: tuple[str, str] | None = None,
    **params: Any,
) -> httpx.Response:
    data = {"grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS, **params}
    return await service.client.post(
        "/iam/auth/token",
        data=data,
        headers={"x-tenant-id": tenant} if tenant else None,
        auth=auth or httpx.USE_CLIENT_DEFAULT,
    )


async def swapped(service: Running, token: str, **more: Any) -> dict[str, Any]:
    """The claims of the token that comes out."""
    answer = await swap(service, token, **more)
    assert answer.status_code == 200, answer.text
    return claims(service, answer.json()["access_token"])


async def another(service: Running) -> tuple[User, NewKey]:
    """A user elsewhere, and its key."""
    user = await service.add_user(home=service.globex)
    await service.give(user.id, service.globex, VIEWER.id)
    return user, await service.add_key(user_id=user.id, home_tenant_id=service.globex)


def refused(answer: httpx.Response, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text


class TestW5TenantSwitch:
    async def test_w5_200_to_a_tenant_that_the_token_reaches(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        answer = await swap(service, token, tenant=service.globex)
        assert answer.status_code == 200
        body = answer.json()
        assert body["issued_token_type"] == ACCESS
        assert body["token_type"] == "bearer"
        assert "refresh_token" not in body
        told = claims(service, body["access_token"])
        assert told["tenant_id"] == service.globex
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200
        answer = await service.get("/iam/tenants/current", body["access_token"], service.acme)
        assert answer.status_code == 403

    async def test_w5_200_after_an_invitation_was_accepted(self, service: Running) -> None:
        """Without a new key: the next token reaches the new tenant, and can be switched to it."""
        user = await service.add_user()
        await service.give(user.id, service.acme, VIEWER.id)
        key = await service.add_key(user_id=user.id)
        before = await service.exchange(key=key, user=user.username)
        refused(
            await swap(service, before["access_token"], tenant=service.globex),
            "access_denied",
            403,
        )
        await service.give(user.id, service.globex, VIEWER.id)
        after = await service.exchange(key=key, user=user.username)
        told = await swapped(service, after["access_token"], tenant=service.globex)
        assert (told["tenant_id"], told["roles"]) == (service.globex, ["viewer"])

    async def test_w5_400_to_one_where_the_user_has_no_role(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        other = await service.add_tenant("elsewhere")
        unknown, there = new_id(), other.id
        answers = [await swap(service, token, tenant=t) for t in (unknown, there)]
        for answer in answers:
            refused(answer, "access_denied", 403)
        assert answers[0].json() == answers[1].json()

    async def test_400_out_of_the_tenant_that_the_token_was_chosen_for(
        self, service: Running
    ) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        refused(await swap(service, token, tenant=service.globex), "access_denied", 403)

    async def test_200_an_administrator_of_many_by_an_unlisted_token(
        self, service: Running
    ) -> None:
        for n in range(21):
            await service.add_tenant(f"many {n}")
        username, _ = service.admin
        body = await service.exchange(key=service.demo.platform.key, user=username)
        assert "_claim_names" in claims(service, body["access_token"])
        told = await swapped(service, body["access_token"], tenant=service.acme)
        assert (told["tenant_id"], told["roles"]) == (service.acme, ["tenant-admin"])

    async def test_200_to_a_tenant_made_after_the_token(self, service: Running) -> None:
        username, _ = service.admin
        body = await service.exchange(key=service.demo.platform.key, user=username)
        made = await service.add_tenant("new")
        told = await swapped(service, body["access_token"], tenant=made.id)
        assert told["tenant_id"] == made.id


class TestLess:
    async def test_fewer_permissions(self, service: Running) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        told = await swapped(service, token, scope="assets:manage")
        assert (told["scope"], told["roles"]) == ("assets:manage", [])

    async def test_400_more_permissions(self, service: Running) -> None:
        token = (await service.exchange(tenant=service.acme, scope="assets:manage"))["access_token"]
        refused(await swap(service, token, scope="assets:manage data:manage"), "invalid_scope")

    async def test_what_the_first_gave_up_stays_given_up(self, service: Running) -> None:
        token = (await service.exchange(scope="assets:manage"))["access_token"]
        told = await swapped(service, token, tenant=service.acme)
        assert (told["scope"], told["roles"]) == ("assets:manage", [])

    async def test_one_audience(self, service: Running) -> None:
        for identifier in (METERS, BILLS):
            await register(service, identifier, service.acme)
        body = await granted(service, METERS, BILLS)
        told = await swapped(service, body["access_token"], resource=METERS)
        assert told["aud"] == METERS
        told = await swapped(service, body["access_token"], audience=BILLS)
        assert told["aud"] == BILLS

    async def test_400_another_audience(self, service: Running) -> None:
        for identifier in (METERS, BILLS):
            await register(service, identifier, service.acme)
        token = (await granted(service, METERS))["access_token"]
        for wanted in (BILLS, service.settings.audience, "https://nobody.example.com"):
            refused(await swap(service, token, resource=wanted), "invalid_target")

    async def test_never_longer(self, service: Running) -> None:
        service.clock.shift = timedelta(seconds=-200)
        token = (await service.exchange())["access_token"]
        first = claims(service, token)
        service.clock.shift = timedelta()
        assert (await swapped(service, token))["exp"] == first["exp"]

    async def test_the_session_stays_the_same(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        first, second = claims(service, token), await swapped(service, token)
        assert second["sid"] == first["sid"]
        assert second["parents"] == [first["jti"]]
        assert second["jti"] != first["jti"]

    async def test_400_exchanged_over_and_over(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        for _ in range(8):
            token = (await swap(service, token)).json()["access_token"]
        refused(await swap(service, token), "invalid_request")


class TestEndpoints:
    async def add(
        self, service: Running, path: str, *permissions: str, tenant: str = "", own: bool = False
    ) -> str:
        endpoint = Endpoint(
            id=new_id(),
            tenant_id=tenant or service.acme,
            service="Keyturn" if own else "assets",
            method="GET",
            path=path,
            name=path,
            opened_by=(frozenset(permissions),),
            deprecated=False,
            experimental=False,
            administrative=False,
            created_at=service.clock(),
            updated_at=service.clock(),
            version=1,
        )
        async with service.service.parts.store.transaction() as tx:
            await tx.endpoints.add([endpoint])
        return endpoint.id

    async def test_fewer_endpoints(self, service: Running) -> None:
        one = await self.add(service, "/assets", "assets:manage")
        token = (await service.exchange(tenant=service.acme))["access_token"]
        told = await swapped(service, token, endpoints=one)
        assert (told["endpoints"], told["scope"]) == ([one], "assets:manage")

    async def test_400_one_more_than_before(self, service: Running) -> None:
        one = await self.add(service, "/assets", "assets:manage")
        two = await self.add(service, "/data", "data:manage")
        token = (await service.exchange(tenant=service.acme))["access_token"]
        token = (await swap(service, token, endpoints=one)).json()["access_token"]
        refused(await swap(service, token, endpoints=f"{one} {two}"), "invalid_request")
        assert (await swapped(service, token))["endpoints"] == [one]

    async def test_the_service_itself_keeps_to_them(self, service: Running) -> None:
        one = await self.add(service, "/iam/tenants/current", "tenants:read", own=True)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        narrow = (await swap(service, token, endpoints=one)).json()["access_token"]
        assert (await service.get("/iam/tenants/current", narrow, service.acme)).status_code == 200
        answer = await service.get("/iam/users/me/api-keys", narrow)
        assert answer.status_code == 403

    async def test_403_such_a_token_makes_no_wider_key(self, service: Running) -> None:
        one = await self.add(service, "/iam/users/me/api-keys", "tenants:read", own=True)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        narrow = (await swap(service, token, endpoints=one)).json()["access_token"]
        made = await service.client.post(
            "/iam/users/me/api-keys",
            json={"name": "a"},
            headers={"Authorization": f"Bearer {narrow}"},
        )
        assert made.status_code == 403

    async def test_400_one_of_another_tenant_or_none(self, service: Running) -> None:
        elsewhere = await self.add(service, "/x", "assets:manage", tenant=service.globex)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        answers = [await swap(service, token, endpoints=e) for e in (elsewhere, new_id())]
        for answer in answers:
            refused(answer, "invalid_request")
        assert answers[0].json() == answers[1].json()

    async def test_400_when_they_leave_nothing(self, service: Running) -> None:
        one = await self.add(service, "/assets", "never:held")
        token = (await service.exchange(tenant=service.acme))["access_token"]
        refused(await swap(service, token, endpoints=one), "invalid_scope")

    @pytest.mark.parametrize(
        "ids", ["x", "' OR 1", "01a20233-c3cf-72e9-8e24-5090e2306277 nonsense"]
    )
    async def test_400_no_ids(self, service: Running, ids: str) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        refused(await swap(service, token, endpoints=ids), "invalid_request")


class TestDelegation:
    async def test_act_names_who_authenticates(self, service: Running) -> None:
        user, key = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        told = await swapped(service, token, auth=(user.username, key.text))
        assert told["sub"] == service.demo.user.id
        assert told["act"]["sub"] == user.id

    async def test_act_names_whose_actor_token_it_is(self, service: Running) -> None:
        user, key = await another(service)
        actor = (await service.exchange(key=key, user=user.username))["access_token"]
        token = (await service.exchange(tenant=service.acme))["access_token"]
        told = await swapped(service, token, actor_token=actor, actor_token_type=JWT)
        assert told["act"]["sub"] == user.id
        # No role of the actor's comes with it.
        assert set(told["roles"]) == {"operator"}

    async def test_for_oneself_it_names_nobody(self, service: Running) -> None:
        token = (await service.exchange(tenant=service.acme))["access_token"]
        told = await swapped(service, token, auth=(service.username, service.api_key))
        assert "act" not in told

    async def test_a_chain(self, service: Running) -> None:
        users = [await another(service) for _ in range(3)]
        token = (await service.exchange(tenant=service.acme))["access_token"]
        for user, key in users[:2]:
            token = (await swap(service, token, auth=(user.username, key.text))).json()[
                "access_token"
            ]
        told = claims(service, token)
        assert told["act"]["sub"] == users[1][0].id
        assert told["act"]["act"]["sub"] == users[0][0].id
        # Two are let by default.
        user, key = users[2]
        refused(await swap(service, token, auth=(user.username, key.text)), "invalid_request")

    async def test_400_by_policy(self, service: Running) -> None:
        async with service.service.parts.store.transaction() as tx:
            tenant = await tx.tenants.get(service.acme)
            assert tenant is not None
            await tx.tenants.save(replace(tenant, policy=Policy(max_delegations=0)))
        user, key = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        refused(await swap(service, token, auth=(user.username, key.text)), "invalid_request")
        assert (await swap(service, token)).status_code == 200

    async def test_it_ends_with_the_actors_key(self, service: Running) -> None:
        user = await service.add_user()
        await service.give(user.id, service.acme, VIEWER.id)
        key = await service.add_key(user_id=user.id)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        answer = await swap(service, token, auth=(user.username, key.text))
        delegated = answer.json()["access_token"]
        assert (await service.get("/iam/users/me", delegated)).status_code == 200
        await service.revoke_key(key.key_id)
        assert (await service.get("/iam/users/me", delegated)).status_code == 401
        assert (await service.get("/iam/users/me", token)).status_code == 200

    async def test_403_it_makes_no_keys(self, service: Running) -> None:
        """What was lent for minutes makes nothing that stays."""
        user, key = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        answer = await swap(service, token, auth=(user.username, key.text))
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        made = await service.client.post(
            "/iam/users/me/api-keys", json={"name": "a"}, headers=headers
        )
        assert made.status_code == 403
        headers = {"Authorization": f"Bearer {token}"}
        made = await service.client.post(
            "/iam/users/me/api-keys", json={"name": "a"}, headers=headers
        )
        assert made.status_code == 201

    async def test_the_trail_names_who_acted(self, service: Running) -> None:
        username, _ = service.admin
        user, key = await another(service)
        body = await service.exchange(
            key=service.demo.platform.key, user=username, tenant=service.acme
        )
        answer = await swap(service, body["access_token"], auth=(user.username, key.text))
        headers = {
            "Authorization": f"Bearer {answer.json()['access_token']}",
            "x-tenant-id": service.acme,
        }
        endpoint = {
            "service": "assets",
            "method": "GET",
            "path": "/made-by-another",
            "name": "a",
            "opened_by": [["assets:manage"]],
        }
        made = await service.client.post("/iam/endpoints", json=endpoint, headers=headers)
        assert made.status_code == 201, made.text
        trail = await service.administer(
            "GET", "/audit-events?action=endpoint.created", service.acme
        )
        event = next(e for e in trail.json()["items"] if e["target"] == made.json()["id"])
        assert event["data"]["acting_user_id"] == user.id

    async def test_the_trail_names_who_got_the_token(self, service: Running) -> None:
        user, key = await another(service)
        body = await service.exchange(tenant=service.acme)
        await swap(service, body["access_token"], auth=(user.username, key.text))
        await service.service.usage.flush()
        trail = await service.administer("GET", "/audit-events?action=token.issued", service.acme)
        [event] = [e for e in trail.json()["items"] if "acting_user_id" in e["data"]]
        assert event["data"]["acting_user_id"] == user.id
        assert event["data"]["acting_key_id"] == key.key_id

    async def test_the_actors_key_is_used_and_the_subjects_is_not(self, service: Running) -> None:
        user, key = await another(service)
        body = await service.exchange(tenant=service.acme)
        await swap(service, body["access_token"], auth=(user.username, key.text))
        await service.service.usage.flush()
        async with service.service.parts.store.transaction() as tx:
            subjects = await tx.api_keys.get(service.demo.key.key_id)
            actors = await tx.api_keys.get(key.key_id)
        assert subjects is not None
        assert actors is not None
        assert (subjects.use_count, actors.use_count) == (1, 1)

    @pytest.mark.parametrize(
        ("method", "path", "json"),
        [
            ("POST", "/iam/invitations", {"email": "x@example.org", "role_id": VIEWER.id}),
            ("POST", "/iam/service-users", {"name": "x", "description": "", "role_id": VIEWER.id}),
            ("POST", "/iam/roles", {"name": "x", "permissions": ["assets:manage"]}),
            ("POST", "/iam/revocations", {"everything": True}),
            ("DELETE", "/iam/users/me/sessions", None),
        ],
    )
    async def test_403_it_administers_nobody(
        self, service: Running, method: str, path: str, json: Any
    ) -> None:
        """What was lent for minutes changes nothing that stays."""
        username, _ = service.admin
        user, key = await another(service)
        body = await service.exchange(
            key=service.demo.platform.key, user=username, tenant=service.acme
        )
        answer = await swap(service, body["access_token"], auth=(user.username, key.text))
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        if "users/me" not in path:
            headers["x-tenant-id"] = service.acme
        done = await service.client.request(method, path, json=json, headers=headers)
        assert done.status_code == 403, done.text
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200

    async def test_403_it_revokes_not_the_users_key(self, service: Running) -> None:
        user, key = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        delegated = await swap(service, token, auth=(user.username, key.text))
        narrowed = await swap(service, token, scope="assets:manage")
        path = f"/iam/users/me/api-keys/{service.demo.key.key_id}/revoke"
        for answer in (delegated, narrowed):
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            done = await service.client.post(path, headers=headers)
            assert done.status_code == 403, done.text
            done = await service.client.delete("/iam/users/me/sessions", headers=headers)
            assert done.status_code == 403, done.text
        assert (await service.exchange())["access_token"]

    async def test_it_ends_with_the_actors_token(self, service: Running) -> None:
        user, key = await another(service)
        actor = (await service.exchange(key=key, user=user.username))["access_token"]
        child = (await swap(service, actor)).json()["access_token"]
        token = (await service.exchange(tenant=service.acme))["access_token"]
        answers = [
            await swap(service, token, actor_token=text, actor_token_type=ACCESS)
            for text in (actor, child)
        ]
        await service.client.post("/iam/auth/revoke", data={"token": actor})
        for answer in answers:
            delegated = answer.json()["access_token"]
            assert (await service.get("/iam/users/me", delegated)).status_code == 401
        assert (await service.get("/iam/users/me", token)).status_code == 200

    async def test_it_ends_with_the_later_of_the_actors_keys(self, service: Running) -> None:
        user, key = await another(service)
        second = await service.add_key(user_id=user.id, home_tenant_id=service.globex)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        for one in (key, second):
            answer = await swap(service, token, auth=(user.username, one.text))
            token = answer.json()["access_token"]
        told = claims(service, token)["act"]
        assert (told["client_id"], "act" in told) == (second.key_id, False)

    async def test_a_suspended_tenants_user_acts_no_more(self, service: Running) -> None:
        user, key = await another(service)
        actor = (await service.exchange(key=key, user=user.username))["access_token"]
        token = (await service.exchange(tenant=service.acme))["access_token"]
        await service.suspend(service.globex)
        refused(await swap(service, token, auth=(user.username, key.text)), "invalid_client", 401)
        answer = await swap(service, token, actor_token=actor, actor_token_type=ACCESS)
        refused(answer, "invalid_request")

    async def test_401_a_wrong_client_secret(self, service: Running) -> None:
        user, _ = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        wrong = service.service.parts.key_format.new().text
        refused(await swap(service, token, auth=(user.username, wrong)), "invalid_client", 401)

    async def test_401_a_client_id_that_is_not_the_tokens(self, service: Running) -> None:
        user, _ = await another(service)
        token = (await service.exchange(tenant=service.acme))["access_token"]
        refused(await swap(service, token, client_id=user.username), "invalid_client", 401)
        assert (await swap(service, token, client_id=service.username)).status_code == 200


class TestEnds:
    """What ends the subject token ends what was made of it."""

    async def made(self, service: Running) -> tuple[dict[str, Any], str]:
        body = await service.exchange()
        answer = await swap(service, body["access_token"], tenant=service.acme)
        token: str = answer.json()["access_token"]
        assert (await service.get("/iam/users/me", token)).status_code == 200
        return body, token

    async def test_revoked_token(self, service: Running) -> None:
        body, token = await self.made(service)
        await service.client.post("/iam/auth/revoke", data={"token": body["access_token"]})
        assert (await service.get("/iam/users/me", token)).status_code == 401
        assert (await service.introspect(token)).json() == {"active": False}

    async def test_revoked_session(self, service: Running) -> None:
        body, token = await self.made(service)
        await service.client.post("/iam/auth/revoke", data={"token": body["refresh_token"]})
        assert (await service.get("/iam/users/me", token)).status_code == 401

    async def test_changed_authority(self, service: Running) -> None:
        _, token = await self.made(service)
        await service.reauthorise()
        assert (await service.get("/iam/users/me", token)).status_code == 401

    async def test_single_token_ends_the_subject(self, service: Running) -> None:
        async with service.service.parts.store.transaction() as tx:
            user = await tx.users.get(service.demo.user.id)
            assert user is not None
            await tx.users.save(replace(user, single_token=True))
        body, token = await self.made(service)
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 401
        assert (await service.get("/iam/users/me", token)).status_code == 200


class TestBadSubject:
    async def test_400_revoked(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        await service.client.post("/iam/auth/revoke", data={"token": token})
        refused(await swap(service, token), "invalid_request")

    async def test_400_expired(self, service: Running) -> None:
        token = (await service.exchange())["access_token"]
        service.clock.shift = timedelta(seconds=301)
        refused(await swap(service, token), "invalid_request")

    @pytest.mark.parametrize("text", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
    async def test_400_garbage(self, service: Running, text: str) -> None:
        refused(await swap(service, text), "invalid_request")

    async def test_400_a_refresh_token_or_an_api_key(self, service: Running) -> None:
        body = await service.exchange()
        for text in (body["refresh_token"], service.api_key):
            refused(await swap(service, text), "invalid_request")

    @pytest.mark.parametrize(
        "change",
        [
            {"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
            {"subject_token_type": ""},
            {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
            {"actor_token": "x"},
            {"actor_token_type": ACCESS},
            {"actor_token": "x", "actor_token_type": ACCESS},
        ],
    )
    async def test_400_other_types(self, service: Running, change: dict[str, Any]) -> None:
        token = (await service.exchange())["access_token"]
        refused(await swap(service, token, **change), "invalid_request")

    async def test_400_an_actor_token_for_another_audience(self, service: Running) -> None:
        """A resource server holds its callers' tokens; it does not act as one of them."""
        await register(service, METERS, service.acme)
        actor = (await granted(service, METERS))["access_token"]
        username, _ = service.admin
        body = await service.exchange(key=service.demo.platform.key, user=username)
        answer = await swap(
            service, body["access_token"], actor_token=actor, actor_token_type=ACCESS
        )
        refused(answer, "invalid_request")

    async def test_400_switched_off(self, start: Any) -> None:
        service: Running = await start(grants=frozenset({"password"}))
        token = (await service.exchange())["access_token"]
        refused(await swap(service, token), "unsupported_grant_type")

    async def test_metadata_lists_it(self, service: Running) -> None:
        told = (await service.get("/.well-known/oauth-authorization-server")).json()
        assert GRANT in told["grant_types_supported"]
