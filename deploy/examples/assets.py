"""A resource server that Keyturn guards: assets, tenant by tenant.

    pip install 'keyturn[cli]' fastapi uvicorn
    python assets.py openapi > assets.json && keyturn endpoint import assets.json --service assets
    keyturn resource-server create http://127.0.0.1:8000 --name assets
    uvicorn assets:app --port 8000

It reads ISSUER and AUDIENCE, and as whom it follows revocations from KEYTURN_URL, KEYTURN_USERNAME,
KEYTURN_API_KEY and KEYTURN_TENANT: a service user with `tokens:introspect` there.
"""

import itertools
import json
import os
import sys
from collections import defaultdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

from keyturn.resource import Caller, TokenMiddleware, TokenVerifier, permission

AUDIENCE = os.environ.get("AUDIENCE", "http://127.0.0.1:8000")

#: What administrators make roles of.
ASSETS, DATA, LOGIC = "assets:manage", "data:manage", "logics:manage"
SYSTEM, OPERATIONS = "system:manage", "operations:manage"

app = FastAPI(title="Assets")

if __name__ != "__main__":
    verifier = TokenVerifier.find(
        os.environ.get("ISSUER", "http://127.0.0.1:8080"),
        AUDIENCE,
        # Its calls are decided by the catalogue as well: keys may list endpoints.
        service="assets",
    )
    app.add_middleware(TokenMiddleware, verifier=verifier, public=["/health"])


def opened_by(*any_of: str) -> dict[str, Any]:
    """What opens an endpoint, said once: for who calls it, and for the catalogue."""
    return {
        "dependencies": [Depends(permission(*any_of))],
        "openapi_extra": {"x-permissions": list(any_of)},
    }


class AssetType(BaseModel):
    """A kind of asset."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class Asset(BaseModel):
    """A thing, of one kind."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    asset_type: str


Anybody = Annotated[Caller, Depends(permission())]

# By tenant: what the header chose out of what the token grants is the only way to these.
types: defaultdict[str, dict[str, AssetType]] = defaultdict(dict)
assets: defaultdict[str, dict[int, Asset]] = defaultdict(dict)
numbers = itertools.count(1)


def tenant(caller: Anybody) -> str:
    """The tenant of the call."""
    assert caller.tenant_id is not None  # noqa: S101 - the middleware requires one
    return caller.tenant_id


Tenant = Annotated[str, Depends(tenant)]


@app.get("/assetTypes", **opened_by(ASSETS, DATA, LOGIC, SYSTEM, OPERATIONS))
def list_asset_types(tenant: Tenant) -> list[AssetType]:
    """Whoever works with anything here may read these."""
    return list(types[tenant].values())


@app.post("/assetTypes", status_code=201, **opened_by(ASSETS))
def create_asset_type(tenant: Tenant, new: AssetType) -> AssetType:
    """One of the five permissions makes them."""
    types[tenant][new.name] = new
    return new


@app.get("/assets", **opened_by(ASSETS, OPERATIONS))
def list_assets(tenant: Tenant) -> dict[int, Asset]:
    """By number."""
    return assets[tenant]


@app.post("/assets", status_code=201, **opened_by(ASSETS))
def create_asset(tenant: Tenant, new: Asset) -> dict[str, int]:
    """Gives its number."""
    number = next(numbers)
    assets[tenant][number] = new
    return {"number": number}


@app.get("/health", include_in_schema=False)
def health() -> dict[str, str]:
    """Public."""
    return {"status": "ok"}


if __name__ == "__main__":
    if sys.argv[1:] != ["openapi"]:
        sys.exit("usage: assets.py openapi (to serve it: uvicorn assets:app)")
    print(json.dumps(app.openapi()))
