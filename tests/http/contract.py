"""Holds answers against openapi.yaml: every response of every test here is looked up in it."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).parents[2]

#: On every answer, as the contract's introduction says.
PROTECTION = (
    "cache-control",
    "content-security-policy",
    "cross-origin-resource-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-request-id",
)


@cache
def document() -> dict[str, Any]:
    """openapi.yaml."""
    # The safe loader in C, where there is one, is ten times quicker.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loaded: dict[str, Any] = yaml.load((ROOT / "openapi.yaml").read_text(), loader)  # noqa: S506
    return loaded


def operations() -> set[tuple[str, str]]:
    """(method, path) of all operations."""
    verbs = {"get", "post", "put", "patch", "delete"}
    return {
        (verb.upper(), path)
        for path, item in document()["paths"].items()
        for verb in item
        if verb in verbs
    }


@cache
def _registry() -> Registry[Any]:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("openapi", resource)
    return registry


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


@cache
def _templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Paths with parameters, the more literal ones first."""
    paths = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [
        (
            re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(path))),
            document()["paths"][path],
        )
        for path in paths
    ]


def _described(method: str, path: str) -> dict[str, Any] | None:
    literal = document()["paths"].get(path)
    if literal is not None and method.lower() not in literal:
        return None  # not one of the paths with parameters that look alike
    for pattern, item in _templates():
        if pattern.fullmatch(path) and method.lower() in item:
            found: dict[str, Any] = item[method.lower()]
            return found
    return None


async def check(response: httpx.Response) -> None:
    """An httpx response hook: fails when the answer is not as the contract says."""
    for name in PROTECTION:
        assert name in response.headers, f"{response.request.url.path} has no {name}"
    method, path = response.request.method, response.request.url.path
    described_as = _described(method, path)
    if described_as is None:
        if path in document()["paths"] and response.status_code == 405:
            assert "allow" in response.headers, f"{method} {path} 405 has no Allow"
        return
    await response.aread()
    described = described_as["responses"]
    status = str(response.status_code)
    assert status in described, f"{method} {path} answered {status}, which openapi.yaml lacks"
    answer = _resolve(described[status])
    for name in answer.get("headers", {}):
        assert name in response.headers, f"{method} {path} {status} has no {name}"
    content = answer.get("content")
    if content is None:
        assert not response.content
        return
    media = response.headers["content-type"].partition(";")[0]
    assert media in content, f"{method} {path} {status} answered {media}"
    if media in ("application/x-ndjson", "text/event-stream"):
        return
    schema = _absolute(content[media]["schema"])
    Draft202012Validator(schema, registry=_registry()).validate(response.json())


def _absolute(schema: Any) -> Any:
    """`schema` with its references pointing into the registered document."""
    if isinstance(schema, dict):
        return {
            key: f"openapi{value}" if key == "$ref" else _absolute(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    return schema
