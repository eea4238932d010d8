"""What to paste into a shell with an API key that was just made.

Each command is one line of bash, whole by itself, with curl, python3 and nothing else.
"""

import shlex


def exchange(base_url: str, username: str, secret: str) -> str:
    """Shows the tokens that the key gives (grant `password`)."""
    return f"curl -sS -w '\\n' {_exchange(base_url, username, secret)}"


def who_am_i(base_url: str, username: str, secret: str) -> str:
    """Exchanges the key, and asks with the token whose it is and what it may do."""
    pick = 'import json, sys; print(json.load(sys.stdin)["access_token"])'
    token = f"curl -sS {_exchange(base_url, username, secret)} | python3 -c {shlex.quote(pick)}"
    url = shlex.quote(f"{base_url}/users/me")
    return f"curl -sS -w '\\n' {url} -H \"Authorization: Bearer $({token})\""


def _exchange(base_url: str, username: str, secret: str) -> str:
    url = shlex.quote(f"{base_url}/auth/token")
    name, key = shlex.quote(f"username={username}"), shlex.quote(f"password={secret}")
    return f"{url} -d grant_type=password --data-urlencode {name} --data-urlencode {key}"
