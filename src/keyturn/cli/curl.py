"""The curl lines that `keyturn dev` prints.

They work when pasted into bash one after the other, with curl and python3 and nothing else. One
command is one line, however long: a wrapped one could not be pasted.
"""

import json
import shlex

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


def _pick(field: str) -> str:
    code = f'import json, sys; print(json.load(sys.stdin)["{field}"])'
    return f"""printf '%s' "$TOKENS" | python3 -c {shlex.quote(code)}"""
