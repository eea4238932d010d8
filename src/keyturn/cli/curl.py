"""The lines to try that `keyturn dev` prints.

Those of curl work when pasted into bash one after the other, with python3 and nothing else. One
command is one line, however long: a wrapped one could not be pasted.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from . import profiles
from .datadir import Credentials


def lines(base_url: str, issuer: str, credentials: Credentials) -> list[tuple[str, str]]:
    """(what it does, the command) in the order to try them."""
    token_url = shlex.quote(f"{base_url}/auth/token")
    body = json.dumps({"username": credentials.username, "password": credentials.api_key})
    exchange = f"{token_url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    username = shlex.quote(f"username={credentials.username}")
    key = shlex.quote(f"password={credentials.api_key}")
    bearer = '-H "Authorization: Bearer $TOKEN"'
    show = "curl -sS -w '\\n'"
    tenant = credentials.tenants[0]
    return [
        ("Exchange the API key for tokens, as JSON", f"{show} {exchange}"),
        (
            "the same as a form (RFC 6749)",
            f"{show} {token_url} -d grant_type=password --data-urlencode {username} -d {key}",
        ),
        ("Keep the tokens of an exchange", f"TOKENS=$(curl -sS {exchange})"),
        ("", f"TOKEN=$({_pick('access_token')})"),
        ("", f"REFRESH=$({_pick('refresh_token')})"),
        (
            "Who am I, and in which tenants?",
            f"{show} {shlex.quote(base_url + '/users/me')} {bearer}",
        ),
        (
            f"A call that is bound to a tenant ({tenant.name})",
            f"{show} {shlex.quote(base_url + '/tenants/current')} {bearer}"
            f" -H 'x-tenant-id: {tenant.id}'",
        ),
        (
            "Refresh: a new access token, and the next refresh token",
            f'{show} {token_url} -d grant_type=refresh_token -d "refresh_token=$REFRESH"',
        ),
        (
            "The public keys that resource servers check tokens with",
            f"{show} {shlex.quote(issuer + '/.well-known/jwks.json')}",
        ),
    ]


def management(base_url: str, credentials: Credentials) -> list[tuple[str, str]]:
    """The same for managing the demo's first tenant, as the demo's administrator."""
    at_root = not urlsplit(base_url).path
    tenant = credentials.tenants[0]
    who = {
        profiles.URL: f"{base_url}/." if at_root else base_url,
        profiles.USERNAME: credentials.admin_username,
        profiles.API_KEY: credentials.admin_api_key,
        profiles.TENANT: tenant.id,
    }
    values = " ".join(f"{name}={shlex.quote(value)}" for name, value in who.items())
    return [
        (
            f"Manage {tenant.name} as the administrator; keyturn --help tells how",
            f"export {values}",
        ),
        ("", f"{_this_command()} whoami"),
    ]


def _this_command() -> str:
    """What starts this program again: its name, when the shell would find it by that."""
    started = Path(sys.argv[0])
    if started.name != "keyturn":  # python -m keyturn.cli
        return f"{shlex.quote(sys.executable)} -m keyturn.cli"
    found = shutil.which("keyturn")
    same = found is not None and Path(found).resolve() == started.resolve()
    return "keyturn" if same else shlex.quote(str(started.absolute()))


def _pick(field: str) -> str:
    code = f'import json, sys; print(json.load(sys.stdin)["{field}"])'
    return f"""printf '%s' "$TOKENS" | python3 -c {shlex.quote(code)}"""
