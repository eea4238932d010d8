"""The commands of management against a running service, each noun through its life."""

import json
import re
import sys
from typing import Any

import pytest

from tests.cli.conftest import Run, Running
from tests.cli.test_commands import one_line

OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Fleet", "version": "1"},
    "paths": {
        "/hosts/{host_id}/report": {
            "get": {
                "summary": "Read a report",
                "x-permissions": ["assets:manage"],
                "responses": {"200": {"description": "It."}},
            },
            "post": {
                "summary": "Write a report",
                "x-permissions": ["assets:manage"],
                "responses": {"200": {"description": "Done."}},
            },
        }
    },
}


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """What tests of this file made, where a later one needs it to be there once."""
    return set()


@pytest.fixture
def catalogue(admin: Run, seen: set[str], tmp_path: Any) -> None:
    """The catalogue of acme has two endpoints."""
    if "fleet" not in seen:
        (tmp_path / "fleet.json").write_text(json.dumps(OPENAPI))
        done = admin("endpoint", "import", "fleet.json", "--service", "fleet")
        assert done.returncode == 0, done.stderr
        seen.add("fleet")


def table(text: str) -> list[list[str]]:
    """The cells of a table: two spaces are between them."""
    return [re.split(r" {2,}", line) for line in text.splitlines()]


class TestTenant:
    def test_0_from_made_to_deleted(self, admin: Run, answer: Any) -> None:
        made = answer("tenant", "create", "staging")
        assert admin("tenant", "rename", "staging", "testing").returncode == 0
        assert [t["name"] for t in answer("tenant", "list", "--name", "test")] == ["testing"]
        assert answer("tenant", "show", "testing")["id"] == made["id"]
        assert answer("tenant", "suspend", "testing", "--yes")["suspended_at"]
        assert answer("tenant", "resume", made["id"])["suspended_at"] is None
        done = admin("tenant", "delete", "testing", "--yes")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert admin("tenant", "show", "testing").returncode == 1

    def test_0_the_chosen_one(self, answer: Any, served: Running) -> None:
        assert answer("tenant", "show")["name"] == "acme"
        assert answer("tenant", "show", "acme")["name"] == "acme"
        assert answer("tenant", "show", "--tenant", "globex")["name"] == "globex"
        names = {t["name"] for t in answer("tenant", "list", "--tenant", "platform")}
        assert names >= {"acme", "globex"}

    def test_0_policy_keeps_what_is_not_said(self, admin: Run, answer: Any) -> None:
        answer("tenant", "create", "strict")
        edit = ("tenant", "policy", "strict")
        answer(*edit, "--max-api-key-lifetime", "90d", "--single-token", "on")
        answer(*edit, "--max-api-keys", "0", "--offboarding", "disable")
        own = answer(*edit, "--max-api-key-lifetime", "none")["policy"]
        assert {name: value for name, value in own.items() if value is not None} == {
            "single_token": True,
            "max_api_keys": 0,
            "offboarding": "disable",
        }
        assert table(admin(*edit).stdout)[1] == ["single_token", "yes", "yes"]

    def test_0_policy_of_the_chosen_one_in_durations(self, admin: Run, answer: Any) -> None:
        answer("tenant", "create", "short-lived")
        policy = ("tenant", "policy", "--tenant", "short-lived")
        own = answer(*policy, "--max-api-key-lifetime", "30d", "--api-key-idle-timeout", "36h")
        assert own["policy"]["max_api_key_lifetime"] == 30 * 86_400
        shown = table(admin(*policy).stdout)
        assert ["max_api_key_lifetime", "30d", "30d"] in shown
        assert ["api_key_idle_timeout", "36h", "36h"] in shown

    @pytest.mark.parametrize("command", ["suspend", "resume"])
    def test_help_says_from_where(self, run: Run, command: str) -> None:
        assert "--tenant PARENT" in " ".join(run("tenant", command, "--help").stdout.split())

    @pytest.mark.parametrize("value", ["90", "soon", "-1d", "1.5d", "٣d"])
    def test_2_no_duration(self, admin: Run, value: str) -> None:
        done = admin("tenant", "policy", "acme", f"--max-api-key-lifetime={value}")
        assert done.returncode == 2
        assert "90d" in one_line(done.stderr)

    def test_1_duplicate_name(self, admin: Run) -> None:
        done = admin("tenant", "create", "acme", tenant="platform")
        assert done.returncode == 1
        assert one_line(done.stderr).startswith("keyturn: name: ")


