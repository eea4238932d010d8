"""What opens an endpoint, which paths are the same, what a search finds, which one a call hits."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyturn.paths import (
    MAX_PATH,
    MAX_SEGMENTS,
    Opening,
    answering,
    best_match,
    matches,
    opens,
    segments,
)
from keyturn.server.domain.endpoints import (
    FOR_ALL,
    MAX_OPENING,
    METHODS,
    Endpoint,
    check_opening,
    mentioned,
    search,
    shape,
)
from keyturn.server.domain.errors import Code, Refusal
from keyturn.server.domain.permissions import (
    ADMINISTERING,
    BUILT_IN_ROLES,
    OWN,
    check_permission,
    is_permission,
)

from .worlds import PROPERTY, permission_sets

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIVE = ("assets:manage", "data:manage", "logics:manage", "system:manage", "operations:manage")


def endpoint(
    method: str,
    path: str,
    name: str = "An endpoint",
    *,
    service: str = "assets",
    opened_by: Opening = (),
) -> Endpoint:
    return Endpoint(
        f"{service} {method} {path}",
        "tenant",
        service,
        method,
        path,
        name,
        opened_by,
        deprecated=False,
        experimental=False,
        administrative=False,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


# --- What opens it ------------------------------------------------------------------------------


class TestOpens:
    def test_c7_any_of_a_set(self) -> None:
        reading_asset_types = check_opening([[name] for name in FIVE], "opened_by")
        for name in FIVE:
            assert opens(reading_asset_types, frozenset({name, "else:where"}))
        assert not opens(reading_asset_types, frozenset({"assets:read"}))

    def test_c7_one(self) -> None:
        creating_an_asset_type = check_opening([["assets:manage"]], "opened_by")
        assert opens(creating_an_asset_type, frozenset({"assets:manage"}))
        assert not opens(creating_an_asset_type, frozenset(FIVE) - {"assets:manage"})

    def test_c6_any_combination_of_permissions_opens_what_one_of_them_opens(self) -> None:
        role = frozenset({"data:manage", "operations:manage"})
        opened = [name for name in FIVE if opens((frozenset({name}),), role)]
        assert opened == ["data:manage", "operations:manage"]

    def test_a_group_opens_when_it_is_held_wholly(self) -> None:
        both = check_opening([["assets:read", "data:read"]], "opened_by")
        assert opens(both, frozenset({"assets:read", "data:read", "x:y"}))
        assert not opens(both, frozenset({"assets:read"}))

    def test_nothing_known_opens_for_nobody(self) -> None:
        assert not opens((), frozenset(FIVE))

    def test_an_empty_group_opens_for_everybody(self) -> None:
        assert opens(FOR_ALL, frozenset())

    @PROPERTY
    @given(st.lists(permission_sets, max_size=4), permission_sets, permission_sets)
    def test_more_permissions_never_open_less(
        self, groups: list[frozenset[str]], held: frozenset[str], more: frozenset[str]
    ) -> None:
        if opens(tuple(groups), held):
            assert opens(tuple(groups), held | more)

    def test_mentioned_is_all_of_all_groups(self) -> None:
        opening = (frozenset({"a:b", "c:d"}), frozenset({"a:b", "e:f"}))
        assert mentioned(opening) == {"a:b", "c:d", "e:f"}
        assert mentioned(()) == frozenset()


class TestCheckOpening:
    def test_each_group_once_in_order(self) -> None:
        groups = [["b:b"], ["a:a", "c:c"], ["b:b", "b:b"], ["c:c", "a:a"]]
        assert check_opening(groups, "x") == (frozenset({"b:b"}), frozenset({"a:a", "c:c"}))

    def test_400_malformed_permission(self) -> None:
        with pytest.raises(Refusal) as refused:
            check_opening([["a:b"], ["nothing"]], "opened_by")
        assert (refused.value.code, refused.value.field) == (Code.INVALID_REQUEST, "opened_by")

    @pytest.mark.parametrize(
        "groups", [[["a:b"]] * (MAX_OPENING // 2 + 1), [["a:b"] * MAX_OPENING], [[]] * 1000]
    )
    def test_400_too_many(self, groups: list[list[str]]) -> None:
        with pytest.raises(Refusal) as refused:
            check_opening(groups, "opened_by")
        assert refused.value.field == "opened_by"

    def test_as_many_as_may_be(self) -> None:
        groups = [[f"a:{number}"] for number in range(MAX_OPENING // 2)]
        assert len(check_opening(groups, "opened_by")) == MAX_OPENING // 2


class TestListable:
    def test_f6_not_what_creates_users_invites_or_changes_roles(self) -> None:
        for name in ADMINISTERING:
            opening = (frozenset({"assets:read"}), frozenset({"data:read", name}))
            assert not endpoint("POST", "/users", opened_by=opening).listable

    def test_f6_not_what_is_marked_administrative(self) -> None:
        plain = endpoint("POST", "/people", opened_by=(frozenset({"people:write"}),))
        assert plain.listable
        assert not replace(plain, administrative=True).listable

    def test_f6_what_only_reads_users_may_stand_on_a_list(self) -> None:
        assert endpoint("GET", "/users", opened_by=(frozenset({"users:read"}),)).listable

    def test_administering_permissions_are_keyturns_own_and_only_administrators_have_them(
        self,
    ) -> None:
        assert ADMINISTERING < OWN
        holders = {role.name for role in BUILT_IN_ROLES if role.permissions & ADMINISTERING}
        assert holders == {"tenant-admin"}


class TestPermissionNames:
    @pytest.mark.parametrize(
        "name", [*sorted(OWN), *FIVE, "assets:types:read", "a:b", "0x.y_z-1:2", "a" * 98 + ":b"]
    )
    def test_named(self, name: str) -> None:
        assert is_permission(name)
        assert check_permission(name, "permissions.0") == name

    @pytest.mark.parametrize(
        "name",
        [
            *("", "assets", ":", "a:", ":a", "a::b", "A:b", "a:B", "a:*", "a b:c", "a:b\n", "ä:b"),
            *("-a:b", "a:.b", "a/b:c", "a:b,c:d", "a" * 99 + ":b", "a:" * 10_000, "٣:a", "a:b\0"),
        ],
    )
    def test_400_not_named(self, name: str) -> None:
        assert not is_permission(name)
        with pytest.raises(Refusal) as refused:
            check_permission(name, "permissions.3")
        assert (refused.value.code, refused.value.field) == (
            Code.INVALID_REQUEST,
            "permissions.3",
        )


# --- Which paths are the same -------------------------------------------------------------------


class TestShape:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/", "/"),
            ("/hosts", "/hosts"),
            ("/hosts/", "/hosts"),
            ("/hosts/:id/report", "/hosts/{}/report"),
            ("/hosts/{host_id}/report", "/hosts/{}/report"),
            ("/hosts/<int:id>/report", "/hosts/{}/report"),
            ("/hosts/{id:[0-9]+}/report", "/hosts/{}/report"),
            ("/hosts/:host-id/", "/hosts/{}"),
            ("/hosts/{}", "/hosts/{}"),
            ("/files/{name}.json", "/files/{}.json"),
            ("/files/:name.json", "/files/{}.json"),
            ("/a/{x}-{y}", "/a/{}-{}"),
            ("/a/{x}{y}", "/a/{}{}"),
            ("/a/v{x}", "/a/v{}"),
            ("/v1/things:batch", "/v1/things:batch"),
            ("/v1/{thing}:batch", "/v1/{}:batch"),
            ("/v1/:thing:batch", "/v1/{}:batch"),
            ("/Case/Matters", "/Case/Matters"),
            ("/a;v=1/b,c/@me/x=(y)!*'$&+~_", "/a;v=1/b,c/@me/x=(y)!*'$&+~_"),
            # RFC 3986, 6.2.2: one path however it is encoded.
            ("/%68osts/caf%c3%a9", "/hosts/caf%C3%A9"),
            ("/hosts/café", "/hosts/caf%C3%A9"),
            ("/100%", "/100%25"),
            ("/a%20b", "/a%20b"),
            # No parameter is made of what is encoded.
            ("/%7Bid%7D", "/%7Bid%7D"),
            ("/%3Aid", "/%3Aid"),
            ("/:1", "/%3A1"),
            ("/...", "/..."),
        ],
    )
    def test_canonical(self, path: str, expected: str) -> None:
        assert shape(path) == expected
        assert shape(expected) == expected

    @pytest.mark.parametrize(
        "path",
        [
            *("", "hosts", "hosts/{id}", "{id}", "*", "https://example.com/hosts"),
            *("/a?b=c", "/a#b", "/a?", "/{?x}"),
            *("/a b", "/a\tb", "/a\nb", "/a\x00b", "/a\x7fb", "/a\u00a0b", "/\u202eb", "/\ud800"),
            *("/{a", "/a}", "/{{a}}", "/a{b}}", "/}{", "/<a", "/a>", "/{a/b}", "/<a}"),
            *("/.", "/..", "/a/../b", "/a/./b", "/%2e", "/a/.%2E/b"),
            *("//", "//a", "/a//b", "/a//"),
            *("/a%2Fb", "/a%5cb", "/a\\b", "/a%00b", "/a%0Ab"),
            "/" + "a" * MAX_PATH,
            "/" + "é" * (MAX_PATH // 2),
            "/a" * (MAX_SEGMENTS + 1),
            "/" * 100_000,
            "/" + "{" * 100_000,
        ],
    )
    def test_400_no_path(self, path: str) -> None:
        with pytest.raises(Refusal) as refused:
            shape(path)
        assert (refused.value.code, refused.value.field) == (Code.INVALID_REQUEST, "path")

    def test_the_field_may_have_another_name(self) -> None:
        with pytest.raises(Refusal) as refused:
            shape("x", field="endpoints.0.path")
        assert refused.value.field == "endpoints.0.path"

    def test_the_longest(self) -> None:
        assert shape("/a" * MAX_SEGMENTS) == "/a" * MAX_SEGMENTS
        assert shape("/" + "a" * (MAX_PATH - 1))

    @PROPERTY
    @given(st.text("ab:{}<>/%.~-_é 27Ff3?", max_size=30).map("/".__add__))
    def test_idempotent(self, path: str) -> None:
        try:
            once = shape(path)
        except Refusal:
            return
        assert shape(once) == once
        assert segments(once) == segments(path)
        assert endpoint("GET", path).shape == once

    @PROPERTY
    @given(st.text(max_size=40))
    def test_any_text_has_a_shape_or_is_refused(self, text: str) -> None:
        for path in (text, "/" + text):
            with contextlib.suppress(Refusal):
                assert shape(path).startswith("/")


# A segment as alternating literals and parameters: one more literal than there are parameters.
literals = st.text("abé.-_:~1 2%{", max_size=4)
segment_parts = st.lists(literals, min_size=1, max_size=4)
templates = st.lists(segment_parts, max_size=5).filter(
    lambda parts: all(any(s) or len(s) > 1 for s in parts) and ["."] not in parts
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
values = st.text(min_size=1, max_size=6).filter(
    lambda text: not any(c in "/\\\x7f" or c < " " or "\ud800" <= c <= "\udfff" for c in text)
)


def encoded(text: str) -> str:
    return quote(text, safe="")


def every_octet(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


def written(template: Sequence[Sequence[str]], parameters: Sequence[str]) -> str:
    rest = iter(parameters)
    path = []
    for first, *others in template:
        path.append(encoded(first) + "".join(next(rest) + encoded(text) for text in others))
    return "/" + "/".join(path)


def holes(template: Sequence[Sequence[str]]) -> int:
    return sum(len(parts) - 1 for parts in template)


class TestRenaming:
    @PROPERTY
    @given(templates, st.data())
    def test_does_not_change_the_shape(
        self, template: list[list[str]], data: st.DataObject
    ) -> None:
        assume([".", "."] not in template and [".."] not in template)
        count = holes(template)
        drawn = st.lists(
            st.tuples(st.sampled_from(["{%s}", "<%s>", "<int:%s>", "{%s:path}"]), names),
            min_size=count,
            max_size=count,
        )
        one, two = data.draw(drawn), data.draw(drawn)
        paths = [written(template, [form % name for form, name in d]) for d in (one, two)]
        assert shape(paths[0]) == shape(paths[1]) == shape(written(template, ["{}"] * count))

    @PROPERTY
    @given(names, names)
    def test_nor_with_colons(self, one: str, two: str) -> None:
        assert shape(f"/a/:{one}/b") == shape(f"/a/:{two}/b/") == shape(f"/a/{{{one}}}/b")


class TestMatches:
    @PROPERTY
    @given(templates, st.data(), st.booleans())
    def test_what_the_parameters_are_filled_with(
        self, template: list[list[str]], data: st.DataObject, octets: bool
    ) -> None:
        assume([".."] not in template)
        count = holes(template)
        filled = data.draw(st.lists(values, min_size=count, max_size=count))
        as_sent = every_octet if octets else encoded
        path = written(template, [as_sent(value) for value in filled])
        assume(not {".", ".."} & set(path.replace("%2e", ".").split("/")))
        # Some servers cut there: whatever is behind it would be another path to them.
        assume(";" not in unquote(path))
        assert matches(shape(written(template, ["{x}"] * count)), path)

    @pytest.mark.parametrize(
        ("template", "path"),
        [
            ("/", "/"),
            ("/hosts", "/hosts/"),
            ("/hosts", "/%68osts"),
            ("/hosts/{}", "/hosts/a.b:c@d"),
            ("/hosts/{}", "/hosts/{id}"),
            ("/hosts/{}", "/hosts/%F0"),
            ("/caf%C3%A9", "/café"),
            ("/caf%C3%A9", "/caf%c3%a9"),
            ("/files/{}.json", "/files/a.json.json"),
            ("/a/{}-{}", "/a/x-y-z"),
            ("/a/{}{}", "/a/xy"),
            ("/a/{}aa{}", "/a/aaaa"),
            ("/a/v{}-{}.z", "/a/v1-2.z.z"),
            ("/things:batch", "/things:batch"),
            ("/{}:batch", "/a:batch"),
            ("/%3Aid", "/:id"),
            ("/%7B%7D", "/{}"),
        ],
    )
    def test_a_hit(self, template: str, path: str) -> None:
        assert matches(template, path)

    @pytest.mark.parametrize(
        ("template", "path"),
        [
            ("/hosts", "/Hosts"),
            ("/hosts", "hosts"),
            ("/hosts", ""),
            ("/hosts", "/hosts?x=1"),
            ("/hosts/{}", "/hosts"),
            ("/hosts/{}", "/hosts/a/b"),
            ("/hosts/{}", "/hosts/a?b"),
            ("/hosts/{}", "/hosts/a#b"),
            ("/hosts/{}", "/hosts/a\n"),
            ("/hosts/{}", "/hosts/\ud800"),
            ("/files/{}.json", "/files/.json"),
            ("/files/{}.json", "/files/a.jso"),
            ("/a/{}-{}", "/a/x-"),
            ("/a/{}-{}", "/a/-y"),
            ("/a/{}{}", "/a/x"),
            ("/a/{}aa{}", "/a/aaa"),
            ("/a/x{}x", "/a/x"),
            ("/a/x{}x", "/a/xx"),
            ("/{}A{}", "/xéy"),
            ("/%7B%7D", "/x"),
        ],
    )
    def test_a_miss(self, template: str, path: str) -> None:
        assert not matches(template, path)

    @pytest.mark.parametrize("path", ["/hosts/", "/hosts//", "//hosts", "/hosts//report"])
    def test_an_empty_segment_is_no_parameter(self, path: str) -> None:
        assert not matches("/hosts/{}", path)
        assert not matches("/{}/{}", path)
        assert not matches("/hosts/{}/report", path)

    @pytest.mark.parametrize(
        "value",
        ["..", ".", "%2e%2e", ".%2E", "%2e", "x%2Freport", "x%2f", "x%5creport", "x\\y", "x%00"],
    )
    def test_what_servers_may_route_elsewhere_is_no_parameter(self, value: str) -> None:
        assert not matches("/hosts/{}", f"/hosts/{value}")

    def test_nothing_is_tried_twice(self) -> None:
        # Backtracking would never come to an end.
        assert not matches(shape("/" + "{x}a" * 127), "/" + "a" * 100_000 + "b")
        assert not matches("/a/{}", "/a" * 100_000)


# --- Search -------------------------------------------------------------------------------------

REPORT = endpoint("GET", "/hosts/{host_id}/report", "Read the report of a host")
HOSTS = endpoint("GET", "/hosts", "List hosts")
FILE = endpoint("GET", "/Files/<name>.json/", "Download")
BATCH = endpoint("POST", "/v1/things:batch", "Straße")
CATALOGUE = (REPORT, HOSTS, FILE, BATCH)


class TestSearch:
    @pytest.mark.parametrize(
        "query",
        [
            "/hosts/:id/report",
            "/hosts/{id}/report",
            "/hosts/{}/report",
            "/hosts/<int:pk>/report",
            "/hosts/{host_id}/report/",
            "hosts/:id/report",
            "osts/{id}/rep",
            "hosts/{id}",
            "hosts/:id/",
            "/:id/report",
            ":id/report",
            "/HOSTS/:Id/Report",
            "  /hosts/:id  ",
            "{host_",
            "hosts/{host",
            "%68osts/:id",
        ],
    )
    def test_f4_the_names_of_parameters_do_not_matter(self, query: str) -> None:
        assert search(CATALOGUE, query) == (REPORT,)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", CATALOGUE),
            (" ", CATALOGUE),
            ("HOST", (REPORT, HOSTS)),
            ("report of", (REPORT,)),
            ("list", (HOSTS,)),
            ("/hosts", (REPORT, HOSTS)),
            ("/hosts/", (REPORT, HOSTS)),
            ("files/:x.JSON", (FILE,)),
            ("/files/{a}.json/", (FILE,)),
            ("things:b", (BATCH,)),
            ("v1/:x", ()),
            ("STRASSE", (BATCH,)),
            ("/hosts/:id/:x", ()),
            ("/hosts/1/report", ()),
            ("/hosts?x", ()),
            ("nothing", ()),
            ("/{", (REPORT,)),
            ("/x/{", ()),
            ("a/\ud800", ()),
            ("a/\x00", ()),
            ("%", ()),
            ("_", (REPORT,)),
        ],
    )
    def test_f4_by_name_and_path_in_any_case(
        self, query: str, expected: tuple[Endpoint, ...]
    ) -> None:
        assert search(CATALOGUE, query) == expected

    @PROPERTY
    @given(st.text(max_size=30))
    def test_any_query_is_answered(self, query: str) -> None:
        assert set(search(CATALOGUE, query)) <= set(CATALOGUE)

    @PROPERTY
    @given(st.integers(0, len(REPORT.path)), st.integers(0, len(REPORT.path)))
    def test_f4_any_part_of_a_path_finds_it(self, start: int, end: int) -> None:
        assert REPORT in search(CATALOGUE, REPORT.path[start:end])


# --- Which endpoint a call hits -----------------------------------------------------------------


def paths(found: Sequence[Endpoint]) -> list[str]:
    return [f"{item.service} {item.method} {item.path}" for item in found]


class TestBestMatch:
    def test_literal_segments_beat_parameters(self) -> None:
        known = [endpoint("GET", "/hosts/{id}"), endpoint("GET", "/hosts/mine")]
        for order in (known, known[::-1]):
            assert paths(best_match(order, "GET", "/hosts/mine")) == ["assets GET /hosts/mine"]
            assert paths(best_match(order, "GET", "/hosts/7")) == ["assets GET /hosts/{id}"]

    def test_leftmost_first(self) -> None:
        known = [endpoint("GET", "/{a}/b/c"), endpoint("GET", "/a/{b}/{c}")]
        for order in (known, known[::-1]):
            assert paths(best_match(order, "GET", "/a/b/c")) == ["assets GET /a/{b}/{c}"]

    def test_text_beside_a_parameter_beats_a_parameter_alone(self) -> None:
        known = [
            endpoint("GET", "/f/{x}"),
            endpoint("GET", "/f/{x}.gz"),
            endpoint("GET", "/f/{x}.tar.gz"),
            endpoint("GET", "/f/{x}-{y}"),
        ]
        for order in (known, known[::-1]):
            found = best_match(order, "GET", "/f/a-b.tar.gz")
            assert paths(found) == ["assets GET /f/{x}.tar.gz"]

    def test_one_of_each_service(self) -> None:
        known = [
            endpoint("GET", "/hosts/{id}", service="fleet"),
            endpoint("GET", "/hosts/{id}"),
            endpoint("GET", "/hosts/7"),
            endpoint("POST", "/hosts/7", service="other"),
        ]
        assert paths(best_match(known, "GET", "/hosts/7")) == [
            "assets GET /hosts/7",
            "fleet GET /hosts/{id}",
        ]

    def test_a_tenants_service_is_not_another_tenants(self) -> None:
        here = endpoint("GET", "/hosts/{id}")
        above = replace(endpoint("GET", "/hosts/7"), tenant_id="above")
        assert best_match([here, above], "GET", "/hosts/7") == (above, here)

    def test_head_falls_back_to_get(self) -> None:
        get, head = endpoint("GET", "/hosts/{id}"), endpoint("HEAD", "/hosts/{id}")
        assert best_match([get], "HEAD", "/hosts/7") == (get,)
        assert best_match([get, head], "HEAD", "/hosts/7") == (head,)
        assert best_match([get, head], "GET", "/hosts/7") == (get,)
        assert best_match([head], "GET", "/hosts/7") == ()

    def test_head_of_a_more_specific_get(self) -> None:
        get, head = endpoint("GET", "/hosts/mine"), endpoint("HEAD", "/hosts/{id}")
        assert best_match([head, get], "HEAD", "/hosts/mine") == (get,)

    def test_f5_what_is_not_in_the_catalogue_matches_nothing(self) -> None:
        known = [endpoint("GET", "/hosts/{id}")]
        for method, path in [("POST", "/hosts/7"), ("GET", "/hosts"), ("GET", "/hosts/a%2Fb")]:
            assert best_match(known, method, path) == ()
        assert best_match([], "GET", "/") == ()

    def test_methods_in_any_case(self) -> None:
        assert best_match([HOSTS], "get", "/hosts/") == (HOSTS,)
        assert answering("head") == {"HEAD", "GET"}
        assert answering("POST") == {"POST"}
        assert "TRACE" not in METHODS


class TestWhatOthersReadDifferently:
    """Servers that know no case, cut at semicolons, or drop dots must not see another endpoint."""

    HITS = (endpoint("GET", "/assets/{id}"), endpoint("GET", "/assets/admin"))

    @pytest.mark.parametrize(
        "path",
        [
            "/assets/ADMIN",
            "/assets/admin.",
            "/assets/admin%20",
            "/assets/admin;x=1",
            "/assets/a%3Bb",
        ],
    )
    def test_hit_nothing(self, path: str) -> None:
        assert best_match(self.HITS, "GET", path) == ()

    @pytest.mark.parametrize("path", ["/assets/Crane-7", "/assets/v1.", "/assets/administrator"])
    def test_other_names_are_parameters(self, path: str) -> None:
        assert [hit.path for hit in best_match(self.HITS, "GET", path)] == ["/assets/{id}"]
