"""What is read of a resource server's OpenAPI document, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keyturn.paths import opens
from keyturn.server.domain.endpoints import FOR_ALL, MAX_OPENING, METHODS, shape
from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.services.openapi_document import (
    MAX_OPERATIONS,
    MAX_TEXT,
    Described,
    Imported,
    read_openapi,
)
from tests.unit.domain.worlds import PROPERTY

ROOT = Path(__file__).parents[3]

Json = dict[str, object]
DECLARED: Json = {"x-permissions": "assets:read"}


def document(paths: object = None, **more: object) -> Json:
    info: Json = {"title": "Assets", "version": "1"}
    return {"openapi": "3.1.0", "info": info, "paths": {} if paths is None else paths, **more}


def read(operation: Json, item: Json | None = None, root: Json | None = None) -> Imported:
    """A document with `GET /assets`, and more beside the operation and the paths."""
    paths = {"/assets": {"get": operation, **(item or {})}}
    return read_openapi({**document(paths), **(root or {})})


def one(operation: Json, item: Json | None = None, root: Json | None = None) -> Described:
    """Its one endpoint."""
    (described,) = read(operation, item, root).endpoints
    return described


def refused(value: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_openapi(value)
    assert caught.value.code is Code.INVALID_REQUEST
    return caught.value


def groups(*names: str) -> tuple[frozenset[str], ...]:
    """Each name a group; `a:b c:d` is one group of two."""
    return tuple(frozenset(name.split()) for name in names)


class TestEndpoints:
    def test_all_that_the_catalogue_keeps(self) -> None:
        operation: Json = {
            "summary": "Read an asset",
            "operationId": "getAsset",
            "deprecated": True,
            "x-experimental": True,
            "x-administrative": True,
            "x-permissions": ["assets:read"],
            "responses": {200: {"description": "The asset."}},
        }
        found = read_openapi(document({"/assets/{id}": {"get": operation}}))
        assert found == Imported(
            "Assets",
            (
                Described(
                    "GET",
                    "/assets/{id}",
                    "Read an asset",
                    groups("assets:read"),
                    deprecated=True,
                    experimental=True,
                    administrative=True,
                ),
            ),
            (),
        )

    def test_every_method_and_nothing_else(self) -> None:
        operations: Json = {method.lower(): DECLARED for method in METHODS}
        others: Json = {"trace": DECLARED, "parameters": [], "summary": "x", "x-else": 1}
        found = read_openapi(document({"/a": {**operations, **others}, "x-else": 1}))
        assert [item.method for item in found.endpoints] == list(METHODS)

    def test_in_the_documents_order(self) -> None:
        found = read_openapi(document({p: {"get": DECLARED} for p in ("/c", "/a", "/b")}))
        assert [item.path for item in found.endpoints] == ["/c", "/a", "/b"]

    @pytest.mark.parametrize(
        ("operation", "name"),
        [
            ({"summary": "Read", "operationId": "read"}, "Read"),
            ({"operationId": "read"}, "read"),
            ({"summary": "", "operationId": "read"}, "read"),
            ({"summary": " \x00\n ", "operationId": ""}, "GET /assets"),
            ({}, "GET /assets"),
            ({"summary": " Read\n\tan \x1b[31masset\x00\u202e "}, "Read an [31masset"),
            ({"summary": "é" * 500}, "é" * 200),
            ({"summary": "Read\ud800"}, "Read"),
        ],
    )
    def test_the_name(self, operation: Json, name: str) -> None:
        assert one({**operation, **DECLARED}).name == name

    def test_flags_are_off_unless_they_are_set(self) -> None:
        described = one(DECLARED)
        assert not described.deprecated
        assert not described.experimental
        assert not described.administrative

    @pytest.mark.parametrize("key", ["x-stability", "x-stability-level"])
    @pytest.mark.parametrize(
        ("level", "experimental"),
        [("experimental", True), ("Alpha", True), ("beta", True), ("stable", False)],
    )
    def test_stability(self, key: str, level: str, experimental: bool) -> None:
        assert one({**DECLARED, key: level}).experimental is experimental

    def test_the_nearest_place_decides(self) -> None:
        above: Json = {"x-administrative": True, "x-experimental": True}
        assert one(DECLARED, root=above).administrative
        assert one(DECLARED, item=above).experimental
        assert not one(DECLARED, item={"x-administrative": False}, root=above).administrative
        assert not one({**DECLARED, "x-experimental": False}, item=above).experimental

    def test_deprecated_is_said_of_operations_only(self) -> None:
        assert not one(DECLARED, item={"deprecated": True}, root={"deprecated": True}).deprecated

    def test_webhooks_and_callbacks_are_ignored(self) -> None:
        hook: Json = {"new": {"post": DECLARED}}
        operation: Json = {**DECLARED, "callbacks": {"done": {"{$url}": {"post": DECLARED}}}}
        assert len(read(operation, root={"webhooks": hook}).endpoints) == 1

    @pytest.mark.parametrize(
        "value", [document(), {"openapi": "3.1.0", "info": {"title": "x"}, "webhooks": {}}]
    )
    def test_no_operations_is_a_warning(self, value: Json) -> None:
        found = read_openapi(value)
        assert (found.endpoints, len(found.warnings)) == ((), 1)


class TestBasePath:
    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("/", "/assets"),
            ("", "/assets"),
            ("/v1", "/v1/assets"),
            ("/v1/", "/v1/assets"),
            ("v1", "/v1/assets"),
            ("./v1", "/v1/assets"),
            ("../v1", "/v1/assets"),
            ("https://api.example.com", "/assets"),
            ("https://api.example.com/", "/assets"),
            ("https://api.example.com:8443/api/v1/", "/api/v1/assets"),
            ("//api.example.com/v1", "/v1/assets"),
            ("{scheme}://{host}/{base}/v{n}", "/api/v2/v3/assets"),
            ("https://{host}/v1?x=y#z", "/v1/assets"),
        ],
    )
    def test_of_the_first_server(self, url: str, path: str) -> None:
        told = {"scheme": "https", "host": "h.example.com", "base": "api/v2", "n": "3"}
        variables = {name: {"default": value, "enum": [value]} for name, value in told.items()}
        servers = [{"url": url, "variables": variables}, {"url": "/other"}]
        assert one(DECLARED, root={"servers": servers}).path == path

    def test_none_is_the_root(self) -> None:
        assert one(DECLARED).path == "/assets"
        assert one(DECLARED, root={"servers": []}).path == "/assets"

    def test_nearer_servers_override(self) -> None:
        server: Callable[[str], Json] = lambda url: {"servers": [{"url": url}]}  # noqa: E731
        assert one(DECLARED, item=server("/item"), root=server("/all")).path == "/item/assets"
        operation = {**DECLARED, **server("https://h/op")}
        assert one(operation, item=server("/item"), root=server("/all")).path == "/op/assets"
        assert one({**DECLARED, "servers": []}, root=server("/all")).path == "/all/assets"

    @pytest.mark.parametrize(
        ("server", "field"),
        [
            ({}, "servers.0.url"),
            ({"url": 1}, "servers.0.url"),
            ({"url": "https://[::1/v1"}, "servers.0.url"),
            ({"url": "/" + "a" * 600}, "servers.0.url"),
            ("/v1", "servers.0"),
            ({"url": "/{v}"}, "servers.0.variables"),
            ({"url": "/{v}", "variables": {}}, "servers.0.variables.v"),
            ({"url": "/{v}", "variables": {"v": {}}}, "servers.0.variables.v.default"),
            ({"url": "/{v}", "variables": {"v": {"default": 1}}}, "servers.0.variables.v.default"),
            ({"url": "/a b"}, "paths./assets.get"),
            ({"url": "/{v"}, "paths./assets.get"),
            ({"url": "mailto:a"}, "paths./assets.get"),
            ({"url": "/" + "a" * 510}, "paths./assets.get"),
        ],
    )
    def test_400_malformed(self, server: object, field: str) -> None:
        value = document({"/assets": {"get": DECLARED}}, servers=[server])
        assert refused(value).field == field


class TestPermissions:
    @pytest.mark.parametrize(
        ("stated", "opened_by"),
        [
            ("assets:read", groups("assets:read")),
            (["a:a", "b:b"], groups("a:a", "b:b")),
            ({"any_of": ["a:a", ["b:b", "c:c"]]}, groups("a:a", "b:b c:c")),
            ({"all_of": ["a:a", "b:b"]}, groups("a:a b:b")),
            ({"all_of": []}, FOR_ALL),
            (["a:a", "a:a"], groups("a:a")),
            ({"all_of": ["a:a", "a:a"]}, groups("a:a")),
        ],
    )
    def test_c7_the_extension(self, stated: object, opened_by: tuple[frozenset[str], ...]) -> None:
        found = read({"x-permissions": stated, "security": []})
        assert found.endpoints[0].opened_by == opened_by
        assert found.warnings == ()

    def test_c7_any_of_the_five_reads_and_one_creates(self) -> None:
        five = [f"{name}:manage" for name in ("assets", "data", "logics", "system", "operations")]
        item: Json = {"get": {"x-permissions": five}, "post": {"x-permissions": five[0]}}
        reading, creating = read_openapi(document({"/assetTypes": item})).endpoints
        assert all(opens(reading.opened_by, frozenset({name})) for name in five)
        assert [opens(creating.opened_by, frozenset({name})) for name in five] == [True] + 4 * [
            False
        ]

    def test_the_nearest_place_decides_and_goes_before_security(self) -> None:
        security: Json = {"security": [{"oauth": ["d:d"]}]}
        item: Json = {"x-permissions": "b:b"}
        root: Json = {"x-permissions": "c:c", **security}
        assert one({"x-permissions": "a:a"}, item=item, root=root).opened_by == groups("a:a")
        assert one(security, item=item, root=root).opened_by == groups("b:b")
        assert one(security, root=root).opened_by == groups("c:c")

    @pytest.mark.parametrize(
        "stated",
        [
            *(None, 1, True, "", "read", "Assets:Read", "a:a b:b", "a:a,b:b", [], {}, [[]], [""]),
            *(["a:a", 1], ["a:a", None], ["a:a", []], [["a:a", ["b:b"]]], [{"all_of": ["a:a"]}]),
            *({"any_of": []}, {"any_of": None}, {"any_of": [[]]}, {"any_of": ["a:a", []]}),
            *({"all_of": None}, {"all_of": 1}, {"all_of": ["a:a", ["b:b"]]}, {"one_of": ["a:a"]}),
            {"any_of": ["a:a"], "all_of": ["b:b"]},
            ["a:a"] * MAX_OPENING,
            [["a:a"] * MAX_OPENING],
            ["a:a"] * 100_000,
        ],
    )
    def test_400_malformed(self, stated: object) -> None:
        value = document({"/assets": {"get": {"x-permissions": stated}}})
        assert refused(value).field == "paths./assets.get.x-permissions"


class TestSecurity:
    @pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
    def test_c7_the_scopes_of_an_alternative_are_one_group(self, version: str) -> None:
        security = [{"oauth": ["a:a", "b:b"], "key": [], "oidc": ["c:c"]}, {"oauth": ["d:d"]}]
        found = read({"security": security}, root={"openapi": version})
        assert found.endpoints[0].opened_by == groups("a:a b:b c:c", "d:d")
        assert found.warnings == ()

    def test_the_operations_goes_before_the_documents(self) -> None:
        root: Json = {"security": [{"oauth": ["a:a"]}]}
        assert one({}, root=root).opened_by == groups("a:a")
        assert one({"security": [{"oauth": ["b:b"]}]}, root=root).opened_by == groups("b:b")

    @pytest.mark.parametrize("security", [[], [{}]])
    def test_an_operation_without_security_opens_for_everybody(self, security: Json) -> None:
        found = read({"security": security}, root={"security": [{"oauth": ["a:a"]}]})
        assert (found.endpoints[0].opened_by, found.warnings) == (FOR_ALL, ())

    def test_an_empty_alternative_opens_for_everybody(self) -> None:
        found = read({"security": [{"key": []}, {}, {"oauth": ["a:a"]}]})
        assert found.endpoints[0].opened_by == (frozenset(), frozenset({"a:a"}))
        assert found.warnings == ()

    @pytest.mark.parametrize("root", [{}, {"security": []}])
    def test_nothing_declared_opens_for_nobody_and_warns(self, root: Json) -> None:
        found = read({}, root=root)
        assert found.endpoints[0].opened_by == ()
        (warning,) = found.warnings
        assert warning.startswith("GET /assets: no permissions are declared")

    def test_schemes_without_scopes_say_nothing_and_warn(self) -> None:
        found = read({"security": [{"key": []}, {"basic": [], "key": []}]})
        assert found.endpoints[0].opened_by == ()
        (warning,) = found.warnings
        assert warning.startswith("GET /assets: a security requirement without scopes")

    def test_beside_others_they_open_nothing(self) -> None:
        found = read({"security": [{"key": []}, {"oauth": ["a:a"]}]})
        assert found.endpoints[0].opened_by == groups("a:a")
        assert len(found.warnings) == 1

    def test_scopes_that_are_no_permissions_open_nothing_and_warn(self) -> None:
        found = read({"security": [{"oidc": ["openid", "a:a"]}, {"oidc": ["b:b"]}]})
        assert found.endpoints[0].opened_by == groups("b:b")
        (warning,) = found.warnings
        assert "no permissions" in warning

    @pytest.mark.parametrize(
        ("security", "field"),
        [
            (None, ""),
            ({}, ""),
            ("oauth", ""),
            (["oauth"], ".0"),
            ([{"a": ["a:a"]}, None], ".1"),
            ([{"oauth": None}], ".0.oauth"),
            ([{"oauth": "a:a"}], ".0.oauth"),
            ([{"oauth": ["a:a", 1]}], ".0.oauth"),
            ([{1: []}], ".0"),
            ([{}] * (MAX_OPENING + 1), ""),
            ([{"oauth": ["a:a"] * MAX_OPENING}], ""),
            ([{str(number): [] for number in range(MAX_OPENING)}], ""),
        ],
    )
    def test_400_malformed(self, security: object, field: str) -> None:
        value = document({"/assets": {"get": {"security": security}}})
        assert refused(value).field == "paths./assets.get.security" + field
        assert refused(document({"/assets": {"get": {}}}, security=security)).field == (
            "security" + field
        )


class TestReferences:
    def test_of_a_path_item_are_followed(self) -> None:
        items: Json = {
            "a/b~{c}": {"$ref": "#/components/pathItems/last"},
            "last": {"get": DECLARED, "servers": [{"url": "/v1"}]},
        }
        reference = "#/components/pathItems/a~1b~0%7Bc%7D"
        paths: Json = {"/a": {"$ref": reference}, "/b": {"$ref": "#/paths/~1a"}}
        found = read_openapi(document(paths, components={"pathItems": items}))
        assert [item.path for item in found.endpoints] == ["/v1/a", "/v1/b"]
        assert found.warnings == ()

    def test_what_stands_beside_goes_first(self) -> None:
        target: Json = {"x-permissions": "b:b", "get": {}, "put": {"x-permissions": "c:c"}}
        item: Json = {"$ref": "#/x-items/target", "x-permissions": "a:a", "post": {}}
        found = read_openapi(document({"/a": item}, **{"x-items": {"target": target}}))
        assert [(e.method, e.opened_by) for e in found.endpoints] == [
            ("GET", groups("a:a")),
            ("POST", groups("a:a")),
            ("PUT", groups("c:c")),
        ]

    @pytest.mark.parametrize("reference", ["other.yaml#/a", "https://example.com/a.json", "", "a"])
    def test_to_another_document_are_skipped_with_a_warning(self, reference: str) -> None:
        paths: Json = {"/a": {"$ref": reference}, "/b": {"get": DECLARED}}
        found = read_openapi(document(paths))
        assert [item.path for item in found.endpoints] == ["/b"]
        (warning,) = found.warnings
        assert warning.startswith("/a: ")

    @pytest.mark.parametrize(
        "reference",
        [
            *("#/paths/~1a", "#/x-loop", "#/x-chain/0", "#/nowhere", "#nowhere", "#/info/title/x"),
            *("#/x-list/0", "#/x-null", "#/", "#" + "/a" * 100_000, 1, None),
        ],
    )
    def test_400_leading_nowhere(self, reference: object) -> None:
        chain = {str(number): {"$ref": f"#/x-chain/{number + 1}"} for number in range(1_000)}
        more: Json = {"x-loop": {"$ref": "#/x-loop"}, "x-list": [{}], "x-null": None}
        value = document({"/a": {"$ref": reference}}, **more, **{"x-chain": chain})
        assert (refused(value).field or "").startswith("paths./a")

    def test_400_leading_to_something_else(self) -> None:
        assert refused(document({"/a": {"$ref": "#/info/title"}})).field == "paths./a"


class TestRefusals:
    @pytest.mark.parametrize(
        "value",
        [
            *(None, 1, True, "openapi: 3.1.0", [], {}, [document()]),
            {"swagger": "2.0", "info": {"title": "x"}, "paths": {}},
            *(
                {**document(), "openapi": v}
                for v in (None, 3.1, "2.0", "3", "3.2.0", "4.0", "3.1x")
            ),
        ],
    )
    def test_400_no_openapi_3(self, value: object) -> None:
        assert refused(value).field == "openapi"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"info": None}, "info"),
            ({"info": {}}, "info.title"),
            ({"info": {"title": 1}}, "info.title"),
            ({"paths": None}, "paths"),
            ({"paths": []}, "paths"),
            ({"paths": {1: {}}}, "paths"),
            ({"paths": {"assets": {}}}, "paths.assets"),
            ({"paths": {"/a b": {}}}, "paths./ab"),
            ({"paths": {"/a?b": {}}}, "paths./ab"),
            ({"paths": {"/a": None}}, "paths./a"),
            ({"paths": {"/a": {"get": None}}}, "paths./a.get"),
            ({"paths": {"/a": {"get": []}}}, "paths./a.get"),
            ({"paths": {"/{a}": {"get": {"summary": 1}}}}, "paths./{a}.get.summary"),
            ({"paths": {"/a": {"get": {"operationId": None}}}}, "paths./a.get.operationId"),
            ({"paths": {"/a": {"get": {"deprecated": "yes"}}}}, "paths./a.get.deprecated"),
            ({"paths": {"/a": {"get": {"x-experimental": 1}}}}, "paths./a.get.x-experimental"),
            ({"paths": {"/a": {"get": {"x-stability": True}}}}, "paths./a.get.x-stability"),
            (
                {"paths": {"/a": {"get": {}, "x-administrative": None}}},
                "paths./a.x-administrative",
            ),
            ({"paths": {"/a": {"get": {}}}, "x-administrative": 0}, "x-administrative"),
            ({"paths": {"/a": {"get": {"servers": {}}}}}, "paths./a.get.servers"),
        ],
    )
    def test_400_wrong_types(self, change: Json, field: str) -> None:
        assert refused({**document(), **change}).field == field

    def test_400_one_method_and_path_twice(self) -> None:
        paths: Json = {"/a/{x}": {"get": DECLARED}, "/a/{y}/": {"put": DECLARED, "get": DECLARED}}
        assert refused(document(paths)).field == "paths./a/{y}/.get"

    def test_400_too_many_operations(self) -> None:
        few = {f"/{number}": {"get": DECLARED} for number in range(MAX_OPERATIONS)}
        assert len(read_openapi(document(few)).endpoints) == MAX_OPERATIONS
        assert refused(document({**few, "/more": {}})).field == "paths"
        shared = {**few, "/0": {"get": DECLARED, "put": DECLARED}}
        assert (refused(document(shared)).field or "").startswith("paths")

    @pytest.mark.parametrize("path", ["/" + "a" * 5_000, "/a\x00\x1b<script>", "/é\ud800\r\n"])
    def test_the_field_is_short_and_printable(self, path: str) -> None:
        field = refused(document({path: {"get": None}})).field
        assert field is not None
        assert re.fullmatch(r"[A-Za-z0-9_./{}:$-]{1,200}", field)

    def test_the_text_says_nothing_of_the_document(self) -> None:
        value = document({"/assets": {"get": {"security": "kt_secret"}}})
        assert "kt_secret" not in str(refused(value)) + refused(value).public


class TestHostileDocuments:
    def test_a_part_that_all_refer_to_is_read_in_bounded_time(self) -> None:
        many = 100_000
        wide: Json = {
            "get": {
                "summary": "x" * 1_000_000,
                "security": [{"oauth": ["a:a"] * (MAX_OPENING - 2)}],
                "responses": {str(number): {} for number in range(many)},
            },
            **{f"x-{number}": number for number in range(many)},
        }
        paths = {f"/{number}": {"$ref": "#/x-wide"} for number in range(500)}
        found = read_openapi(document(paths, **{"x-wide": wide}))
        assert len(found.endpoints) == 500
        assert {item.name for item in found.endpoints} == {"x" * MAX_TEXT}

    def test_deep_nesting(self) -> None:
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        for key in ("security", "x-permissions", "servers", "summary", "deprecated"):
            assert (refused(document({"/a": {"get": {key: deep}}})).field or "").startswith("paths")
        assert read({**DECLARED, "responses": deep}).endpoints

    def test_a_document_that_contains_itself(self) -> None:
        value = document({"/a": {"get": DECLARED}})
        value["paths"] = {"/a": value, "/b": {"$ref": "#"}}
        assert read_openapi(value).endpoints == ()


# Near to an OpenAPI document; now and then something else stands where a part should.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def mostly(part: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.integers(0, 99).flatmap(lambda number: anything if number == 99 else part)


def some(**members: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    named = {
        name.replace("x_", "x-").replace("ref", "$ref"): mostly(part)
        for name, part in members.items()
    }
    return mostly(st.fixed_dictionaries({}, optional=named))


permissions = st.sampled_from(["a:a", "b:b", "c:c"])
scopes = st.lists(permissions | st.just("openid"), max_size=2)
security = st.lists(st.dictionaries(st.sampled_from("abc"), scopes, max_size=2), max_size=2)
stated = mostly(
    permissions
    | st.lists(permissions | st.lists(permissions, min_size=1, max_size=2), min_size=1, max_size=2)
    | st.dictionaries(
        st.sampled_from(["any_of", "all_of"]), st.lists(permissions, max_size=2), min_size=1
    )
)
urls = st.sampled_from(["", "/", "/v1", "/{a}", "https://h/{a}", "//[", "{b}"])
servers = st.lists(some(url=urls, variables=some(a=some(default=urls))), max_size=1)
references = st.sampled_from(["#/paths/~1a", "#/paths/~1%62", "#/components", "x.yaml", "#/x"])
operations = some(
    summary=st.text(max_size=8),
    deprecated=st.booleans(),
    x_experimental=st.booleans(),
    x_stability=st.sampled_from(["beta", "stable"]),
    x_permissions=stated,
    security=security,
)
items = mostly(
    st.fixed_dictionaries(
        {"get": operations},
        optional={"put": operations, "servers": servers, "x-permissions": stated},
    )
)
targets = items | some(get=operations, ref=references)
names = st.sampled_from(["/a", "/b", "/{c}", "/:d/", "x-e"]) | st.text(max_size=6).map("/".__add__)
documents = st.fixed_dictionaries(
    {
        "openapi": st.sampled_from(["3.0.3", "3.1.0"]),
        "info": st.just({"title": "x"}),
        "paths": mostly(st.dictionaries(names, targets, min_size=1, max_size=3)),
        "components": items,
    },
    optional={"security": security, "x-permissions": stated, "servers": servers},
)


class TestProperties:
    @PROPERTY
    @given(anything)
    def test_anything_is_refused(self, value: object) -> None:
        refused(value)

    @PROPERTY
    @given(documents)
    def test_what_is_near_to_a_document_is_read_or_refused(self, value: object) -> None:
        try:
            found = read_openapi(value)
        except Refusal as refusal:
            assert refusal.code is Code.INVALID_REQUEST  # noqa: PT017 - one of two outcomes
            assert re.fullmatch(r"[A-Za-z0-9_./{}:$-]{1,200}", refusal.field or "")  # noqa: PT017
            return
        told = " ".join(found.warnings)
        for item in found.endpoints:
            assert shape(item.path)
            assert 0 < len(item.name) <= MAX_TEXT
            assert item.name.isprintable()
            # What opens for nobody is told.
            assert item.opened_by or f"{item.method} {item.path}: " in told
        keys = [(item.method, shape(item.path)) for item in found.endpoints]
        assert len(keys) == len(set(keys))


class TestKeyturnsOwn:
    def test_is_read(self) -> None:
        value = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
        found = read_openapi(value)
        assert found.title == "Keyturn"
        by_call = {(item.method, item.path): item for item in found.endpoints}
        assert len(by_call) == sum(
            method.lower() in item for item in value["paths"].values() for method in METHODS
        )
        assert by_call["GET", "/.well-known/jwks.json"].opened_by == FOR_ALL
        assert (
            by_call["POST", "/iam/auth/token"].name
            == value["paths"]["/iam/auth/token"]["post"]["summary"]
        )