class TestChoosingATenant:
    def test_1_unknown_name(self, admin: Run) -> None:
        done = admin("role", "list", "--tenant", "initech")
        assert done.returncode == 1
        assert "'initech'" in one_line(done.stderr)

    def test_2_one_of_several(self, admin: Run) -> None:
        done = admin("role", "list", tenant="")
        assert done.returncode == 2
        assert "acme, globex, platform" in one_line(done.stderr)


class TestRole:
    def test_0_from_made_to_deleted(self, admin: Run, answer: Any) -> None:
        create = ("role", "create", "deployer", "--permission", "assets:manage")
        role_id = admin(*create, "--quiet").stdout.strip()
        edited = answer("role", "edit", "deployer", "--add", "data:manage", "--name", "releaser")
        assert edited["id"] == role_id
        assert edited["permissions"] == ["assets:manage", "data:manage"]
        edited = answer("role", "edit", role_id, "--remove", "assets:manage")
        assert edited["permissions"] == ["data:manage"]
        assert answer("role", "show", "releaser") == edited
        assert "releaser" in admin("role", "list").stdout
        assert admin("role", "delete", "releaser", "--force", "--yes").returncode == 0
        assert admin("role", "show", role_id).returncode == 1

    def test_1_unknown_permission_is_named(self, admin: Run) -> None:
        done = admin("role", "create", "x", "--permission", "no:such")
        assert done.returncode == 1
        assert "permissions.0: " in one_line(done.stderr)

    def test_1_nothing_to_remove(self, admin: Run, answer: Any) -> None:
        answer("role", "create", "small", "--permission", "assets:manage")
        done = admin("role", "edit", "small", "--remove", "data:manage")
        assert done.returncode == 1

    @pytest.mark.parametrize(
        "more", [[], ["--add", "a:b", "--permission", "c:d"]], ids=["nothing", "both"]
    )
    def test_2_contradictions(self, admin: Run, more: list[str]) -> None:
        assert admin("role", "edit", "operator", *more).returncode == 2

    def test_0_permissions(self, admin: Run, answer: Any) -> None:
        known = answer("permission", "register", "logs:read", "--description", "Read logs")
        assert known in answer("permission", "list")
        assert admin("permission", "delete", "logs:read", "--yes").returncode == 0
        assert known not in answer("permission", "list")


