"""What Keyturn has not, and must not have by accident: flows of browsers, ID tokens, people's
passwords for tokens. deploy/asvs.md rests on it.
"""

from __future__ import annotations

import pytest

from keyturn.server.domain.model import UserKind
from keyturn.server.tokens.passwords import Argon2Passwords
from tests.http.conftest import Running

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CIBA = "urn:openid:params:grant-type:ciba"
PASSWORD = "a long one that nobody has tried"


class TestNoFlowsOfBrowsers:
    @pytest.mark.parametrize("grant", ["authorization_code", "implicit", "token", DEVICE, CIBA])
    async def test_400_their_grants(self, service: Running, grant: str) -> None:
        answer = await service.token(
            grant_type=grant,
            code="x",
            redirect_uri="https://x.example",
            username=service.username,
            password=service.api_key,
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")

    @pytest.mark.parametrize("base", ["", "/iam", "/iam/auth", "/oauth", "/oauth2"])
    async def test_404_their_endpoints(self, service: Running, base: str) -> None:
        for name in ("authorize", "par", "device", "register", "logout", "userinfo", "consent"):
            for method in ("GET", "POST"):
                answer = await service.client.request(method, f"{base}/{name}")
                assert answer.status_code == 404

    async def test_metadata_names_none(self, service: Running) -> None:
        told = (await service.get("/.well-known/openid-configuration")).json()
        assert told["response_types_supported"] == []
        for name in (
            *("authorization_endpoint", "registration_endpoint", "end_session_endpoint"),
            *("pushed_authorization_request_endpoint", "device_authorization_endpoint"),
            *("response_modes_supported", "code_challenge_methods_supported"),
        ):
            assert name not in told

    async def test_tokens_stand_in_the_body_alone(self, service: Running) -> None:
        body = await service.exchange()
        answer = await service.refresh(body["refresh_token"])
        assert answer.headers["cache-control"] == "no-store"
        assert {"location", "set-cookie", "refresh"}.isdisjoint(answer.headers)
        for value in answer.headers.values():
            assert answer.json()["access_token"] not in value


class TestNoIdTokens:
    async def test_none_is_given(self, service: Running) -> None:
        assert "id_token" not in await service.exchange()

    async def test_400_the_scope_openid(self, service: Running) -> None:
        answer = await service.token(
            grant_type="password",
            username=service.username,
            password=service.api_key,
            scope="openid",
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


class TestNoPeoplesPasswords:
    @pytest.mark.parametrize("grant", ["password", "client_credentials"])
    async def test_400_or_401_for_a_right_one(self, service: Running, grant: str) -> None:
        person = await service.add_user(UserKind.HUMAN)
        passwords = Argon2Passwords()
        hashed = await passwords.hash(PASSWORD)
        passwords.close()
        async with service.service.parts.store.transaction() as tx:
            await tx.users.set_password(person.id, hashed, service.clock())
        named = {"username": person.username, "password": PASSWORD}
        if grant == "client_credentials":
            named = {"client_id": person.username, "client_secret": PASSWORD}
        answer = await service.client.post("/iam/auth/token", data={"grant_type": grant, **named})
        assert answer.json()["error"] in {"invalid_grant", "invalid_client"}
        # Who it is has nothing to do with it: with a key they get one.
        assert (await service.exchange_for(person))["access_token"]
