"""`POST /iam/auth/token`, from a key to tokens."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from keyturn.server.domain.ids import new_id
from keyturn.server.domain.model import Invitation, InvitationState
from tests.http.conftest import Running

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
C1 = {
    "access_token",
    "refresh_token",
    "token_type",
    "expires_in",
    "refresh_expires_in",
    "scope",
}


def claims(service: Running, token: str, *audiences: str) -> dict[str, Any]:
    """A token's claims, verified by a library that is not the server's.

    `audiences` are those that will do; else the service's own.
    """
    import jwt

    keys = jwt.PyJWKSet.from_dict(dict(service.service.surface.published._jwks()))
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    decoded: dict[str, Any] = jwt.decode(
        token,
        keys[header["kid"]].key,
        algorithms=["ES256", "RS256", "EdDSA"],
        issuer=service.settings.issuer,
        audience=audiences or (service.settings.audience,),
        options={"require": ["iss", "sub", "aud", "client_id", "iat", "exp", "jti"]},
    )
    return decoded


class TestPassword:
    async def test_200_c1_json(self, service: Running) -> None:
        """C1: username and password as JSON, without a grant_type."""
        answer = await service.client.post(
            "/iam/auth/token",
            json={"username": service.username, "password": service.api_key},
        )
        assert answer.status_code == 200
        body = answer.json()
        assert body.keys() == C1
        assert body["token_type"] == "bearer"
        assert (body["expires_in"], body["refresh_expires_in"]) == (300, 1800)
        assert answer.headers["cache-control"] == "no-store"

    async def test_200_form(self, service: Running) -> None:
        assert (await service.exchange()).keys() == C1

    async def test_200_in_any_case_of_the_username(self, service: Running) -> None:
        await service.exchange(user=service.username.upper())

    @pytest.mark.parametrize("name", ["key", "username"])
    @pytest.mark.parametrize("way", ["body", "basic", "basic_with_secret", "post_with_secret"])
    async def test_200_client_id(self, service: Running, name: str, way: str) -> None:
        client_id = service.demo.key.key_id if name == "key" else service.username
        form = {
            "grant_type": "password",
            "username": service.username,
            "password": service.api_key,
        }
        auth = None
        if way.startswith("basic"):
            auth = httpx.BasicAuth(client_id, service.api_key if "secret" in way else "")
        else:
            form["client_id"] = client_id
            if "secret" in way:
                form["client_secret"] = service.api_key
        answer = await service.client.post(
            "/iam/auth/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT
        )
        assert answer.status_code == 200, answer.text

    async def test_401_client_id_of_another(self, service: Running) -> None:
        answer = await service.token(
            grant_type="password",
            username=service.username,
            password=service.api_key,
            client_id="somebody",
        )
        assert answer.status_code == 401
        assert answer.json()["error"] == "invalid_client"

    async def test_401_wrong_client_secret(self, service: Running) -> None:
        answer = await service.token(
            grant_type="password",
            username=service.username,
            password=service.api_key,
            client_id=service.username,
            client_secret="wrong",
        )
        assert answer.status_code == 401

    async def test_400_all_bad_credentials_are_one_answer(self, service: Running) -> None:
        parts = service.service
        revoked, expired = await service.add_key(), await service.add_key()
        ended = await service.add_key(expires_at=service.clock() - timedelta(seconds=1))
        await service.revoke_key(revoked.key_id)
        other_user = await service.add_user()
        others = await service.add_key(user_id=other_user.id)
        disabled_user = await service.add_user()
        disabled = await service.add_key(user_id=disabled_user.id)
        async with parts.parts.store.transaction() as tx:
            await tx.users.set_disabled(disabled_user.id, service.clock())
        unknown = parts.parts.key_format.new()
        swapped = service.api_key[:26] + expired.text[26:]
        attempts = {
            "unknown user": ("nobody", service.api_key),
            "unknown key": (service.username, unknown.text),
            "not a key": (service.username, "hunter2"),
            "one letter off": (service.username, service.api_key[:-1] + "!"),
            "another's secret": (service.username, swapped),
            "another's key": (service.username, others.text),
            "revoked": (service.username, revoked.text),
            "expired": (service.username, ended.text),
            "disabled": (disabled_user.username, disabled.text),
        }
        answers = {}
        for what, (username, password) in attempts.items():
            answer = await service.token(
                grant_type="password", username=username, password=password
            )
            answers[what] = (answer.status_code, answer.text, answer.headers.get("content-type"))
        assert len(set(answers.values())) == 1, answers
        status, text, _ = answers["unknown key"]
        assert status == 400
        assert '"invalid_grant"' in text

    @pytest.mark.parametrize("missing", ["username", "password", "grant_type"])
    async def test_400_missing_parameter(self, service: Running, missing: str) -> None:
        form = {
            "grant_type": "password",
            "username": service.username,
            "password": service.api_key,
        }
        del form[missing]
        answer = await service.client.post("/iam/auth/token", data=form)
        assert answer.status_code == 400
        assert answer.json() == {
            "error": "invalid_request",
            "error_description": f"{missing} is missing.",
        }

    async def test_the_token_never_outlives_its_key(self, service: Running) -> None:
        key = await service.add_key(expires_at=service.clock() + timedelta(seconds=60))
        body = await service.exchange(key=key)
        assert body["expires_in"] <= 60
        assert body["refresh_expires_in"] <= 60


class TestMissing:
    @pytest.mark.parametrize(
        ("path", "form", "missing"),
        [
            ("token", {"grant_type": "refresh_token"}, "refresh_token"),
            ("token", {"grant_type": EXCHANGE}, "subject_token"),
            ("token", {"grant_type": EXCHANGE, "subject_token": "x"}, "subject_token_type"),
            ("revoke", {"token_type_hint": "access_token"}, "token"),
            ("introspect", {"token_type_hint": "access_token"}, "token"),
        ],
    )
    async def test_400_is_named(
        self, service: Running, path: str, form: dict[str, str], missing: str
    ) -> None:
        answer = await service.client.post(f"/iam/auth/{path}", data=form)
        assert answer.status_code == 400
        assert answer.json()["error_description"] == f"{missing} is missing."

    async def test_400_an_actor_tokens_type(self, service: Running) -> None:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": (await service.exchange())["access_token"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "actor_token": "x",
        }
        answer = await service.client.post("/iam/auth/token", data=form)
        assert answer.json()["error_description"] == "actor_token_type is missing."


class TestClientCredentials:
    @pytest.mark.parametrize("way", ["basic", "post"])
    @pytest.mark.parametrize("name", ["key", "username"])
    async def test_200(self, service: Running, way: str, name: str) -> None:
        client_id = service.demo.key.key_id if name == "key" else service.username
        form = {"grant_type": "client_credentials"}
        auth = None
        if way == "basic":
            auth = httpx.BasicAuth(client_id, service.api_key)
        else:
            form |= {"client_id": client_id, "client_secret": service.api_key}
        answer = await service.client.post(
            "/iam/auth/token", data=form, auth=auth or httpx.USE_CLIENT_DEFAULT
        )
        assert answer.status_code == 200
        # RFC 6749, 4.4.3: no refresh token.
        assert answer.json().keys() == C1 - {"refresh_token", "refresh_expires_in"}

    async def test_401_unknown_client_and_wrong_secret_are_one_answer(
        self, service: Running
    ) -> None:
        unknown = service.service.parts.key_format.new()
        answers = set()
        for client_id, secret in [
            (service.username, unknown.text),
            (unknown.key_id, unknown.text),
            (service.username, "wrong"),
            ("nobody", service.api_key),
            (service.username, ""),
            ("", ""),
        ]:
            answer = await service.client.post(
                "/iam/auth/token",
                data={"grant_type": "client_credentials"},
                auth=(client_id, secret),
            )
            assert answer.headers["www-authenticate"].startswith("Basic ")
            answers.add((answer.status_code, answer.text))
        assert len(answers) == 1
        assert answers.pop()[0] == 401

    async def test_200_form_encoded_basic(self, service: Running) -> None:
        """RFC 6749, 2.3.1: both parts are form-encoded."""
        import base64
        from urllib.parse import quote

        pair = f"{quote(service.username, safe='')}:{service.api_key}"
        header = "Basic " + base64.b64encode(pair.encode()).decode()
        answer = await service.token(
            headers={"Authorization": header}, grant_type="client_credentials"
        )
        assert answer.status_code == 200


class TestTenant:
    async def test_a_chosen_tenant_gives_a_token_of_it(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme)
        told = claims(service, body["access_token"])
        assert told["tenant_id"] == service.acme
        assert told["roles"] == ["operator"]
        assert "assets:manage" in told["scope"].split()
        assert "tenants" not in told
        assert body["scope"] == told["scope"]

    async def test_without_one_the_token_lists_roles_by_tenant(self, service: Running) -> None:
        told = claims(service, (await service.exchange())["access_token"])
        assert told["tenants"] == {service.acme: ["operator"], service.globex: ["viewer"]}
        assert "tenant_id" not in told
        # What is held in both, and nothing that is held in one of them only.
        assert told["scope"] == "tenants:read"

    @pytest.mark.parametrize("real", [True, False])
    async def test_403_the_same_whether_the_tenant_exists(
        self, service: Running, real: bool
    ) -> None:
        stranger = await service.add_tenant("stranger")
        absent = "01a00000-0000-7000-8000-000000000000"
        answer = await service.token(
            headers={"x-tenant-id": stranger.id if real else absent},
            grant_type="password",
            username=service.username,
            password=service.api_key,
        )
        assert answer.status_code == 403
        assert answer.json() == {
            "error": "access_denied",
            "error_description": "You have no role in this tenant.",
        }

    async def test_p1_a_role_reaches_the_tenants_below(self, service: Running) -> None:
        product = await service.add_tenant("product", parent_id=service.acme)
        told = claims(service, (await service.exchange())["access_token"])
        assert told["tenants"][product.id] == ["operator"]
        assert (await service.exchange(tenant=product.id))["scope"]

    async def test_p1_a_role_below_does_not_reach_up(self, service: Running) -> None:
        product = await service.add_tenant("product", parent_id=service.acme)
        user = await service.add_user()
        role = await service.add_role(product.id, "narrow", "tenants:read")
        await service.give(user.id, product.id, role.id)
        key = await service.add_key(user_id=user.id)
        told = claims(
            service, (await service.exchange(key=key, user=user.username))["access_token"]
        )
        assert told["tenants"] == {product.id: ["narrow"]}

    async def test_a_suspended_tenant_is_gone_with_all_below(self, service: Running) -> None:
        product = await service.add_tenant("product", parent_id=service.acme)
        await service.suspend(service.acme)
        told = claims(service, (await service.exchange())["access_token"])
        assert told["tenants"].keys() == {service.globex}
        assert product.id not in told["tenants"]

    async def test_an_invitation_gives_nothing(self, service: Running) -> None:
        user = await service.add_user()
        role = await service.add_role(service.acme, "guest", "tenants:read")
        now = service.clock()
        offer = Invitation(
            new_id(),
            service.acme,
            role.id,
            user.username,
            InvitationState.PENDING,
            now,
            now + timedelta(days=1),
        )
        async with service.service.parts.store.transaction() as tx:
            await tx.invitations.add(offer, b"a code's hash")
        key = await service.add_key(user_id=user.id)
        told = claims(
            service, (await service.exchange(key=key, user=user.username))["access_token"]
        )
        assert told["tenants"] == {}
        assert told["scope"] == ""

    async def test_w2_a_bound_key_works_in_its_tenant_only(self, service: Running) -> None:
        key = await service.add_key(tenant_id=service.globex)
        told = claims(service, (await service.exchange(key=key))["access_token"])
        assert (told["tenant_id"], told["roles"]) == (service.globex, ["viewer"])
        answer = await service.token(
            headers={"x-tenant-id": service.acme},
            grant_type="password",
            username=service.username,
            password=key.text,
        )
        assert answer.status_code == 403

    async def test_a_key_narrows_to_its_roles(self, service: Running) -> None:
        role = await service.add_role(service.acme, "extra", "tenants:read")
        await service.give(service.demo.user.id, service.acme, role.id)
        key = await service.add_key(role_ids=(role.id,))
        told = claims(service, (await service.exchange(key=key))["access_token"])
        assert told["tenants"] == {service.acme: ["extra"]}

    async def test_above_twenty_tenants_the_token_points_at_users_me(
        self, service: Running
    ) -> None:
        for number in range(25):
            await service.add_tenant(f"product {number}", parent_id=service.acme)
        body = await service.exchange()
        told = claims(service, body["access_token"])
        assert "tenants" not in told
        assert told["_claim_names"] == {"tenants": "me"}
        endpoint = told["_claim_sources"]["me"]["endpoint"]
        assert endpoint == f"{service.settings.base_url}/users/me"
        pages, after = [], ""
        while True:
            answer = await service.get(f"/iam/users/me?limit=10{after}", token=body["access_token"])
            pages.append(answer.json()["roles"])
            if "next_after" not in answer.json():
                break
            after = f"&after={answer.json()['next_after']}"
        listed = [item["tenant_id"] for page in pages for item in page]
        assert len(listed) == len(set(listed)) == 27
        # The refreshed token is of the same kind, and one tenant can still be chosen.
        again = (await service.refresh(body["refresh_token"])).json()
        assert "_claim_names" in claims(service, again["access_token"])
        assert (
            claims(service, (await service.exchange(tenant=listed[-1]))["access_token"])[
                "tenant_id"
            ]
            == listed[-1]
        )


class TestScope:
    async def test_narrows(self, service: Running) -> None:
        body = await service.exchange(tenant=service.acme, scope="assets:manage")
        told = claims(service, body["access_token"])
        assert told["scope"] == body["scope"] == "assets:manage"
        # The role holds more than that, so its name would say too much.
        assert told["roles"] == []

    async def test_without_a_tenant_names_those_where_it_is_held(self, service: Running) -> None:
        told = claims(service, (await service.exchange(scope="assets:manage"))["access_token"])
        assert told["tenants"] == {service.acme: []}
        assert told["scope"] == "assets:manage"

    @pytest.mark.parametrize(
        "scope", ["system:manage", "nonsense", 'assets:manage "x"', "assets:manage\\", "ä"]
    )
    async def test_400_more_than_the_key_gives(self, service: Running, scope: str) -> None:
        answer = await service.token(
            headers={"x-tenant-id": service.acme},
            grant_type="password",
            username=service.username,
            password=service.api_key,
            scope=scope,
        )
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_scope"


class TestAlgorithms:
    @pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
    async def test_200(self, start: Any, algorithm: str) -> None:
        service: Running = await start(signing_algorithm=algorithm)
        body = await service.exchange()
        assert claims(service, body["access_token"])["sub"] == service.demo.user.id
        assert (await service.get("/iam/users/me", body["access_token"])).status_code == 200


class TestGrantsSetting:
    async def test_400_a_grant_that_is_switched_off(self, start: Any) -> None:
        service: Running = await start(grants="client_credentials")
        answer = await service.token(
            grant_type="password", username=service.username, password=service.api_key
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
        metadata = (await service.get("/.well-known/oauth-authorization-server")).json()
        assert metadata["grant_types_supported"] == ["client_credentials"]

    async def test_no_refresh_token_that_nobody_takes(self, start: Any) -> None:
        service: Running = await start(grants="password")
        assert "refresh_token" not in await service.exchange()


class TestResource:
    async def test_400_unknown(self, service: Running) -> None:
        """RFC 8707."""
        answer = await service.token(
            grant_type="password",
            username=service.username,
            password=service.api_key,
            resource="https://elsewhere.example",
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
        await service.exchange(resource=service.settings.audience)


class TestUsage:
    async def test_last_use_and_issuance_are_noted(self, service: Running) -> None:
        await service.exchange()
        await service.exchange()
        await service.service.usage.flush()
        async with service.service.parts.store.transaction() as tx:
            key = await tx.api_keys.get(service.demo.key.key_id)
        assert key is not None
        assert key.use_count == 2
        assert key.last_used_at is not None
        assert key.last_used_from == "127.0.0.1"