class TestServiceUser:
    def test_0_from_made_to_deleted(self, admin: Run, answer: Any) -> None:
        made = answer("service-user", "create", "ci", "--role", "operator")
        assert [role["role_name"] for role in made["roles"]] == ["operator"]
        answer("service-user", "edit", "ci", "--description", "Deploys", "--single-token", "on")
        shown = answer("service-user", "show", made["email"])
        assert (shown["description"], shown["single_token"]) == ("Deploys", True)
        shown = answer("service-user", "edit", "ci", "--single-token", "none")
        assert shown["single_token"] is None
        assert answer("service-user", "disable", "ci")["disabled_at"]
        assert answer("service-user", "enable", "ci")["disabled_at"] is None
        assert admin("service-user", "delete", "ci", "--yes").returncode == 0
        assert "ci" not in [user["name"] for user in answer("service-user", "list")]

    def test_0_f1_user_and_key_in_one_call(self, admin: Run, run: Run, who: dict[str, str]) -> None:
        create = ("service-user", "create", "one-call", "--role", "operator", "--key", "first")
        done = admin(*create, "--expires-in", "90d", "--quiet")
        assert done.returncode == 0, done.stderr
        assert "not shown again" in done.stderr
        email = "one-call@acme.service.keyturn.internal"
        key = done.stdout.strip()
        assert run("token", **{**who, "username": email, "api_key": key}).returncode == 0

    def test_0_f1_roles_in_several_tenants(self, answer: Any) -> None:
        roles = ("--in", "acme=viewer", "--in", "globex=operator")
        made = answer("service-user", "create", "sync", *roles, "--tenant", "platform")
        assert sorted(role["role_name"] for role in made["roles"]) == ["operator", "viewer"]

    def test_1_f1_never_both(self, admin: Run) -> None:
        both = ("--role", "operator", "--in", "acme=viewer")
        assert admin("service-user", "create", "both", *both).returncode == 1

    @pytest.mark.parametrize("more", [["--in", "acme"], ["--role", "viewer", "--idle", "3d"]])
    def test_2(self, admin: Run, more: list[str]) -> None:
        assert admin("service-user", "create", "x", *more).returncode == 2

    def test_0_w4_accepts_an_invitation_elsewhere(self, admin: Run, answer: Any) -> None:
        user = answer("service-user", "create", "guest", "--role", "viewer")
        invite = ("invitation", "create", user["email"], "--role", "operator")
        offered = answer(*invite, "--tenant", "globex")
        [pending] = answer("service-user", "invitations", "guest")
        assert pending["id"] == offered["id"]
        assert answer("service-user", "accept", "guest", pending["id"])["state"] == "accepted"
        again = admin("service-user", "decline", "guest", pending["id"])
        assert again.returncode == 1


class TestMember:
    def test_0_gets_and_loses_roles(self, admin: Run, answer: Any) -> None:
        answer("service-user", "create", "helper", "--role", "viewer")
        member = answer("member", "add", "helper", "--role", "operator")
        assert sorted(r["role_name"] for r in member["roles"]) == ["operator", "viewer"]
        assert admin("member", "remove", "helper", "--role", "viewer", "--yes").returncode == 0
        [role] = answer("member", "show", "helper")["roles"]
        assert role["role_name"] == "operator"
        assert "helper" in admin("member", "list").stdout
        assert admin("member", "remove", "helper", "--yes").returncode == 0
        assert admin("member", "show", "helper").returncode == 1

    def test_1_others_are_invited(self, admin: Run) -> None:
        done = admin("member", "add", "bob@example.org", "--role", "viewer")
        assert done.returncode == 1
        line = one_line(done.stderr)
        assert "'bob@example.org'" in line
        assert "keyturn invitation create" in line


