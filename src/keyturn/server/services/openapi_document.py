"""Reads a resource server's OpenAPI document (3.0 or 3.1): its endpoints, and what opens them.

Only what the catalogue keeps is read; webhooks and callbacks are nobody's to call. The document is
a stranger's: nothing recurses, and a part that many places refer to is read in bounded time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from ...paths import MAX_PATH, Opening
from ..domain.endpoints import FOR_ALL, MAX_OPENING, METHODS, check_opening, shape
from ..domain.errors import Refusal, invalid_request
from ..domain.permissions import is_permission

MAX_OPERATIONS = 5_000  # and paths
MAX_TEXT = 200  # of a name, a title and a refusal's field, in characters
_MAX_REFERENCES = 8  # from one path item to the next
_MAX_REFERENCE = 1_000  # characters
_VERSION = re.compile(r"3\.[01](\.[0-9]+)?")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_NOT_IN_A_FIELD = re.compile(r"[^A-Za-z0-9_./{}:$-]")
_UNSTABLE = frozenset({"experimental", "alpha", "beta"})
# What is read of a path item.
_ITEM = (
    *(method.lower() for method in METHODS),
    *("servers", "x-permissions", "x-permission", "x-administrative"),
    *("x-experimental", "x-stability", "x-stability-level"),
)

_NO_DOCUMENT = "This is no OpenAPI document of version 3.0 or 3.1."
_WRONG = "This part of the document is missing, or not of the right type."
_REFERENCE = "This reference leads nowhere, or on to too many others."
_TWICE = "The document has this method and path twice; the names of parameters do not matter."
_TOO_MANY = f"The document has more than {MAX_OPERATIONS} paths or operations."
_TOO_MANY_PERMISSIONS = "There are too many permissions for one operation."
_PERMISSIONS = (
    'x-permissions is a permission, a list of which any one opens, {"any_of": [...]} whose items '
    'are permissions or lists held wholly, or {"all_of": [...]}. Only all_of may be empty: it '
    "opens for everybody who is authenticated."
)
_UNDECLARED = "no permissions are declared, so it opens for nobody."
_NO_SCOPES = "a security requirement without scopes says nothing of permissions; it opens nothing."
_NO_PERMISSIONS = "a security requirement has scopes that are no permissions; it opens nothing."


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of the document. `path` has the server's base path before it."""

    method: str
    path: str
    name: str
    opened_by: Opening
    deprecated: bool
    experimental: bool
    administrative: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """What a document says. `warnings` name what could not be taken from it, and where."""

    title: str
    endpoints: tuple[Described, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the document, and the way to it; its readers refuse what has another type."""

    value: object
    way: tuple[str | int, ...] = ()

    def members(self) -> Mapping[str, object]:
        if not isinstance(self.value, dict):
            raise self.refused()
        return self.value

    def member(self, name: str) -> "_Part | None":
        members = self.members()
        return _Part(members[name], (*self.way, name)) if name in members else None

    def needed(self, name: str) -> "_Part":
        return _Part(self.members().get(name), (*self.way, name))

    def named(self) -> Iterator[tuple[str, "_Part"]]:
        for name, value in self.members().items():
            # A parser of YAML may have made numbers of names.
            yield _Part(name, self.way).text(), _Part(value, (*self.way, name))

    def items(self) -> list[object]:
        if not isinstance(self.value, list):
            raise self.refused()
        return self.value

    def text(self, at_most: int | None = None) -> str:
        if not isinstance(self.value, str) or (at_most and len(self.value) > at_most):
            raise self.refused()
        return self.value

    @property
    def field(self) -> str:
        way = ".".join(str(name)[:MAX_TEXT] for name in self.way)
        return _NOT_IN_A_FIELD.sub("", way)[:MAX_TEXT]

    def refused(self, public: str = _WRONG) -> Refusal:
        return invalid_request(public, field=self.field)


# Who may say something, the nearest first: operation, path item, document.
_Levels = tuple[_Part, ...]


def read_openapi(document: object) -> Imported:
    """Reads a parsed OpenAPI 3.0 or 3.1 document.

    An operation without any declared permission opens for nobody, and there is a warning.

    Raises Refusal `invalid_request` when it is no such document, has more than MAX_OPERATIONS
    paths or operations, or has a method and path twice; `field` is the part at fault.
    """
    root = _Part(document if isinstance(document, dict) else {})
    version = root.needed("openapi")
    if not isinstance(version.value, str) or not _VERSION.fullmatch(version.value):
        raise version.refused(_NO_DOCUMENT)
    title = _clean(root.needed("info").needed("title").text())
    warnings: list[str] = []
    endpoints: dict[tuple[str, str], Described] = {}
    for method, path, levels in _operations(root, warnings):
        operation = levels[0]
        described = _described(method, _base_path(levels) + path, levels, warnings)
        key = (method, shape(described.path, field=operation.field))
        if key in endpoints:
            raise operation.refused(_TWICE)
        endpoints[key] = described
        if len(endpoints) > MAX_OPERATIONS:
            raise operation.refused(_TOO_MANY)
    if not endpoints:
        warnings.append("The document describes no operations.")
    return Imported(title, tuple(endpoints.values()), tuple(warnings))


def _operations(root: _Part, warnings: list[str]) -> Iterator[tuple[str, str, _Levels]]:
    """Method, path, and who says something of it; paths in the document's order."""
    paths = root.member("paths") or _Part({})  # 3.1 may have none
    if len(paths.members()) > MAX_OPERATIONS:
        raise paths.refused(_TOO_MANY)
    for path, part in paths.named():
        if path.startswith("x-"):
            continue
        shape(path, field=part.field)
        item, whole = _path_item(root, part)
        if not whole:
            warnings.append(f"{path}: a reference to another document is not followed.")
        for method in METHODS:
            operation = item.member(method.lower())
            if operation is not None:
                operation.members()
                yield method, path, (operation, item, root)


def _path_item(root: _Part, part: _Part) -> tuple[_Part, bool]:
    """What is read of a path item and of those it refers to, and whether all could be followed.

    What stands beside a `$ref` goes before what it leads to.
    """
    merged: dict[str, object] = {}
    item = part
    for _ in range(_MAX_REFERENCES + 1):
        members = item.members()
        for name in _ITEM:
            if name in members:
                merged.setdefault(name, members[name])
        reference = item.member("$ref")
        if reference is None or not reference.text().startswith("#"):
            return _Part(merged, part.way), reference is None
        item = _Part(_pointed_at(root, reference), part.way)
    raise part.refused(_REFERENCE)


def _pointed_at(root: _Part, reference: _Part) -> object:
    """RFC 6901, 6: a JSON pointer in a fragment; only through objects."""
    start, *tokens = unquote(reference.text(_MAX_REFERENCE)).split("/")
    value = root.value if start == "#" else None
    for token in tokens:
        name = token.replace("~1", "/").replace("~0", "~")
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        raise reference.refused(_REFERENCE)
    return value


def _described(method: str, path: str, levels: _Levels, warnings: list[str]) -> Described:
    operation = levels[0]
    name = f"{method} {path}"
    opened_by, doubts = _opened_by(levels)
    warnings.extend(f"{name}: {doubt}" for doubt in doubts)
    for key in ("operationId", "summary"):
        told = operation.member(key)
        name = (told and _clean(told.text())) or name
    stabilities = [_nearest(levels, key) for key in ("x-stability", "x-stability-level")]
    unstable = [part.text(MAX_TEXT).lower() in _UNSTABLE for part in stabilities if part]
    return Described(
        method,
        path,
        name[:MAX_TEXT],
        opened_by,
        deprecated=_flag((operation,), "deprecated"),
        experimental=_flag(levels, "x-experimental") or any(unstable),
        administrative=_flag(levels, "x-administrative"),
    )


def _base_path(levels: _Levels) -> str:
    """The path of the first server, from the nearest place that names one; no slash at its end."""
    found = (level.member("servers") for level in levels)
    servers = next((part for part in found if part and part.items()), None)
    if servers is None:
        return ""
    server = _Part(servers.items()[0], (*servers.way, 0))
    url = server.needed("url")

    def default(variable: re.Match[str]) -> str:
        told = server.needed("variables").needed(variable[1])
        return told.needed("default").text(MAX_PATH)

    try:
        # A relative one is relative to where the document lies; that is taken for the root.
        whole = urljoin("https://document/", _VARIABLE.sub(default, url.text(MAX_PATH)))
        return urlsplit(whole).path.rstrip("/")
    except ValueError as error:
        raise url.refused() from error


def _opened_by(levels: _Levels) -> tuple[Opening, Sequence[str]]:
    """What opens an operation, and what remains doubtful about it."""
    stated = _nearest(levels, "x-permissions", "x-permission")
    if stated:
        return _stated(stated), ()
    operation, *_, root = levels
    security = _nearest((operation, root), "security")
    if security and security.items():
        return _secured(security)
    # On an operation an empty list says that nothing is needed; on the document nothing at all.
    return (FOR_ALL, ()) if operation.member("security") else ((), (_UNDECLARED,))


def _stated(part: _Part) -> Opening:
    """What the extension `x-permissions` says; `x-permission` is the same."""
    value = part.value
    if value == {"all_of": []}:
        return FOR_ALL
    if isinstance(value, dict) and len(value) == 1:
        value = value.get("any_of") or [value.get("all_of")]
    # One more than may be is enough to tell that there are too many.
    alternatives = value[: MAX_OPENING + 1] if isinstance(value, list) else [value]
    groups = [group if isinstance(group, list) else [group] for group in alternatives]
    if not groups or not all(groups):
        raise part.refused(_PERMISSIONS)
    if len(groups) + sum(map(len, groups)) > MAX_OPENING:
        raise part.refused(_TOO_MANY_PERMISSIONS)
    names = [[_Part(name, part.way).text() for name in group] for group in groups]
    return check_opening(names, part.field)


def _secured(security: _Part) -> tuple[Opening, Sequence[str]]:
    """What security requirements say: all scopes (or roles) of one, for all its schemes, open."""
    groups: list[list[str]] = []
    doubts: list[str] = []
    size = 0
    for number, alternative in enumerate(security.items()):
        group: list[str] = []
        size += 1
        schemes = _Part(alternative, (*security.way, number))
        for _, scopes in schemes.named():
            size += 1 + len(scopes.items())
            if size > MAX_OPENING:
                raise security.refused(_TOO_MANY_PERMISSIONS)
            group += [_Part(scope, scopes.way).text() for scope in scopes.items()]
        if schemes.value and not group:
            doubts.append(_NO_SCOPES)
        elif not all(map(is_permission, group)):
            doubts.append(_NO_PERMISSIONS)
        else:
            groups.append(group)
    opened_by = check_opening(groups, security.field)
    return opened_by, () if frozenset() in opened_by else tuple(dict.fromkeys(doubts))


def _nearest(levels: _Levels, *names: str) -> _Part | None:
    """What the nearest place says under one of `names`."""
    found = (level.member(name) for level in levels for name in names)
    return next((part for part in found if part), None)


def _flag(levels: _Levels, name: str) -> bool:
    part = _nearest(levels, name) or _Part(False)
    if not isinstance(part.value, bool):
        raise part.refused()
    return part.value


def _clean(text: str) -> str:
    """On one line, without control characters, at most MAX_TEXT characters."""
    words = " ".join(text[: 5 * MAX_TEXT].split())
    return "".join(filter(str.isprintable, words))[:MAX_TEXT].strip()
