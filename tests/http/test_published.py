"""Keys, metadata, health, and the contract itself."""

from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from starlette.routing import Route

from keyturn.server.http.routes import Methods, routes
from tests.http.conftest import Running
from tests.http.contract import operations


def methods_of(route: Route) -> set[str]:
    assert isinstance(route.endpoint, Methods)
    return set(route.endpoint.endpoints)


class TestContract:
    async def test_routes_and_openapi_are_the_same(self, service: Running) -> None:
        served = {
            (method, route.path)
            for route in routes(service.service.surface)
            for method in methods_of(route)
        }
        assert served == operations()


class TestMetadata:
    @pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration"])
    async def test_200(self, service: Running, name: str) -> None:
        body = (await service.get(f"/.well-known/{name}")).json()
        assert body["issuer"] == service.settings.issuer
        assert "ES256" in body["id_token_signing_alg_values_supported"]

    async def test_everything_listed_works(self, service: Running) -> None:
        body = (await service.get("/.well-known/oauth-authorization-server")).json()
        listed = {name: url for name, url in body.items() if name.endswith(("_endpoint", "_uri"))}
        for name, url in listed.items():
            path = url.removeprefix(service.settings.public_url)
            method = "POST" if name.endswith("_endpoint") else "GET"
            answer = await service.client.request(method, path)
            # A POST without a body is refused by the endpoint itself, not by the router.
            assert answer.status_code == (415 if method == "POST" else 200), name

    async def test_authlib_finds_it_valid(self, start: Any) -> None:
        service: Running = await start(public_url="https://iam.example")
        body = (await service.get("/.well-known/oauth-authorization-server")).json()
        # Authlib wants an authorization endpoint where any grant but its known ones is listed.
        AuthorizationServerMetadata(body).validate_issuer()
        AuthorizationServerMetadata(body).validate_token_endpoint()
        AuthorizationServerMetadata(body).validate_jwks_uri()
        AuthorizationServerMetadata(body).validate_grant_types_supported()
        AuthorizationServerMetadata(body).validate_token_endpoint_auth_methods_supported()
        AuthorizationServerMetadata(body).validate_revocation_endpoint()
        AuthorizationServerMetadata(body).validate_introspection_endpoint()

    async def test_an_issuer_with_a_path_is_served_in_both_forms(self, start: Any) -> None:
        service: Running = await start(issuer="https://iam.example/eu")
        for path in (
            "/.well-known/oauth-authorization-server/eu",
            "/eu/.well-known/openid-configuration",
        ):
            assert (await service.get(path)).json()["issuer"] == "https://iam.example/eu"

    async def test_the_host_header_changes_nothing(self, service: Running) -> None:
        answer = await service.client.get(
            "/.well-known/openid-configuration",
            headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
        )
        assert "evil" not in answer.text


class TestJwks:
    async def test_200_cacheable(self, service: Running) -> None:
        answer = await service.get("/.well-known/jwks.json")
        assert answer.headers["cache-control"] == "public, max-age=300"
        again = await service.client.get(
            "/.well-known/jwks.json", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert again.status_code == 304

    async def test_no_private_part(self, service: Running) -> None:
        for key in (await service.get("/.well-known/jwks.json")).json()["keys"]:
            assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class TestHealth:
    async def test_200(self, service: Running) -> None:
        assert (await service.get("/health/live")).json() == {"status": "ok"}
        assert (await service.get("/health/ready")).json()["status"] == "ok"

    async def test_the_request_id_of_the_caller_is_kept_if_it_is_one(
        self, service: Running
    ) -> None:
        given = await service.client.get("/health/live", headers={"X-Request-ID": "abc-1"})
        assert given.headers["x-request-id"] == "abc-1"
        proxied = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")]
        given = await service.client.get(
            "/health/live", headers=[*proxied, ("X-Request-ID", "abc-2")]
        )
        assert given.headers["x-request-id"] == "abc-2"
        for bad in ("a b", "x" * 65, "<script>"):
            answer = await service.client.get("/health/live", headers={"X-Request-ID": bad})
            assert answer.headers["x-request-id"] != bad