class TestInvitation:
    def test_0_withdrawn(self, admin: Run, answer: Any) -> None:
        done = admin("invitation", "create", "eve@example.org", "--role", "viewer")
        assert done.returncode == 0
        assert "not shown again" in one_line("keyturn: " + done.stderr)
        [pending] = answer("invitation", "list", "--state", "pending")
        assert answer("invitation", "show", pending["id"])["email"] == "eve@example.org"
        assert admin("invitation", "withdraw", pending["id"], "--yes").returncode == 0
        assert answer("invitation", "list", "--state", "pending") == []

    def test_1_a_second_one_says_how_to_get_a_code(self, admin: Run, answer: Any) -> None:
        invite = ("invitation", "create", "Twice@example.org", "--role", "viewer")
        pending = answer(*invite)
        done = admin(*invite)
        assert done.returncode == 1
        assert f"keyturn invitation withdraw {pending['id']}" in one_line(done.stderr)
        assert admin("invitation", "withdraw", pending["id"], "--yes").returncode == 0
        again = answer(*invite)
        assert admin("invitation", "withdraw", again["id"], "--yes").returncode == 0

    def test_1_who_has_the_role_is_not_to_withdraw(self, admin: Run, answer: Any) -> None:
        user = answer("service-user", "create", "has-it", "--role", "viewer")
        done = admin("invitation", "create", user["email"], "--role", "viewer")
        assert done.returncode == 1
        assert "withdraw" not in one_line(done.stderr)

    def test_0_a_person_joins_by_code(
        self, admin: Run, run: Run, answer: Any, who: dict[str, str]
    ) -> None:
        invite = ("invitation", "create", "ada@example.org", "--role", "viewer")
        code = admin(*invite, "--expires-in", "2d", "--quiet").stdout.strip()
        join = ("invitation", "join", "--url", who["url"], "--stdin", "--name", "Ada")
        secret = "correct horse battery"
        done = run(*join, "--key", "laptop", "--json", stdin=f"{code}\n{secret}\n")
        assert done.returncode == 0, done.stderr
        assert "not shown again" in done.stderr
        key = json.loads(done.stdout)["api_key"]["secret"]
        ada = {**who, "username": "ada@example.org", "api_key": key}
        # ... changes her password, is invited elsewhere, declines, accepts, and leaves.
        change = run("password", "--stdin", stdin=f"{secret}\n{secret}!\n", **ada)
        assert (change.returncode, change.stderr) == (0, "")
        for verb in ("decline", "accept"):
            made = answer(*invite[:3], "--role", "operator", "--tenant", "globex")
            [offer] = json.loads(run("invitation", "mine", "--json", **ada).stdout)
            if verb == "accept":
                refused = run("invitation", verb, offer["id"], "--no-code", **ada)
                assert refused.returncode == 1
                done = run("invitation", verb, offer["id"], "--stdin", stdin=made["code"], **ada)
            else:
                done = run("invitation", verb, offer["id"], **ada)
            assert done.returncode == 0, done.stderr
        assert run("tenant", "leave", "globex", "--yes", **ada).returncode == 0
        me = json.loads(run("whoami", "--json", **ada).stdout)
        assert "globex" not in {role["tenant_name"] for role in me["roles"]}

    def test_1_wrong_code(self, run: Run, who: dict[str, str]) -> None:
        join = ("invitation", "join", "--url", who["url"], "--stdin")
        done = run(*join, stdin="kti_wrong\nsome long password\n")
        assert (done.returncode, done.stdout) == (1, "")
        assert one_line(done.stderr).startswith("keyturn: code: ")

    @pytest.mark.parametrize("stdin", ["", "one\n", "1\n2\n3\n"])
    def test_2_stdin_is_no_code_and_password(
        self, run: Run, who: dict[str, str], stdin: str
    ) -> None:
        done = run("invitation", "join", "--url", who["url"], "--stdin", stdin=stdin)
        assert done.returncode == 2
        assert "2 lines" in one_line(done.stderr)


