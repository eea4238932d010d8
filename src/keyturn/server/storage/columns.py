"""Column types, the database's clock, lists in JSON: the same Python values on both dialects."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CHAR, JSON, Boolean, ColumnElement, DateTime, String, case
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..domain.errors import invalid_request
from ..domain.ids import parse_id


class Id(TypeDecorator[str]):
    """A UUID: native on PostgreSQL, 36 letters on SQLite, canonical text in Python.

    Raises Refusal `invalid_request` for a parameter that is no UUID, so that both dialects
    treat it alike.
    """

    impl = CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Native UUIDs take 16 bytes instead of 37, in every index."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(UUID(as_uuid=False))
        return dialect.type_descriptor(CHAR(36))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The canonical form."""
        if value is None:
            return None
        canonical = parse_id(value)
        if canonical is None:
            raise invalid_request("An id is malformed.")
        return canonical


def storable(text: str) -> bool:
    """Whether both databases take `text`: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


class Text(TypeDecorator[str]):
    """Text that both databases can keep.

    PostgreSQL refuses NUL and lone surrogates, SQLite half-accepts them. Raises Refusal
    `invalid_request`, so that such input is a caller's fault on both, and never a 500.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """`value` itself."""
        if value is not None and not storable(value):
            raise invalid_request("A text has characters that cannot be stored.")
        return value


class Ordered(Text):
    """Text that sorts by its code points on both databases: what pages are read in order of.

    PostgreSQL would sort by its locale, and could not seek a prefix in an index.
    """

    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite compares bytes anyway."""
        length = self._length
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(length, collation=collation))


class UtcDateTime(TypeDecorator[datetime]):
    """Aware times in UTC, to the microsecond. Raises ValueError for naive ones.

    SQLite keeps them as text of fixed width, so that they compare and sort as times do.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The same instant, in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The same instant, aware."""
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def json_type() -> TypeEngine[Any]:
    """JSON: binary on PostgreSQL (it has operators), text on SQLite. None is NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads like the SQL function it is
    """The database's time, where two nodes must agree: microseconds, on SQLite milliseconds."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(db_now, "postgresql")
def _postgres_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    # Not now(): that is the transaction's begin, which may lie seconds back.
    return "clock_timestamp()"


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    # %f is seconds with three decimals; the zeros make it as wide as UtcDateTime's texts.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def greater(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greater of two. PostgreSQL says greatest(), SQLite max(); CASE is both."""
    return case((one > other, one), else_=other)


class lists_any(FunctionElement[bool]):  # noqa: N801 - reads like the SQL function it is
    """Whether a column's JSON list has any of the texts of another (given as JSON text)."""

    type = Boolean()
    inherit_cache = True


@compiles(lists_any, "postgresql")
def _postgres_lists_any(element: lists_any, compiler: SQLCompiler, **kw: Any) -> str:
    column, texts = (compiler.process(clause, **kw) for clause in element.clauses)
    # An operator, and not EXISTS: a GIN index answers it.
    return f"({column} ?| ARRAY(SELECT jsonb_array_elements_text(CAST({texts} AS jsonb))))"


@compiles(lists_any, "sqlite")
def _sqlite_lists_any(element: lists_any, compiler: SQLCompiler, **kw: Any) -> str:
    column, texts = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"EXISTS (SELECT 1 FROM json_each({column}) AS listed "  # noqa: S608 - bound by SQLAlchemy
        f"WHERE listed.value IN (SELECT value FROM json_each({texts})))"
    )
