"""`login`, `logout`, `whoami`: who one is to a service, and where that is kept."""

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from keyturn.cli import profiles
from keyturn.cli.problems import Problem
from tests.cli.conftest import Done, Run, Running
from tests.cli.test_commands import one_line


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keyturn"


def login(run: Run, served: Running, *more: str, **settings: str) -> Done:
    """As the administrator, who has a role in three tenants."""
    line = served.line
    return run(
        "login",
        *("--url", line["issuer"], "--username", line["admin_username"], "--api-key-stdin"),
        *more,
        stdin=f"{line['admin_api_key']}\n",
        **settings,
    )


def kept(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "profiles.toml").read_text())


class TestLogin:
    def test_0_kept_for_the_owner_alone(self, run: Run, served: Running, directory: Path) -> None:
        done = login(run, served)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "logged in" in done.stderr
        run("whoami")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        assert modes == {"profiles.toml": 0o600, "token-default.json": 0o600}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert kept(directory)["default"] == {
            "url": f"{served.line['issuer']}/iam",
            "username": served.line["admin_username"],
            "api_key": served.line["admin_api_key"],
        }

    def test_0_no_refresh_token_is_kept(self, run: Run, served: Running, directory: Path) -> None:
        login(run, served)
        run("whoami")
        assert not [path for path in directory.iterdir() if "ktr_" in path.read_text()]

    def test_0_lists_tenants_to_choose_from(self, run: Run, served: Running) -> None:
        done = login(run, served)
        assert "keyturn tenant use" in done.stderr
        for tenant in served.line["tenants"]:
            assert f"{tenant['name']}  {tenant['id']}" in done.stderr

    def test_0_a_tenant_by_its_name(self, run: Run, served: Running, directory: Path) -> None:
        assert login(run, served, "--tenant", "globex", "--profile", "two").returncode == 0
        assert kept(directory)["two"]["tenant"] == served.line["tenants"][1]["id"]

    def test_0_the_only_tenant_is_chosen(
        self, run: Run, served: Running, directory: Path, answer: Any
    ) -> None:
        new = ("--role", "viewer", "--key", "k", "--tenant", "globex")
        made = answer("service-user", "create", "only-globex", *new)
        done = run(
            "login",
            *("--url", served.line["issuer"], "--username", made["email"]),
            api_key=made["api_key"]["secret"],  # KEYTURN_API_KEY
        )
        assert done.returncode == 0, done.stderr
        assert kept(directory)["default"]["tenant"] == served.line["tenants"][1]["id"]

    def test_0_again_needs_the_key_alone(self, run: Run, served: Running, directory: Path) -> None:
        login(run, served)
        key = served.line["admin_api_key"]
        assert run("login", "--tenant", "acme", api_key=key).returncode == 0
        assert kept(directory)["default"]["tenant"] == served.line["tenants"][0]["id"]

    def test_1_wrong_key_keeps_nothing(
        self, run: Run, served: Running, directory: Path, who: dict[str, str]
    ) -> None:
        wrong = "kt_" + who["api_key"][3:].swapcase()
        done = run("login", "--url", who["url"], "--username", who["username"], api_key=wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert who["username"] in one_line(done.stderr)
        assert wrong not in done.stderr
        assert not directory.exists()

    def test_2_nobody_can_be_asked(self, run: Run, served: Running) -> None:
        done = run("login", "--url", served.line["issuer"], "--username", "ada")
        assert done.returncode == 2
        assert "API key" in one_line(done.stderr)

    @pytest.mark.parametrize("url", ["iam.example", "ftp://x", "http://a:b@x", "http://x?y=1"])
    def test_2_no_url(self, run: Run, url: str) -> None:
        done = run("login", "--url", url, "--username", "ada", api_key="x")
        assert done.returncode == 2
        assert "URL" in one_line(done.stderr)

    def test_3_nobody_answers(self, run: Run) -> None:
        done = run("login", "--url", "http://127.0.0.1:1", "--username", "ada", api_key="x")
        assert done.returncode == 3
        assert "http://127.0.0.1:1/iam cannot be reached" in one_line(done.stderr)

    def test_plain_http_elsewhere_is_warned_of(self, run: Run) -> None:
        done = run("login", "--url", "http://iam.invalid", "--username", "ada", api_key="x")
        assert done.returncode == 3
        assert "plain http" in done.stderr.splitlines()[0]

    def test_0_says_that_the_environment_wins(self, run: Run, served: Running) -> None:
        elsewhere = {"url": "http://127.0.0.1:1", "username": "x"}
        done = login(run, served, "--tenant", "acme", **elsewhere)
        assert done.returncode == 0
        assert "KEYTURN_URL, KEYTURN_USERNAME) wins over profile default" in done.stderr
        assert "unset KEYTURN_URL KEYTURN_USERNAME KEYTURN_API_KEY" in done.stderr
        for more in ({}, {**elsewhere, "profile": "mine"}):
            assert "environment" not in login(run, served, "--tenant", "acme", **more).stderr


class TestWhoami:
    def test_0_the_tenant_by_its_name(self, run: Run, served: Running) -> None:
        acme, globex = (tenant["id"] for tenant in served.line["tenants"])
        login(run, served)
        assert re.search(r"^tenant$", run("whoami").stdout, re.MULTILINE)
        for given, shown in (
            ("globex", f"globex ({globex})"),
            (globex, f"globex ({globex})"),
            ("initech", "initech (not among your tenants)"),
        ):
            assert f"tenant      {shown}\n" in run("whoami", tenant=given).stdout
        login(run, served, "--tenant", "acme")
        assert f"tenant      acme ({acme})\n" in run("whoami").stdout

    def test_0_the_only_tenant(self, run: Run, answer: Any, who: dict[str, str]) -> None:
        made = answer("service-user", "create", "only", "--role", "operator", "--key", "k")
        caller = {**who, "username": made["email"], "api_key": made["api_key"]["secret"]}
        assert f"acme ({who['tenant']})" in run("whoami", **{**caller, "tenant": ""}).stdout

    def test_0(self, run: Run, served: Running) -> None:
        login(run, served, "--tenant", "acme")
        done = run("whoami")
        assert done.returncode == 0, done.stderr
        assert "login       profile default" in done.stdout
        assert served.line["admin_api_key"] not in done.stdout
        me = json.loads(run("whoami", "--json").stdout)
        assert {role["tenant_name"] for role in me["roles"]} == {"platform", "acme", "globex"}

    def test_1_without_a_login(self, run: Run) -> None:
        done = run("whoami")
        assert (done.returncode, done.stdout) == (1, "")
        assert "keyturn login" in one_line(done.stderr)

    def test_1_unknown_profile(self, run: Run, served: Running) -> None:
        login(run, served)
        for done in (run("whoami", "--profile", "nope"), run("whoami", profile="nope")):
            assert done.returncode == 1
            assert "there are: default" in one_line(done.stderr)

    def test_1_damaged_file_is_not_quoted(self, run: Run, directory: Path) -> None:
        directory.mkdir(parents=True)
        (directory / "profiles.toml").write_text('[default\napi_key = "kt_secret"\n')
        done = run("whoami")
        assert done.returncode == 1
        assert "kt_secret" not in one_line(done.stderr)

    def test_a_file_that_others_may_read_is_warned_of(
        self, run: Run, served: Running, directory: Path
    ) -> None:
        login(run, served)
        (directory / "profiles.toml").chmod(0o644)
        done = run("whoami")
        assert done.returncode == 0
        assert "chmod 600" in one_line(done.stderr)


class TestTenantUse:
    def test_0(self, run: Run, served: Running, directory: Path) -> None:
        login(run, served)
        assert run("role", "list").returncode == 2  # which of three?
        done = run("tenant", "use", "acme")
        assert done.returncode == 0
        acme = served.line["tenants"][0]["id"]
        assert one_line(done.stderr) == (f"keyturn: profile default uses the tenant acme ({acme})")
        assert run("role", "list").returncode == 0
        assert kept(directory)["default"]["tenant"] == served.line["tenants"][0]["id"]

    def test_2_in_the_environment(self, admin: Run) -> None:
        done = admin("tenant", "use", "acme")
        assert done.returncode == 2
        line = one_line(done.stderr)
        assert "export KEYTURN_TENANT=acme" in line
        assert "unset KEYTURN_URL KEYTURN_USERNAME KEYTURN_API_KEY" in line

    def test_0_says_that_another_is_set(self, run: Run, served: Running) -> None:
        login(run, served)
        done = run("tenant", "use", "acme", tenant="globex")
        assert done.returncode == 0
        assert "unset KEYTURN_TENANT" in done.stderr
        assert run("tenant", "use", "globex").returncode == 0

    def test_0_one_that_was_made_just_now(self, run: Run, served: Running, answer: Any) -> None:
        login(run, served, "--tenant", "acme")
        assert run("whoami").returncode == 0  # its token is kept
        answer("tenant", "create", "made-elsewhere")
        assert run("role", "list", "--tenant", "made-elsewhere").returncode == 0
        assert run("tenant", "create", "made-here").returncode == 0
        assert run("tenant", "use", "made-here").returncode == 0
        assert json.loads(run("tenant", "show", "--json").stdout)["name"] == "made-here"


class TestEnvironment:
    def test_0_writes_nothing(self, admin: Run, directory: Path) -> None:
        assert admin("whoami").returncode == 0
        assert not directory.exists()

    def test_0_a_named_profile_beats_it(self, run: Run, served: Running) -> None:
        login(run, served, "--profile", "mine")
        elsewhere = {"url": "http://127.0.0.1:1", "username": "x", "api_key": "y"}
        assert run("whoami", "--profile", "mine", **elsewhere).returncode == 0
        assert run("whoami", **elsewhere).returncode == 3

    def test_2_half_of_it(self, run: Run) -> None:
        done = run("whoami", url="http://127.0.0.1:1")
        assert done.returncode == 2
        assert "KEYTURN_USERNAME and KEYTURN_API_KEY" in one_line(done.stderr)


class TestLogout:
    def test_0_forgets_and_ends_the_token(self, run: Run, served: Running, directory: Path) -> None:
        login(run, served)
        login(run, served, "--profile", "other")
        run("whoami", "--profile", "other")
        token = run("token").stdout.strip()
        assert run("logout").returncode == 0
        assert set(kept(directory)) == {"other"}
        assert not (directory / "token-default.json").exists()
        # A token that was ended is of no use, also when it is found in a file.
        other = directory / "token-other.json"
        stolen = {**json.loads(other.read_text()), "access_token": token}
        other.write_text(json.dumps(stolen))
        assert run("whoami", "--profile", "other").returncode == 0
        assert json.loads(other.read_text())["access_token"] != token

    def test_1_unknown(self, run: Run) -> None:
        assert run("logout").returncode == 1


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("https://iam.example", "https://iam.example/iam"),
            ("https://iam.example/", "https://iam.example/iam"),
            ("https://iam.example/x/iam/", "https://iam.example/x/iam"),
            ("https://iam.example/.", "https://iam.example/."),
            ("http://[::1]:8080", "http://[::1]:8080/iam"),
        ],
    )
    def test_is_what_was_meant_also_twice(self, given: str, meant: str) -> None:
        assert profiles.base_url(given) == meant
        assert profiles.base_url(meant) == meant

    def test_names_of_profiles_are_plain(self) -> None:
        with pytest.raises(Problem):
            profiles.known("../x")

    def test_no_profile_shows_its_key(self) -> None:
        assert "kt_x" not in repr(profiles.Profile("p", "u", "n", "kt_x"))
