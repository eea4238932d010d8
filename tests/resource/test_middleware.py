"""Each outcome of the middleware: status, headers and body; and what gets through, as whom."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from keyturn.resource import Caller, TokenMiddleware, TokenVerifier, Unavailable
from tests.resource.asgi import client_of, websocket
from tests.resource.attacks import token
from tests.resource.world import (
    AUDIENCE,
    ISSUER,
    KEY,
    A,
    B,
    C,
    FakeService,
    Time,
    claims,
    listing,
    signed,
    tenant,
    unlisted,
    verifier_of,
    verifying,
)

METADATA = "https://assets.example/.well-known/oauth-protected-resource/api"
GOOD = [("authorization", f"Bearer {signed()}"), ("x-tenant-id", A)]


async def whoami(request: Request) -> Response:
    caller: Caller | None = request.scope["keyturn.caller"]
    assert request.state.caller is caller
    if caller is None:
        return JSONResponse(None)
    return JSONResponse(
        {
            "user": caller.user_id,
            "key": caller.key_id,
            "session": caller.session_id,
            "tenant": caller.tenant_id,
            "roles": list(caller.roles),
            "permissions": sorted(caller.permissions),
            "endpoint": caller.endpoint.id if caller.endpoint else None,
            "actor": caller.actor.user_id if caller.actor else None,
        }
    )


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(socket.scope["keyturn.caller"].user_id)
    await socket.close()


def app(verifier: TokenVerifier, **settings: Any) -> Starlette:
    made = Starlette(
        routes=[WebSocketRoute("/socket", echo), Route("/{rest:path}", whoami, methods=METHODS)]
    )
    made.add_middleware(TokenMiddleware, verifier=verifier, **settings)
    return made


METHODS = ["GET", "POST", "DELETE"]
Get = Callable[..., Coroutine[Any, Any, httpx.Response]]


@asynccontextmanager
async def served(
    service: FakeService, time: Time, settings: dict[str, Any] | None = None, /, **changes: Any
) -> AsyncIterator[Get]:
    async with verifying(service, time, **changes) as verifier:
        made = app(verifier, **(settings or {}))
        async with client_of(made, lifespan=False) as client:

            async def get(
                path: str = "/assets",
                headers: Any = None,
                method: str = "GET",
            ) -> httpx.Response:
                sent = GOOD if headers is None else headers
                return await client.request(method, path, headers=sent)

            yield get


def bearer(text: str, tenant: str | None = A) -> list[tuple[str, str]]:
    chosen = [] if tenant is None else [("x-tenant-id", tenant)]
    return [("authorization", f"Bearer {text}"), *chosen]


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["type"] == f"urn:keyturn:error:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]


class TestRefusals:
    async def test_401_missing(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            for headers in ([], [("authorization", "Basic dTpw")], [("x-tenant-id", A)]):
                answer = await get(headers=headers)
                assert_problem(answer, 401, "missing_token")
                challenge = answer.headers["www-authenticate"]
                assert challenge == f'Bearer realm="keyturn", resource_metadata="{METADATA}"'

    @pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer x", "bearer a.b.c", "Bearer é"])
    async def test_401_invalid(self, service: FakeService, time: Time, value: str) -> None:
        async with served(service, time) as get:
            headers = [(b"authorization", value.encode("latin-1")), (b"x-tenant-id", A.encode())]
            answer = await get(headers=headers)
            assert_problem(answer, 401, "invalid_token")
            challenge = answer.headers["www-authenticate"]
            assert 'error="invalid_token"' in challenge
            assert f'resource_metadata="{METADATA}"' in challenge

    async def test_401_token_elsewhere(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            answer = await get("/assets?access_token=a.b.c", headers=[("x-tenant-id", A)])
            assert_problem(answer, 401, "missing_token")

    async def test_400_repeated_authorization(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            assert_problem(await get(headers=[GOOD[0], *GOOD]), 400, "invalid_request")

    @pytest.mark.parametrize(
        "values", [[], [A, A], [A, B], ["x"], [f"{A},{B}"], [""], [A[:-1]], [f"{A}0"], [f"{{{A}}}"]]
    )
    async def test_400_tenant_missing_duplicate_or_malformed(
        self, service: FakeService, time: Time, values: list[str]
    ) -> None:
        async with served(service, time) as get:
            tenants = [("x-tenant-id", value) for value in values]
            answer = await get(headers=[GOOD[0], *tenants])
            assert_problem(answer, 400, "invalid_request")
            assert 'error="invalid_request"' in answer.headers["www-authenticate"]

    async def test_401_comes_before_400(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            assert_problem(await get(headers=bearer("x", None)), 401, "invalid_token")

    async def test_403_other_tenant_the_same_whether_it_exists(
        self, service: FakeService, time: Time
    ) -> None:
        async with served(service, time) as get:
            for text in (signed(), token(KEY, listing({A: ["reader"]}))):
                one, other = await get(headers=bearer(text, B)), await get(headers=bearer(text, C))
                assert_problem(one, 403, "access_denied")
                assert one.content == other.content
                assert one.headers == other.headers

    async def test_503_with_retry_after(self, service: FakeService, time: Time) -> None:
        async with served(service, time, revocation="feed") as get:
            service.down = True
            time.advance(60)
            answer = await get()
            assert_problem(answer, 503, "temporarily_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "www-authenticate" not in answer.headers


class TestWhoGetsThrough:
    async def test_200_chosen_tenant(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            act = {"sub": "helper", "client_id": "k2", "epoch": 1, "act": None}
            del act["act"]
            text = signed(act=act)
            answer = await get(headers=[("authorization", f"bearer  {text}"), GOOD[1]])
            assert answer.json() == {
                "user": "user-1",
                "key": "key-1",
                "session": "sid-1",
                "tenant": A,
                "roles": ["reader"],
                "permissions": ["assets:read"],
                "endpoint": None,
                "actor": "helper",
            }

    async def test_200_listed_tenants_get_what_their_roles_permit(
        self, service: FakeService, time: Time
    ) -> None:
        text = token(
            KEY, listing({A: ["reader"], B: ["writer", "gone"], C: []}, scope="extra:read")
        )
        async with served(service, time) as get:
            permissions = {
                tenant: (await get(headers=bearer(text, tenant))).json()["permissions"]
                for tenant in (A, B, C)
            }
            assert permissions == {
                A: ["assets:read", "extra:read"],
                B: ["assets:read", "assets:write", "extra:read"],
                C: ["extra:read"],
            }

    async def test_200_without_credentials_roles_permit_nothing(
        self, service: FakeService, time: Time
    ) -> None:
        async with served(service, time, auth=None) as get:
            answer = await get(headers=bearer(token(KEY, listing({A: ["reader"]}, scope="x:y"))))
            assert answer.json()["permissions"] == ["x:y"]
            assert service.count("/policy") == 0

    async def test_200_public_and_optional(self, service: FakeService, time: Time) -> None:
        settings = {"public": ["/health", "/docs/*"], "optional": False}
        async with served(service, time, settings) as get:
            for path in ("/health", "/docs/a/b"):
                assert (await get(path, headers=[])).json() is None
            for path in ("/healthy", "/health/x", "/docs", "/docs//x", "/docs/%2e%2e/x", "/x"):
                assert (await get(path, headers=[])).status_code == 401
        async with served(service, time, {"optional": True}) as get:
            assert (await get(headers=[])).json() is None
            assert (await get(headers=bearer("x"))).status_code == 401
            assert (await get()).json()["user"] == "user-1"

    async def test_200_without_a_tenant_where_none_is_required(
        self, service: FakeService, time: Time
    ) -> None:
        async with served(service, time, {"tenant_required": False}) as get:
            body = (await get(headers=bearer(signed(), None))).json()
            assert (body["tenant"], body["roles"]) == (None, [])
            assert (await get(headers=bearer(signed(), B))).status_code == 403


def verified(request: httpx.Request) -> dict[str, Any] | httpx.Response:
    """Of whom the service knows a role in A alone; POST is not on the list that it knows."""
    if request.headers["x-tenant-id"] != A:
        return httpx.Response(403)
    asked = request.headers.get("x-original-method")
    if asked == "POST":
        return httpx.Response(403)
    return {
        "jti": "jti-1",
        "tenant_id": A,
        "roles": ["writer"],
        "permissions": ["assets:read", "assets:write"],
        "endpoint": {"id": "e-list"} if asked else None,
    }


class TestUnlisted:
    async def test_the_service_is_asked_once_a_tenant(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/verify"] = verified
        text = token(KEY, unlisted())
        async with served(service, time) as get:
            for _ in range(3):
                body = (await get(headers=bearer(text))).json()
                assert (body["roles"], body["permissions"][1]) == (["writer"], "assets:write")
                assert (await get(headers=bearer(text, B))).status_code == 403
            assert service.count("/verify") == 2
            asked = service.last("/verify")
            assert asked.headers["authorization"] == f"Bearer {text}"
            assert asked.url.params["audience"] == AUDIENCE

    async def test_503_after_a_few_tenants_that_were_made_up(
        self, service: FakeService, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        service.answers["/verify"] = verified
        text = token(KEY, unlisted())
        async with served(service, time) as get:
            assert (await get(headers=bearer(text))).status_code == 200
            caplog.set_level("INFO", "keyturn.resource")
            many = [await get(headers=bearer(text, tenant(n))) for n in range(100, 200)]
            assert [answer.status_code for answer in many] == [403] * 4 + [503] * 96
            assert "refused in too many places" in caplog.text
            assert service.count("/verify") == 5
            # What is known is known, others are asked for, and a second later so is this one.
            assert (await get(headers=bearer(text))).status_code == 200
            other = token(KEY, unlisted(sid="sid-2"))
            assert (await get(headers=bearer(other))).status_code == 200
            time.advance(1)
            assert (await get(headers=bearer(text, tenant(300)))).status_code == 403

    async def test_one_token_has_few_questions_under_way(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/verify"] = verified
        text, other = token(KEY, unlisted()), token(KEY, unlisted(jti="jti-2"))
        async with verifying(service, time) as verifier:
            going_on, real = asyncio.Event(), verifier._service.fetch

            async def slow(method: str, url: str, **given: Any) -> Any:
                if text in str(given):
                    await going_on.wait()
                return await real(method, url, **given)

            verifier._service.fetch = slow  # type: ignore[method-assign]
            asking = [asyncio.create_task(verifier.caller(text, tenant(n))) for n in range(64)]
            refused, _ = await asyncio.wait(asking, timeout=5, return_when="FIRST_COMPLETED")
            assert {type(task.exception()) for task in refused} == {Unavailable}
            service.answers["/verify"] = lambda request: {**verified(request), "jti": "jti-2"}  # type: ignore[dict-item]
            assert (await verifier.caller(other, A)).tenant_id == A
            going_on.set()
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) >= 60

    async def test_401_when_the_service_says_so(self, service: FakeService, time: Time) -> None:
        service.answers["/verify"] = lambda request: httpx.Response(401)
        async with served(service, time) as get:
            answer = await get(headers=bearer(token(KEY, unlisted())))
            assert_problem(answer, 401, "invalid_token")

    @pytest.mark.parametrize(
        "changes", [{"jti": "other"}, {"tenant_id": B}, {"roles": None}, {"permissions": "x"}]
    )
    async def test_503_when_it_answers_about_something_else(
        self, service: FakeService, time: Time, changes: dict[str, Any]
    ) -> None:
        def odd(request: httpx.Request) -> dict[str, Any]:
            given = verified(request)
            assert isinstance(given, dict)
            return {**given, **changes}

        service.answers["/verify"] = odd
        async with served(service, time) as get:
            answer = await get(headers=bearer(token(KEY, unlisted())))
            assert_problem(answer, 503, "temporarily_unavailable")


class TestCatalogue:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/assets", 200),
            ("HEAD", "/assets/7", 200),
            ("GET", "/assets/a%20b", 200),
            ("GET", "/assets/", 200),
            ("POST", "/assets", 403),
            ("DELETE", "/assets", 403),
            ("GET", "/news", 200),
            ("GET", "/secret", 403),
            ("GET", "/unknown", 403),
            ("GET", "/assets/a%2Fb", 403),
            ("GET", "//assets", 403),
        ],
    )
    async def test_role_opens_endpoint(
        self, service: FakeService, time: Time, method: str, path: str, status: int
    ) -> None:
        async with served(service, time, service="assets") as get:
            answer = await get(path, method=method)
            assert answer.status_code == status
            if status == 200 and method == "GET":
                assert answer.json()["endpoint"] in {"e-list", "e-one", "e-all"}
            if method == "POST":
                assert 'scope="assets:write"' in answer.headers["www-authenticate"]

    async def test_a_list_narrows(self, service: FakeService, time: Time) -> None:
        text = signed(scope="assets:read assets:write", endpoints=["e-new"])
        async with served(service, time, service="assets") as get:
            assert (await get(headers=bearer(text), method="POST")).status_code == 200
            assert_problem(await get(headers=bearer(text)), 403, "insufficient_scope")

    async def test_a_list_that_only_the_service_knows(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/verify"] = verified
        text = signed(scope="assets:read assets:write", _claim_names={"endpoints": "me"})
        async with served(service, time, service="assets") as get:
            for _ in range(3):
                assert (await get(headers=bearer(text))).status_code == 200
                assert (await get(headers=bearer(text), method="POST")).status_code == 403
            assert service.count("/verify") == 2
            assert service.last("/verify").headers["x-original-uri"] == "/assets"
            assert service.last("/verify").url.params["service"] == "assets"

    async def test_an_answer_about_another_endpoint_opens_nothing(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/verify"] = verified
        text = signed(_claim_names={"endpoints": "me"})
        async with served(service, time, service="assets") as get:
            assert (await get("/assets/7", headers=bearer(text))).status_code == 403

    @pytest.mark.parametrize(
        "changes", [{"endpoints": ["e-list"]}, {"_claim_names": {"endpoints": "me"}}]
    )
    async def test_without_a_catalogue_a_list_opens_nothing_but_what_is_marked(
        self, service: FakeService, time: Time, changes: dict[str, Any]
    ) -> None:
        text = signed(**changes)
        async with served(service, time, {"uncatalogued": ["/free"]}) as get:
            assert_problem(await get(headers=bearer(text)), 403, "insufficient_scope")
            assert (await get("/free", headers=bearer(text))).status_code == 200

    async def test_shadow_lets_through_and_tells(self, service: FakeService, time: Time) -> None:
        told: list[tuple[str, str, str]] = []
        async with served(
            service,
            time,
            service="assets",
            shadow=True,
            on_shadow=lambda caller, error, call: told.append((caller.user_id, error.code, call)),
        ) as get:
            assert (await get("/unknown")).status_code == 200
            assert (await get("/assets")).status_code == 200
            assert [(who, code) for who, code, _ in told] == [("user-1", "insufficient_scope")]
            assert told[0][2].startswith("GET /")
            # Who may not come in at all, or has a list, is refused all the same.
            assert (await get(headers=bearer("x"))).status_code == 401
            narrowed = bearer(signed(endpoints=["e-list"]))
            assert (await get("/unknown", headers=narrowed)).status_code == 403

    async def test_503_while_the_catalogue_cannot_be_had(
        self, service: FakeService, time: Time
    ) -> None:
        service.answers["/policy"] = lambda request: httpx.Response(500)
        async with served(service, time, service="assets") as get:
            assert_problem(await get(), 503, "temporarily_unavailable")


class TestProtectedResourceMetadata:
    async def test_200_at_both_places(self, service: FakeService, time: Time) -> None:
        async with served(service, time) as get:
            root = "/.well-known/oauth-protected-resource"
            for path in (root, f"{root}/api"):
                answer = await get(path, headers=[])
                assert answer.json() == {
                    "resource": AUDIENCE,
                    "authorization_servers": [ISSUER],
                    "bearer_methods_supported": ["header"],
                }
            assert (await get(f"{root}/other", headers=[])).status_code == 401
            assert (await get(root, headers=[], method="POST")).status_code == 401

    def test_none_without_an_identifier(self, service: FakeService, time: Time) -> None:
        verifier = TokenVerifier(ISSUER, "assets", revocation=None)
        middleware = TokenMiddleware(app(verifier), verifier)
        assert middleware._gate.resource_metadata is None


class TestWebsockets:
    async def test_go_the_same_way(self, service: FakeService, time: Time) -> None:
        made = app(verifier_of(service, time))
        sent = await websocket(made, "/socket", dict(GOOD))
        assert [message["type"] for message in sent] == [
            "websocket.accept",
            "websocket.send",
            "websocket.close",
        ]
        assert sent[1]["text"] == "user-1"

    async def test_refused_ones_get_the_answer(self, service: FakeService, time: Time) -> None:
        made = app(verifier_of(service, time))
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        start, body = await websocket(made, "/socket", {}, extensions=extensions)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert b"urn:keyturn:error:missing_token" in body["body"]

    async def test_refused_ones_are_closed_where_there_is_no_answer(
        self, service: FakeService, time: Time
    ) -> None:
        made = app(verifier_of(service, time))
        sent = await websocket(made, "/socket", {"authorization": "Bearer x", "x-tenant-id": A})
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


class TestLifespan:
    async def test_starts_and_stops_the_verifier(self, service: FakeService, time: Time) -> None:
        verifier = verifier_of(service, time, revocation="feed")
        async with client_of(app(verifier)) as client:
            assert verifier.started
            assert (await client.get("/assets", headers=GOOD)).status_code == 200
        assert not verifier.started

    async def test_starts_with_the_first_calls_without_one(
        self, service: FakeService, time: Time
    ) -> None:
        verifier = verifier_of(service, time, revocation="feed")
        async with client_of(app(verifier), lifespan=False) as client:
            answers = await asyncio.gather(*(client.get("/assets", headers=GOOD) for _ in range(5)))
            assert {answer.status_code for answer in answers} == {200}
        await verifier.close()


class TestSecrets:
    async def test_no_token_in_logs_or_errors(
        self, service: FakeService, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        text = token(KEY, claims(aud="other"))
        async with served(service, time) as get:
            await get(headers=bearer(text))
        assert "for another audience" in caplog.text
        assert text.split(".")[1][:30] not in caplog.text
