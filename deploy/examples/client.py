"""A client of the assets: adds an asset type, if it may, and lists what there is.

    pip install keyturn
    python client.py forklift

Who it is, it reads as `keyturn` does: KEYTURN_URL, KEYTURN_USERNAME, KEYTURN_API_KEY and
KEYTURN_TENANT, or what `keyturn login` kept. ASSETS_URL is where the assets are.
"""

import os
import sys

import httpx

from keyturn.client import ApiKeyAuth, KeyturnError

URL = os.environ.get("ASSETS_URL", "http://127.0.0.1:8000")


def main(names: list[str]) -> int:
    """Adds asset types of these names."""
    # A token for this resource server alone: nobody else could use it.
    auth = ApiKeyAuth.find(resource=os.environ.get("AUDIENCE", URL))
    with httpx.Client(base_url=URL, auth=auth) as assets:
        calls = [assets.build_request("POST", "/assetTypes", json={"name": name}) for name in names]
        for call in [*calls, assets.build_request("GET", "/assetTypes")]:
            answer = assets.send(call)
            if answer.is_error:
                # It is problem+json (RFC 9457), which says why.
                print(f"{call.method} {call.url}: {answer.text}", file=sys.stderr)
                return 1
        print(*(item["name"] for item in answer.json()), sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyturnError, httpx.HTTPError) as error:
        sys.exit(f"client: {URL}: {error}")
