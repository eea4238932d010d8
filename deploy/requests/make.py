"""Makes the request collection of openapi.yaml: `python deploy/requests/make.py [--check]`.

The format is Postman's (v2.1), which Postman, Insomnia, Bruno and Hoppscotch import. Set the
variables `username` and `api_key`, send "Exchange an API key for tokens" once, and the rest runs:
it keeps the access token and, when the caller has one tenant, its id. `--check` writes nothing
and fails when the collection is not what openapi.yaml says.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "keyturn.postman_collection.json"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"

KEEP_TOKEN = [
    "const answer = pm.response.json();",
    'if (answer.access_token) pm.collectionVariables.set("access_token", answer.access_token);',
    'if (answer.refresh_token) pm.collectionVariables.set("refresh_token", answer.refresh_token);',
]
KEEP_TENANT = [
    "const tenants = new Set(pm.response.json().roles.map(item => item.tenant_id));",
    'if (tenants.size === 1) pm.collectionVariables.set("tenant_id", [...tenants][0]);',
]


def collection(document: dict[str, Any]) -> dict[str, Any]:
    """The whole collection: a folder for each tag, in the contract's order."""
    folders: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            shared = item.get("parameters", [])
            parameters = [
                resolve(document, one) for one in [*shared, *operation.get("parameters", [])]
            ]
            folders[operation["tags"][0]].append(
                request(document, method.upper(), path, operation, parameters)
            )
    return {
        "info": {
            "name": "Keyturn",
            "description": document["info"]["description"],
            "schema": SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{access_token}}"}]},
        "variable": [
            {"key": "base_url", "value": document["servers"][-1]["url"]},
            *(
                {"key": name, "value": ""}
                for name in ("username", "api_key", "access_token", "refresh_token", "tenant_id")
            ),
        ],
        "item": [{"name": name, "item": items} for name, items in folders.items() if items],
    }


def request(
    document: dict[str, Any],
    method: str,
    path: str,
    operation: dict[str, Any],
    parameters: list[dict[str, Any]],
) -> dict[str, Any]:
    """One request: its parameters as far as they are known, optional ones switched off."""
    headers = [
        {
            "key": one["name"],
            "value": "{{tenant_id}}" if one["name"] == "x-tenant-id" else "",
            "disabled": not one.get("required", False),
        }
        for one in parameters
        if one["in"] == "header"
    ]
    body = body_of(document, operation)
    if body is not None:
        headers.append({"key": "Content-Type", "value": "application/json", "disabled": False})
    made: dict[str, Any] = {
        "name": operation["summary"],
        "request": {
            "method": method,
            "description": operation.get("description", ""),
            "header": headers,
            "url": url(path, parameters),
        },
    }
    if body is not None:
        text = json.dumps(body, indent=2, ensure_ascii=False)
        made["request"]["body"] = {"mode": "raw", "raw": text}
    if not any("bearer" in one for one in operation.get("security", [])):
        made["request"]["auth"] = {"type": "noauth"}
    if (
        any("client" in one for one in operation.get("security", []))
        and len(operation["security"]) == 1
    ):
        made["request"]["auth"] = {
            "type": "basic",
            "basic": [
                {"key": "username", "value": "{{username}}"},
                {"key": "password", "value": "{{api_key}}"},
            ],
        }
    script = {"exchange": KEEP_TOKEN, "me": KEEP_TENANT}.get(operation["operationId"])
    if script is not None:
        made["event"] = [{"listen": "test", "script": {"exec": script}}]
    return made


def url(path: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """The URL with its variables."""
    queries = [one for one in parameters if one["in"] == "query"]
    plain = re.sub(r"{(\w+)}", r":\1", path)
    query = [
        {
            "key": one["name"],
            "value": "",
            "description": one.get("description", ""),
            "disabled": not one.get("required", False),
        }
        for one in queries
    ]
    return {
        "raw": "{{base_url}}" + plain,
        "host": ["{{base_url}}"],
        "path": plain.strip("/").split("/"),
        "query": query,
        "variable": [
            {"key": name, "value": "{{tenant_id}}" if name == "tenant_id" else ""}
            for name in re.findall(r"{(\w+)}", path)
        ],
    }


def body_of(document: dict[str, Any], operation: dict[str, Any]) -> object:
    """The example of the JSON body; None when the operation takes none."""
    if operation["operationId"] == "exchange":
        return {"username": "{{username}}", "password": "{{api_key}}"}
    if "requestBody" not in operation:
        return None
    content = resolve(document, operation["requestBody"])["content"]["application/json"]
    if "example" in content:
        return content["example"]
    if "examples" in content:
        return next(iter(content["examples"].values()))["value"]
    return {"token": "{{access_token}}"} if operation["tags"] == ["tokens"] else {}


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """What a local reference points at."""
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def main() -> int:
    """Writes the collection, or checks the one that is there."""
    document = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
    text = json.dumps(collection(document), indent=1, ensure_ascii=False, default=str) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET.name} is not what openapi.yaml says: run make requests", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
