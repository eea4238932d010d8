"""Paths of HTTP calls: the shape in which they are compared, and which endpoint a call hits.

A path is compared by its shape: percent-encoding made uniform (RFC 3986, 6.2.2), no slash at the
end, and `{}` for every parameter, however it is written (`{id}`, `<int:id>`, `:id`).

The service and the library for resource servers both go by this module: a resource server must
never see another endpoint in a call than the service does.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar
from urllib.parse import quote, unquote_to_bytes

#: The permissions that open an endpoint: any group, held wholly. `()` opens for nobody (nothing is
#: known of it), a group without permissions for everybody who is authenticated.
Opening = tuple[frozenset[str], ...]

#: Of a path, in characters, as it is written and as a shape.
MAX_PATH = 512
MAX_SEGMENTS = 32

_PARAMETER = re.compile(r"\{[^{}]*\}|<[^<>{}]*>")
_COLON_PARAMETER = re.compile(r":[A-Za-z_][A-Za-z0-9_-]*")
_LEFT_OVER = re.compile(r"[{}<>]")
# What may stand unencoded in a segment (RFC 3986, 3.3), beside letters, digits and `-._~`.
_SAFE = "!$&'()*+,;=:@"
# Servers disagree whether such a segment is one: some decode %2F, or take a backslash for a slash,
# before they route. Where they could see another path than the one compared here, nothing matches.
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f/\\]")
_NO_SEGMENT = frozenset({b"", b".", b".."})
# In a call. Some servers cut a segment at its semicolon before they route.
_UNSAFE_CALL = re.compile(rb"[\x00-\x1f\x7f/\\;]")


class NotAPath(ValueError):
    """A text that no path may be."""


class Matchable(Protocol):
    """An endpoint that a call can hit. `shape` is its path's."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def shape(self) -> str: ...


T = TypeVar("T", bound=Matchable)


def opens(opened_by: Opening, permissions: frozenset[str]) -> bool:
    """Whether somebody who holds `permissions` may call an endpoint opened by `opened_by`."""
    return any(group <= permissions for group in opened_by)


def shape(path: str) -> str:
    """The form in which paths are compared: `/hosts/:id/` and `/hosts/{host}` → `/hosts/{}`.

    A colon begins a parameter at a segment's start only (`/things:batch` has none). A shape is its
    own shape. Raises NotAPath: no slash at the start, a query, a fragment, white space, unpaired
    braces, empty or dot segments, an encoded slash, or too long.
    """
    if not path.startswith("/") or len(path) > MAX_PATH or not _plain(path) or " " in path:
        raise NotAPath
    canonical = [text for text in map(_canonical, _split(path)) if text is not None]
    result = "/" + "/".join(canonical)
    if not segments(path) == len(canonical) <= MAX_SEGMENTS or len(result) > MAX_PATH:
        raise NotAPath
    return result


def segments(path: str) -> int:
    """How many segments a path or shape has. Only paths with as many can match it."""
    return len(_split(path))


def matches(template: str, concrete_path: str) -> bool:
    """Whether a request for `concrete_path` (percent-encoded, no query) hits the shape `template`.

    A parameter stands for one character or more of one segment. Takes time linear in the lengths.
    """
    concrete = _decoded(concrete_path)
    return concrete is not None and _fits(template, concrete)


def answering(method: str) -> frozenset[str]:
    """The methods whose endpoints answer a request: GET also answers HEAD (RFC 9110, 9.3.2)."""
    asked = method.upper()
    return frozenset({asked, "GET"} if asked == "HEAD" else {asked})


def best_match(endpoints: Iterable[T], method: str, path: str) -> tuple[T, ...]:
    """What a request hits: of each tenant's each service the most specific endpoint.

    Literal segments beat parameters, the leftmost difference decides (OpenAPI: concrete paths are
    matched before templated ones); text beside a parameter beats a parameter alone.
    """
    concrete = _decoded(path)
    if concrete is None:
        return ()
    methods = answering(method)
    candidates = [endpoint for endpoint in endpoints if endpoint.method in methods]
    best = _best(candidates, method, concrete, str)
    loose = [_loosely(segment) for segment in concrete]
    if loose != concrete:
        # Where a server could see a literal, a parameter is not what it says.
        other = _best(candidates, method, loose, str.lower)
        best = {at: hit for at, hit in best.items() if at in other and other[at] is hit}
    return tuple(best[service] for service in sorted(best))