@pytest.mark.usefixtures("catalogue")
class TestApiKey:
    @pytest.fixture
    def user(self, answer: Any, request: pytest.FixtureRequest) -> str:
        """A new service user's name."""
        name = request.node.name.replace("_", "-")
        answer("service-user", "create", name, "--role", "operator")
        return str(name)

    def test_0_f8_narrowed_from_the_command_line(self, answer: Any, user: str) -> None:
        new = ("--user", user, "--name", "deploy", "--role", "operator", "--idle", "30d")
        narrow = ("--endpoint", "POST /hosts/:id/report", "--network", "10.0.0.0/8")
        made = answer("api-key", "create", *new, *narrow, "--expires-in", "90d")
        assert made["secret"].startswith("kt_")
        key = answer("api-key", "show", made["id"])
        assert "secret" not in key
        assert (key["networks"], key["idle_timeout"]) == (["10.0.0.0/8"], 30 * 86_400)
        assert len(key["endpoint_ids"]) == len(key["role_ids"]) == 1
        edited = answer("api-key", "edit", made["id"], "--all-endpoints", "--name", "new")
        assert (edited["endpoint_ids"], edited["name"]) == (None, "new")
        assert edited["networks"] == ["10.0.0.0/8"]

    def test_0_names_stand_with_the_ids(self, admin: Run, answer: Any, user: str) -> None:
        new = ("--user", user, "--name", "told", "--role", "operator", "--idle", "30d")
        made = table(admin("api-key", "create", *new, "--only-in", "acme").stdout)
        shown = {name: value[0] for name, *value in made if value}
        key = answer("api-key", "show", "told")
        assert shown["id"] == key["id"]
        assert shown["role_ids"] == f"operator ({key['role_ids'][0]})"
        assert shown["user_id"] == f"{user} ({key['user_id']})"
        assert shown["tenant_id"] == f"acme ({key['tenant_id']})"
        assert shown["idle_timeout"] == "30d"

    def test_0_rotated_with_an_overlap_then_revoked(
        self, admin: Run, answer: Any, run: Run, who: dict[str, str], user: str
    ) -> None:
        old = answer("api-key", "create", "--user", user, "--name", "turning")["secret"]
        rotated = admin("api-key", "rotate", "turning", "--overlap", "7d", "--quiet")
        email = answer("service-user", "show", user)["email"]
        caller = {**who, "username": email}
        for secret in (old, rotated.stdout.strip()):
            assert run("token", **{**caller, "api_key": secret}).returncode == 0
        assert answer("api-key", "revoke", "turning", "--yes")["state"] == "revoked"
        [key] = answer("api-key", "list", "--user", email)
        assert (key["state"], key["reason"]) == ("revoked", "It was revoked.")
        assert run("token", **{**caller, "api_key": old}).returncode == 1

    def test_0_w6_ones_own(self, admin: Run, answer: Any) -> None:
        made = answer("api-key", "create", "--name", "laptop", "--only-in", "acme")
        mine = answer("api-key", "list", "--mine")
        assert made["id"] in {key["id"] for key in mine}
        named = answer("api-key", "edit", "laptop", "--mine", "--name", "desktop")
        assert named["name"] == "desktop"
        assert admin("api-key", "revoke", "desktop", "--mine", "--yes").returncode == 0

    def test_2_the_one_that_is_logged_in_takes_more_than_yes(
        self, admin: Run, answer: Any, who: dict[str, str]
    ) -> None:
        made = answer("api-key", "create", "--name", "this one")
        me = {"api_key": made["secret"]}
        for arguments in (["--yes"], []):
            done = admin("api-key", "revoke", "this one", "--mine", *arguments, **me)
            assert done.returncode == 2
            assert "'this one' is the one that you are logged in with" in one_line(done.stderr)
            assert "--even-this" in done.stderr
            assert answer("api-key", "show", made["id"], "--mine")["state"] == "active"
        both = ("--mine", "--yes", "--even-this")
        assert admin("api-key", "revoke", made["id"], *both, **me).returncode == 0
        assert admin("whoami", **me).returncode == 1

    def test_1_f3_its_own_narrowing_stays(self, admin: Run, answer: Any) -> None:
        answer("api-key", "create", "--name", "narrow")
        done = admin("api-key", "edit", "narrow", "--mine", "--network", "10.0.0.0/8")
        assert done.returncode == 1

    def test_1_bad_network_is_named(self, admin: Run, user: str) -> None:
        wrong = ("--network", "10.0.0.0/8", "--network", "300.0.0.0/8")
        done = admin("api-key", "create", "--user", user, "--name", "x", *wrong)
        assert done.returncode == 1
        assert "networks.1: " in one_line(done.stderr)

    def test_2_a_key_is_never_told_by_its_secret(self, admin: Run, who: dict[str, str]) -> None:
        done = admin("api-key", "revoke", who["api_key"], "--yes")
        assert done.returncode == 2
        assert who["api_key"] not in one_line(done.stderr)

    def test_2_a_choice_and_all(self, admin: Run) -> None:
        both = ("--network", "10.0.0.0/8", "--all-networks")
        assert admin("api-key", "edit", "x", *both).returncode == 2


