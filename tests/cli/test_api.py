"""What a command does when a service refuses, is slow, or breaks off."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import respx

from tests.cli.conftest import Done, Run
from tests.cli.test_commands import one_line

BASE = "http://keyturn.localhost/iam"
TENANT = "01989e6c-0000-7000-8000-000000000001"
TOKEN = {"access_token": "first", "expires_in": 300}


@pytest.fixture
def service() -> Iterator[respx.MockRouter]:
    """A service that gives out tokens; each test says what it does with them."""
    with respx.mock(base_url=BASE, assert_all_called=False) as router:
        router.post("/auth/token", name="exchange").respond(json=TOKEN)
        yield router


@pytest.fixture
def call(run: Run) -> Run:
    def command(*arguments: str, **more: str) -> Done:
        who = {"url": BASE, "username": "ada", "api_key": "kt_x", "tenant": TENANT}
        return run(*arguments, **{**who, **more})

    return command


def problem(status: int, detail: str, *faults: tuple[str, str]) -> httpx.Response:
    errors = [{"field": field, "detail": text} for field, text in faults]
    body = {"status": status, "detail": detail, **({"errors": errors} if errors else {})}
    return httpx.Response(status, json=body)


def no_role() -> httpx.Response:
    told = {"type": "urn:keyturn:error:access_denied", "detail": "You have no role in this tenant."}
    return httpx.Response(403, json=told)


class TestRefusals:
    def test_1_names_the_fields(self, service: respx.MockRouter, call: Run) -> None:
        faults = (("name", "is too long"), ("permissions.0", "must be a permission"))
        text = "The request is malformed: see errors."
        service.post("/roles").mock(return_value=problem(400, text, *faults))
        done = call("role", "create", "x", "--permission", "y")
        assert (done.returncode, done.stdout) == (1, "")
        assert one_line(done.stderr) == (
            "keyturn: The request is malformed: name: is too long;"
            " permissions.0: must be a permission"
        )

    def test_1_says_one_thing_once(self, service: respx.MockRouter, call: Run) -> None:
        taken = problem(409, "It is taken.", ("name", "It is taken."))
        service.post("/tenants").mock(return_value=taken)
        assert one_line(call("tenant", "create", "x").stderr) == "keyturn: name: It is taken."

    def test_1_not_a_keyturn(self, service: respx.MockRouter, call: Run) -> None:
        service.get("/roles").respond(404, html="<h1>Not here</h1>")
        done = call("role", "list")
        assert done.returncode == 1
        assert "look at --url" in one_line(done.stderr)

    def test_1_tokens_that_are_none(self, service: respx.MockRouter, call: Run) -> None:
        service["exchange"].respond(json={"hello": "world"})
        done = call("token")
        assert done.returncode == 1
        assert "not a token service" in one_line(done.stderr)

    @pytest.mark.parametrize("status", [429, 503])
    def test_3_says_when_to_retry(self, service: respx.MockRouter, call: Run, status: int) -> None:
        later = problem(status, "The service cannot answer now. Try again.")
        later.headers["retry-after"] = "7"
        service.get("/roles").mock(return_value=later)
        done = call("role", "list")
        assert done.returncode == 3
        assert "Retry after 7 s." in one_line(done.stderr)

    def test_3_too_slow(self, service: respx.MockRouter, call: Run) -> None:
        route = service.get("/roles").mock(side_effect=httpx.ReadTimeout("slow"))
        done = call("role", "list")
        assert done.returncode == 3
        assert "10 s" in one_line(done.stderr)
        assert route.call_count == 1


class TestFreshToken:
    def test_0_after_one_401(self, service: respx.MockRouter, call: Run) -> None:
        tokens = [httpx.Response(200, json={**TOKEN, "access_token": t}) for t in ("old", "new")]
        service["exchange"].mock(side_effect=tokens)
        page = httpx.Response(200, json={"items": [], "next_cursor": None})
        route = service.get("/roles").mock(side_effect=[problem(401, "Revoked."), page])
        assert call("role", "list", "--json").returncode == 0
        assert [c.request.headers["authorization"] for c in route.calls] == [
            "Bearer old",
            "Bearer new",
        ]

    def test_1_after_two(self, service: respx.MockRouter, call: Run) -> None:
        route = service.get("/roles").mock(return_value=problem(401, "Revoked."))
        done = call("role", "list")
        assert done.returncode == 1
        assert one_line(done.stderr) == "keyturn: Revoked."
        assert route.call_count == 2

    def test_0_also_for_an_export(self, service: respx.MockRouter, call: Run) -> None:
        lines = httpx.Response(200, text='{"id": 1}\n')
        service.get("/audit-events/export").mock(side_effect=[problem(401, "Revoked."), lines])
        assert call("audit", "export").stdout == '{"id": 1}\n'


NEW = "01989e6c-0000-7000-8000-000000000002"


def roles(*tenants: tuple[str, str]) -> httpx.Response:
    held = [{"tenant_id": id_, "tenant_name": name, "role_name": "r"} for id_, name in tenants]
    return httpx.Response(200, json={"sub": "1", "username": "ada", "roles": held})


class TestKeptToken:
    """A token of an earlier command knows nothing of a tenant made since."""

    @pytest.fixture
    def kept(self, service: respx.MockRouter, run: Run, tmp_path: Path) -> Run:
        """Runs commands by a profile, whose token was kept before `new` was made."""

        def tokens(request: httpx.Request) -> httpx.Response:
            number = service["exchange"].call_count
            return httpx.Response(200, json={**TOKEN, "access_token": f"token-{number}"})

        def me(request: httpx.Request) -> httpx.Response:
            old = request.headers["authorization"] == "Bearer token-0"
            return roles((TENANT, "acme"), *([] if old else [(NEW, "new")]))

        service["exchange"].mock(side_effect=tokens)
        service.get("/users/me").mock(side_effect=me)
        (tmp_path / "config" / "keyturn").mkdir(parents=True)
        login = run("login", "--url", BASE, "--username", "ada", api_key="kt_x")
        assert login.returncode == 0, login.stderr
        return run

    def test_0_one_new_exchange_finds_the_name(self, service: respx.MockRouter, kept: Run) -> None:
        page: dict[str, object] = {"items": [], "next_cursor": None}
        route = service.get("/roles", headers={"x-tenant-id": NEW}).respond(json=page)
        assert kept("role", "list", "--tenant", "new").returncode == 0
        assert route.calls.last.request.headers["authorization"] == "Bearer token-1"
        assert kept("role", "list", "--tenant", "new").returncode == 0
        assert service["exchange"].call_count == 2

    def test_0_of_a_tenant_that_is_known_none(self, service: respx.MockRouter, kept: Run) -> None:
        service.get("/roles").respond(json={"items": [], "next_cursor": None})
        assert kept("role", "list", "--tenant", "acme").returncode == 0
        assert service["exchange"].call_count == 1

    def test_1_one_and_no_more(self, service: respx.MockRouter, kept: Run) -> None:
        done = kept("role", "list", "--tenant", "initech")
        assert "'initech'" in one_line(done.stderr)
        assert service["exchange"].call_count == 2

    def test_1_none_for_its_own_token(self, service: respx.MockRouter, call: Run) -> None:
        service.get("/users/me").mock(return_value=roles((TENANT, "acme")))
        assert call("role", "list", "--tenant", "new").returncode == 1
        assert service["exchange"].call_count == 1

    @pytest.mark.parametrize(
        ("path", "command"),
        [("/roles", ("role", "list")), ("/audit-events/export", ("audit", "export"))],
    )
    def test_0_after_one_403(
        self, service: respx.MockRouter, kept: Run, path: str, command: tuple[str, str]
    ) -> None:
        page = httpx.Response(200, json={"items": [], "next_cursor": None})
        route = service.get(path).mock(side_effect=[no_role(), page])
        assert kept(*command, "--tenant", NEW).returncode == 0
        assert [c.request.headers["authorization"] for c in route.calls] == [
            "Bearer token-0",
            "Bearer token-1",
        ]

    def test_1_after_two(self, service: respx.MockRouter, kept: Run) -> None:
        route = service.get("/roles").mock(return_value=no_role())
        done = kept("role", "list", "--tenant", NEW)
        assert one_line(done.stderr) == "keyturn: You have no role in this tenant."
        assert route.call_count == 2

    def test_1_after_one_403_with_its_own_token(self, service: respx.MockRouter, call: Run) -> None:
        route = service.get("/roles").mock(return_value=no_role())
        assert call("role", "list").returncode == 1
        assert route.call_count == 1

    def test_1_of_another_kind(self, service: respx.MockRouter, kept: Run) -> None:
        lacking = {"type": "urn:keyturn:error:insufficient_scope", "detail": "Not this."}
        route = service.get("/roles").respond(403, json=lacking)
        assert kept("role", "list", "--tenant", NEW).returncode == 1
        assert route.call_count == 1

    def test_0_is_dropped_by_making_a_tenant(
        self, service: respx.MockRouter, kept: Run, tmp_path: Path
    ) -> None:
        service.post("/tenants").respond(201, json={"id": NEW, "name": "new"})
        assert kept("tenant", "create", "new", "--tenant", TENANT).returncode == 0
        assert not list((tmp_path / "config").rglob("token-*"))
        assert list((tmp_path / "config").rglob("profiles.toml"))


class TestBrokenConnections:
    def test_0_a_creation_is_sent_again_with_its_key(
        self, service: respx.MockRouter, call: Run
    ) -> None:
        made = httpx.Response(201, json={"id": "7", "name": "x"})
        route = service.post("/tenants").mock(side_effect=[httpx.ReadError("broken"), made])
        assert call("tenant", "create", "x", "--quiet").stdout == "7\n"
        first, second = [c.request.headers["idempotency-key"] for c in route.calls]
        assert first == second

    def test_each_creation_has_a_key_of_its_own(self, service: respx.MockRouter, call: Run) -> None:
        route = service.post("/tenants").respond(201, json={"id": "7"})
        for _ in range(2):
            call("tenant", "create", "x")
        assert len({c.request.headers["idempotency-key"] for c in route.calls}) == 2

    def test_3_what_may_have_happened_is_not_repeated(
        self, service: respx.MockRouter, call: Run
    ) -> None:
        route = service.post("/api-keys/" + "a" * 22 + "/rotate")
        route.mock(side_effect=httpx.ReadError("broken"))
        done = call("api-key", "rotate", "a" * 22)
        assert done.returncode == 3
        assert "may have done" in one_line(done.stderr)
        assert route.call_count == 1

    def test_3_an_export_that_ends_too_soon(self, service: respx.MockRouter, call: Run) -> None:
        def parts() -> Iterator[bytes]:
            yield b'{"id": 1}\n'
            raise httpx.RemoteProtocolError("incomplete")

        service.get("/audit-events/export").respond(200, content=parts())
        done = call("audit", "export")
        assert done.returncode == 3
        assert done.stdout == '{"id": 1}\n'


class TestPages:
    def test_0_all_of_them(self, service: respx.MockRouter, call: Run) -> None:
        pages = [
            {"items": [{"id": n} for n in range(200)], "next_cursor": "c"},
            {"items": [{"id": 200}], "next_cursor": None},
        ]
        route = service.get("/roles").mock(
            side_effect=[httpx.Response(200, json=page) for page in pages]
        )
        done = call("role", "list", "--json")
        assert [item["id"] for item in json.loads(done.stdout)] == list(range(201))
        assert [dict(c.request.url.params) for c in route.calls] == [
            {"limit": "200"},
            {"limit": "200", "cursor": "c"},
        ]
        assert done.stderr == ""

    def test_0_no_more_than_wanted(self, service: respx.MockRouter, call: Run) -> None:
        page = {"items": [{"id": 1}, {"id": 2}], "next_cursor": "c"}
        service.get("/roles", params={"limit": "2"}).respond(json=page)
        done = call("role", "list", "--limit", "2", "--json")
        assert len(json.loads(done.stdout)) == 2
        assert "--limit" in one_line(done.stderr)

    def test_0_none(self, service: respx.MockRouter, call: Run) -> None:
        service.get("/roles").respond(json={"items": [], "next_cursor": None})
        assert call("role", "list").stdout == ""
        assert call("role", "list", "--json").stdout == "[]\n"

    def test_no_control_characters_reach_a_terminal(
        self, service: respx.MockRouter, call: Run
    ) -> None:
        page = {"items": [{"id": 1, "name": "x\x1b[2J\ny"}], "next_cursor": None}
        service.get("/roles").respond(json=page)
        assert "\x1b" not in call("role", "list").stdout