def _best(
    endpoints: Iterable[T], method: str, concrete: Sequence[bytes], read: Callable[[str], str]
) -> dict[tuple[str, str], T]:
    """Of each tenant's each service the most specific endpoint, its shape as `read` has it."""
    best: dict[tuple[str, str], tuple[_Rank, T]] = {}
    for endpoint in endpoints:
        if not _fits(read(endpoint.shape), concrete):
            continue
        service = (endpoint.service, endpoint.tenant_id)
        rank = _rank(endpoint.shape, endpoint.method != method.upper())
        if service not in best or rank < best[service][0]:
            best[service] = (rank, endpoint)
    return {service: hit for service, (_, hit) in best.items()}


# Smaller is more specific.
_Rank = tuple[tuple[tuple[int, int], ...], bool, str]


def _rank(template: str, falls_back: bool) -> _Rank:
    places = []
    for pattern in _split(template):
        parameters = pattern.count("{}")
        places.append((1, 2 * parameters - len(pattern)) if parameters else (0, 0))
    return tuple(places), falls_back, template


def _plain(path: str) -> bool:
    """No control characters, no lone surrogates, neither query nor fragment."""
    return path.isprintable() and "?" not in path and "#" not in path


def _split(path: str) -> list[str]:
    """The segments of a path or shape; a slash at the end is none."""
    return path.removesuffix("/").split("/")[1:]


# A catalogue has few different segments, and compares all of them at once.
@lru_cache(maxsize=8192)
def _canonical(segment: str) -> str | None:
    """A segment of a shape, or None when it is no segment."""
    if unquote_to_bytes(segment) in _NO_SEGMENT or any(
        _LEFT_OVER.search(literal) or _UNSAFE.search(unquote_to_bytes(literal))
        for literal in _literals(segment)
    ):
        return None
    return reduced(segment)


def reduced(segment: str) -> str:
    """A segment as it stands in a shape, whether or not it may."""
    literals = (quote(unquote_to_bytes(literal), safe=_SAFE) for literal in _literals(segment))
    reduced = "{}".join(literals)
    # A colon written out would begin a parameter when the shape is read again.
    return "%3A" + reduced[1:] if reduced.startswith(":") else reduced


def _literals(segment: str) -> list[str]:
    """What stands before, between and behind the parameters; one item when there is none."""
    leading = _COLON_PARAMETER.match(segment)
    return _PARAMETER.split("{}" + segment[leading.end() :] if leading else segment)


def _decoded(concrete_path: str) -> list[bytes] | None:
    """The segments of a request's path; None when no endpoint can be told from it safely."""
    if not concrete_path.startswith("/") or not _plain(concrete_path):
        return None
    decoded = [unquote_to_bytes(segment) for segment in _split(concrete_path)]
    if any(segment in _NO_SEGMENT or _UNSAFE_CALL.search(segment) for segment in decoded):
        return None
    return decoded


def _loosely(segment: bytes) -> bytes:
    """As servers read it that know no case, or drop dots and spaces at the end (Windows)."""
    return segment.lower().rstrip(b". ")


def _fits(template: str, concrete: Sequence[bytes]) -> bool:
    patterns = _split(template)
    return len(patterns) == len(concrete) and all(map(_segment_fits, patterns, concrete))


def _segment_fits(pattern: str, segment: bytes) -> bool:
    """Each literal is taken where it comes first: that leaves most for the ones behind it."""
    first, *others = (unquote_to_bytes(text) for text in pattern.split("{}"))
    if not others:
        return segment == first
    if not segment.startswith(first):
        return False
    *between, last = others
    end = len(first)
    for literal in between:
        start = segment.find(literal, end + 1)
        if start < 0:
            return False
        end = start + len(literal)
    return end + 1 + len(last) <= len(segment) and segment.endswith(last)