@pytest.mark.usefixtures("catalogue")
class TestEndpoint:
    def test_0_import_again_changes_nothing(self, answer: Any, tmp_path: Any) -> None:
        done = answer("endpoint", "import", "-", "--service", "fleet", stdin=json.dumps(OPENAPI))
        assert (done["added"], done["unchanged"]) == (0, 2)

    def test_0_f4_search(self, answer: Any) -> None:
        found = answer("endpoint", "list", "/hosts/:id/report", "--service", "fleet")
        assert {endpoint["method"] for endpoint in found} == {"GET", "POST"}

    def test_0_by_hand(self, admin: Run, answer: Any) -> None:
        new = ("DELETE", "/hosts/{id}", "--service", "fleet2", "--name", "Delete a host")
        opened = ("--opened-by", "assets:manage,data:manage", "--opened-by", "operations:manage")
        made = answer("endpoint", "create", *new, *opened)
        assert made["opened_by"] == [["assets:manage", "data:manage"], ["operations:manage"]]
        assert "assets:manage + data:manage or operations:manage" in (
            admin("endpoint", "show", "DELETE /hosts/:host_id").stdout
        )
        edited = answer("endpoint", "edit", made["id"], "--deprecated")
        assert edited["deprecated"]
        listed = answer("endpoint", "list", "--service", "fleet2", "--no-deprecated")
        assert listed == []
        assert admin("endpoint", "delete", "DELETE /hosts/{id}", "--yes").returncode == 0

    def test_0_explain(self, admin: Run, answer: Any) -> None:
        explained = answer("endpoint", "explain", "GET", "/hosts/17/report")
        assert [e["name"] for e in explained["endpoints"]] == ["Read a report"]
        assert "operator" in {role["name"] for role in explained["roles"]}
        text = admin("endpoint", "explain", "GET", "/hosts/17/report").stdout
        assert [line for line in text.splitlines() if line.endswith(":")] == [
            "endpoints:",
            "roles:",
            "your keys:",
        ]

    def test_0_yaml(self, answer: Any, tmp_path: Any) -> None:
        document = "openapi: 3.0.3\ninfo: {title: T, version: 2026-01-01}\npaths: {}\n"
        (tmp_path / "api.yaml").write_text(document)
        assert answer("endpoint", "import", "api.yaml", "--service", "empty")["added"] == 0

    def test_1_yaml_without_a_reader(
        self, admin: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        (tmp_path / "api.yaml").write_text("openapi: 3.0.3\n")
        done = admin("endpoint", "import", "api.yaml", "--service", "x")
        assert done.returncode == 1
        assert "convert it to JSON" in one_line(done.stderr)

    @pytest.mark.parametrize("text", ["", "[]", "a: [", "\x00", "3"])
    def test_1_no_document(self, admin: Run, tmp_path: Any, text: str) -> None:
        (tmp_path / "x.json").write_text(text)
        assert admin("endpoint", "import", "x.json", "--service", "x").returncode == 1

    def test_1_no_file(self, admin: Run) -> None:
        done = admin("endpoint", "import", "nowhere.json", "--service", "x")
        assert done.returncode == 1
        assert "nowhere.json" in one_line(done.stderr)

    def test_1_a_url_that_has_none(self, admin: Run, who: dict[str, str]) -> None:
        done = admin("endpoint", "import", f"{who['url']}/nothing", "--service", "x")
        assert done.returncode == 1
        assert "404" in one_line(done.stderr)

    def test_0_a_url(self, answer: Any, who: dict[str, str]) -> None:
        url = f"{who['url']}/health/live"  # JSON, though not such a document
        with pytest.raises(AssertionError, match="document"):
            answer("endpoint", "import", url, "--service", "x")


class TestAsking:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["tenant", "suspend", "globex"],
            ["role", "delete", "operator"],
            ["service-user", "delete", "x"],
            ["api-key", "revoke", "A" * 22],
        ],
    )
    def test_2_nobody_can_answer(self, admin: Run, arguments: list[str]) -> None:
        done = admin(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--yes" in one_line(done.stderr)
