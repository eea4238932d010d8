"""Exchange, refresh, introspect, revoke, verify: with libraries that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt as pyjwt
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt
from joserfc.jwk import KeySet
from oauthlib.oauth2 import LegacyApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError
from requests_oauthlib import OAuth2Session

from tests.live_server import Live, forged_key, live_service

C1 = {
    "access_token",
    "refresh_token",
    "token_type",
    "expires_in",
    "refresh_expires_in",
    "scope",
}


class TestAuthlib:
    """`AsyncOAuth2Client`."""

    @pytest.mark.parametrize("client_id", ["none", "username", "key id"])
    async def test_password_grant(self, live: Live, client_id: str) -> None:
        demo, server = live.demo, live.server
        names = {"none": None, "username": demo.username, "key id": demo.key_id}
        async with AsyncOAuth2Client(names[client_id]) as client:
            if names[client_id] is None:
                # Without an id it would send `client_id=None`.
                client.register_client_auth_method(("nothing", lambda *given: given[2:]))
                client.token_endpoint_auth_method = "nothing"
                client.revocation_endpoint_auth_method = "nothing"
            token = await client.fetch_token(
                server.token_url, username=demo.username, password=demo.api_key
            )
            assert set(token) == {*C1, "expires_at"}
            assert (await client.get(server.me_url)).json()["username"] == demo.username

            first = token["refresh_token"]
            token = await client.refresh_token(server.token_url, refresh_token=first)
            assert token["refresh_token"] != first
            assert (await client.get(server.me_url)).status_code == 200

            hint = "refresh_token"
            answer = await client.revoke_token(server.revoke_url, token["refresh_token"], hint)
            assert answer.status_code == 200
            assert (await client.get(server.me_url)).status_code == 401
            with pytest.raises(OAuthError) as refused:
                await client.refresh_token(server.token_url, token["refresh_token"])
            assert refused.value.error == "invalid_grant"

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    @pytest.mark.parametrize("by", ["username", "key id"])
    async def test_client_credentials(self, live: Live, method: str, by: str) -> None:
        demo, server = live.demo, live.server
        client_id = demo.username if by == "username" else demo.key_id
        async with AsyncOAuth2Client(
            client_id,
            demo.api_key,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            scope="tenants:read",
        ) as client:
            token = await client.fetch_token(server.token_url, grant_type="client_credentials")
            assert set(token) == C1 - {"refresh_token", "refresh_expires_in"} | {"expires_at"}
            assert token["scope"] == "tenants:read"
            assert (await client.get(server.me_url)).status_code == 200

            await client.revoke_token(server.revoke_url, token["access_token"], "access_token")
            assert (await client.get(server.me_url)).status_code == 401

    async def test_password_grant_with_the_key_as_client_secret(self, live: Live) -> None:
        demo, server = live.demo, live.server
        async with AsyncOAuth2Client(demo.key_id, demo.api_key) as client:
            token = await client.fetch_token(
                server.token_url, username=demo.username, password=demo.api_key
            )
            again = await client.refresh_token(server.token_url, token["refresh_token"])
            assert again["refresh_token"] != token["refresh_token"]

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    async def test_introspection(self, live: Live, method: str) -> None:
        demo, server = live.demo, live.server
        tokens = live.exchange()
        async with AsyncOAuth2Client(
            demo.admin_username, demo.admin_api_key, token_endpoint_auth_method=method
        ) as client:

            async def ask(token: str) -> dict[str, Any]:
                answer = await client.introspect_token(server.introspect_url, token, "access_token")
                body: dict[str, Any] = answer.json()
                return body

            active = await ask(tokens["access_token"])
            assert active["active"] is True
            assert active["client_id"] == demo.key_id
            assert set(active["tenants"]) == set(demo.tenants)
            assert (await ask(tokens["refresh_token"]))["active"] is True
            live.revoke(tokens["refresh_token"])
            assert await ask(tokens["access_token"]) == {"active": False}
            assert await ask(tokens["refresh_token"]) == {"active": False}
            assert await ask("garbage") == {"active": False}

    async def test_refusals_reach_the_caller(self, live: Live) -> None:
        demo, server = live.demo, live.server
        async with AsyncOAuth2Client(demo.username) as client:
            with pytest.raises(OAuthError) as refused:
                await client.fetch_token(
                    server.token_url, username=demo.username, password=forged_key(demo.api_key)
                )
            assert refused.value.error == "invalid_grant"
        async with AsyncOAuth2Client(demo.username, "wrong") as client:
            with pytest.raises(OAuthError) as refused:
                await client.fetch_token(server.token_url, grant_type="client_credentials")
            assert refused.value.error == "invalid_client"


class TestRequestsOAuthlib:
    """`OAuth2Session` with `LegacyApplicationClient`, which sends Basic with an empty secret."""

    @pytest.fixture(autouse=True)
    def _plain_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")

    @pytest.fixture(params=["username", "key id", "none"])
    def session(self, request: pytest.FixtureRequest, live: Live) -> Iterator[OAuth2Session]:
        names = {"username": live.demo.username, "key id": live.demo.key_id, "none": None}
        client = LegacyApplicationClient(client_id=names[request.param])  # type: ignore[arg-type]
        with OAuth2Session(client=client) as session:
            yield session

    def _fetch(self, session: OAuth2Session, live: Live) -> dict[str, Any]:
        token: dict[str, Any] = session.fetch_token(
            live.server.token_url, username=live.demo.username, password=live.demo.api_key
        )
        return token

    def test_exchange_and_refresh(self, session: OAuth2Session, live: Live) -> None:
        token = self._fetch(session, live)
        assert set(token) == {*C1, "expires_at"}
        assert session.get(live.server.me_url).json()["username"] == live.demo.username

        first = token["refresh_token"]
        token = session.refresh_token(live.server.token_url)
        assert token["refresh_token"] != first
        assert session.get(live.server.me_url).status_code == 200

    def test_refresh_by_itself(self, session: OAuth2Session, live: Live) -> None:
        token = self._fetch(session, live)
        kept: list[dict[str, Any]] = []
        session.auto_refresh_url = live.server.token_url
        session.token_updater = kept.append
        session.token = {**token, "expires_at": 1, "expires_in": -1}
        assert session.get(live.server.me_url).status_code == 200
        assert len(kept) == 1
        assert kept[0]["refresh_token"] != token["refresh_token"]

    def test_revoke(self, session: OAuth2Session, live: Live) -> None:
        token = self._fetch(session, live)
        form = {"token": token["refresh_token"], "token_type_hint": "refresh_token"}
        assert session.request("POST", live.server.revoke_url, data=form, withhold_token=True).ok
        assert session.get(live.server.me_url).status_code == 401
        with pytest.raises(InvalidGrantError):
            session.refresh_token(live.server.token_url)

    def test_introspect(self, session: OAuth2Session, live: Live) -> None:
        token = self._fetch(session, live)
        admin = (live.demo.admin_username, live.demo.admin_api_key)

        def ask(text: str) -> dict[str, Any]:
            answer = session.request(
                "POST",
                live.server.introspect_url,
                data={"token": text},
                auth=admin,
                withhold_token=True,
            )
            body: dict[str, Any] = answer.json()
            return body

        assert ask(token["access_token"])["active"] is True
        live.revoke(token["access_token"])
        assert ask(token["access_token"]) == {"active": False}
        assert ask(token["refresh_token"])["active"] is True

    def test_wrong_key(self, session: OAuth2Session, live: Live) -> None:
        with pytest.raises(InvalidGrantError):
            session.fetch_token(
                live.server.token_url,
                username=live.demo.username,
                password=forged_key(live.demo.api_key),
            )


class TestHttpx:
    """By hand, as curl would."""

    @pytest.mark.parametrize("form", ["json", "form"])
    def test_exchange_answers_exactly_these_fields(self, live: Live, form: str) -> None:
        fields = {"username": live.demo.username, "password": live.demo.api_key}
        if form == "json":
            answer = live.http.post(live.server.token_url, json=fields)
        else:
            fields["grant_type"] = "password"
            answer = live.http.post(live.server.token_url, data=fields)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert set(body) == C1
        assert body["token_type"] == "bearer"
        assert body["expires_in"] == 300
        assert body["refresh_expires_in"] == 1800
        assert body["access_token"].count(".") == 2
        assert body["refresh_token"].startswith("ktr_")

    @pytest.mark.parametrize("form", ["json", "form"])
    def test_refresh_answers_exactly_these_fields(self, live: Live, form: str) -> None:
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": live.exchange()["refresh_token"],
        }
        sent = {"json": fields} if form == "json" else {"data": fields}
        answer = live.http.post(live.server.token_url, **sent)  # type: ignore[arg-type]
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == C1
        assert body["token_type"] == "bearer"
        assert body["expires_in"] == 300
        assert 1799 <= body["refresh_expires_in"] <= 1800

    @pytest.mark.parametrize("form", ["json", "form"])
    def test_introspect_and_revoke(self, live: Live, form: str) -> None:
        tokens = live.exchange()
        admin = (live.demo.admin_username, live.demo.admin_api_key)

        def post(url: str, token: str, auth: tuple[str, str] | None = None) -> httpx.Response:
            sent = {"json": {"token": token}} if form == "json" else {"data": {"token": token}}
            return live.http.post(url, auth=auth, **sent)  # type: ignore[arg-type]

        body = post(live.server.introspect_url, tokens["access_token"], admin).json()
        assert body["active"] is True
        assert body["iss"] == live.server.base_url
        answer = post(live.server.revoke_url, tokens["access_token"])
        assert (answer.status_code, answer.content) == (200, b"")
        body = post(live.server.introspect_url, tokens["access_token"], admin).json()
        assert body == {"active": False}
        assert live.me(tokens["access_token"]).status_code == 401

    def test_token_of_one_tenant(self, live: Live) -> None:
        tenant = live.demo.tenants[0]
        fields = {"username": live.demo.username, "password": live.demo.api_key}
        headers = {"x-tenant-id": tenant}
        answer = live.http.post(live.server.token_url, json=fields, headers=headers)
        claims = pyjwt.decode(answer.json()["access_token"], options={"verify_signature": False})
        assert claims["tenant_id"] == tenant
        assert "tenants" not in claims

    def test_metadata_names_what_works(self, live: Live) -> None:
        server = live.server
        for name in ("oauth-authorization-server", "openid-configuration"):
            metadata = live.http.get(f"{server.base_url}/.well-known/{name}").json()
            assert metadata["issuer"] == server.base_url
            assert metadata["token_endpoint"] == server.token_url
            assert metadata["revocation_endpoint"] == server.revoke_url
            assert metadata["introspection_endpoint"] == server.introspect_url
            assert metadata["jwks_uri"] == server.jwks_url

    def test_jwks_is_cacheable(self, live: Live) -> None:
        first = live.http.get(live.server.jwks_url)
        assert "max-age=" in first.headers["cache-control"]
        headers = {"if-none-match": first.headers["etag"]}
        assert live.http.get(live.server.jwks_url, headers=headers).status_code == 304


@pytest.fixture(scope="module", params=["ES256", "RS256", "Ed25519"])
def signing(
    request: pytest.FixtureRequest, log_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """A running service, for each algorithm it can sign with."""
    url = f"sqlite:///{tmp_path_factory.mktemp('signing')}/keyturn.db"
    with live_service(log_dir, url, signing_algorithm=request.param) as live:
        yield live


class TestVerifiers:
    """Resource servers that check tokens offline, knowing nothing but the metadata."""

    def _metadata(self, live: Live) -> dict[str, Any]:
        url = f"{live.server.base_url}/.well-known/openid-configuration"
        body: dict[str, Any] = live.http.get(url).json()
        return body

    def test_pyjwt(self, signing: Live) -> None:
        metadata = self._metadata(signing)
        exchanged = signing.exchange()
        refreshed = signing.refresh(exchanged["refresh_token"]).json()
        for access in (exchanged["access_token"], refreshed["access_token"]):
            key = pyjwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(access)
            decoded = pyjwt.decode_complete(
                access,
                key,
                algorithms=metadata["id_token_signing_alg_values_supported"],
                issuer=metadata["issuer"],
                audience=metadata["issuer"],
                options={"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]},
            )
            assert decoded["header"]["typ"] == "at+jwt"
            assert decoded["header"]["kid"] == key.key_id
            claims = decoded["payload"]
            assert claims["client_id"] == signing.demo.key_id
            assert claims["exp"] - claims["iat"] == 300
            assert set(claims["tenants"]) == set(signing.demo.tenants)
            assert "nbf" not in claims

    def test_pyjwt_refuses_a_changed_token(self, signing: Live) -> None:
        metadata = self._metadata(signing)
        header, payload, signature = signing.exchange()["access_token"].split(".")
        # The first letter: the last one has bits that mean nothing.
        forged = f"{header}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        key = pyjwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(forged)
        with pytest.raises(pyjwt.InvalidSignatureError):
            pyjwt.decode(
                forged,
                key,
                algorithms=metadata["id_token_signing_alg_values_supported"],
                audience=metadata["issuer"],
            )

    # It warns of the name EdDSA, which RFC 9864 replaces; most verifiers know no other.
    @pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
    def test_joserfc(self, signing: Live) -> None:
        metadata = self._metadata(signing)
        keys = KeySet.import_key_set(signing.http.get(metadata["jwks_uri"]).json())
        token = jwt.decode(
            signing.exchange()["access_token"],
            keys,
            algorithms=metadata["id_token_signing_alg_values_supported"],
        )
        assert token.header["typ"] == "at+jwt"
        essential: jwt.ClaimsOption = {"essential": True}
        jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": metadata["issuer"]},
            aud={"essential": True, "value": metadata["issuer"]},
            sub=essential,
            client_id={"essential": True, "value": signing.demo.key_id},
            iat=essential,
            exp=essential,
            jti=essential,
        ).validate(token.claims)

    def test_authlib_resource_server(self, signing: Live) -> None:
        """RFC 9068 as Authlib reads it; it does not take Ed25519 without being told."""
        metadata = self._metadata(signing)

        class Validator(JWTBearerTokenValidator):  # type: ignore[misc]  # authlib is untyped
            def get_jwks(self) -> Any:
                return signing.http.get(metadata["jwks_uri"]).json()

        validator = Validator(issuer=metadata["issuer"], resource_server=metadata["issuer"])
        access = signing.exchange()["access_token"]
        if pyjwt.get_unverified_header(access)["alg"] == "EdDSA":
            with pytest.raises(InvalidTokenError):
                validator.authenticate_token(access)
            return
        token = validator.authenticate_token(access)
        validator.validate_token(token, ["tenants:read"], None)
        strangers = Validator(issuer="https://other.example", resource_server=metadata["issuer"])
        with pytest.raises(InvalidTokenError):
            strangers.validate_token(strangers.authenticate_token(access), None, None)

    async def test_authlib_client(self, signing: Live) -> None:
        async with AsyncOAuth2Client(signing.demo.username) as client:
            token = await client.fetch_token(
                signing.server.token_url,
                username=signing.demo.username,
                password=signing.demo.api_key,
            )
            token = await client.refresh_token(signing.server.token_url, token["refresh_token"])
            assert (await client.get(signing.server.me_url)).status_code == 200
            assert signing.introspect(token["access_token"])["active"] is True
            await client.revoke_token(signing.server.revoke_url, token["refresh_token"])
            assert signing.introspect(token["access_token"]) == {"active": False}
