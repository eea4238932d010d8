"""Which errors of the drivers are faults, and what becomes of them (promise P5).

A fault is `Unavailable`: the database cannot answer now, and another try may succeed. Broken
constraints stay `sqlalchemy.exc.IntegrityError` (repositories use ON CONFLICT where a port
names an outcome), and mistakes in the SQL stay what they are: a 503 would hide them.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc

from ..domain.errors import Contended, KeyturnError, Unavailable
from ..reasons import unreachable

# SQLSTATE classes that blame the statement, not the server: no data, cardinality, data,
# integrity, syntax and access.
_STATEMENT_FAULTS = ("02", "21", "22", "23", "42")

_FOREIGN_KEY = "23503"

# A deadlock, a serialization failure, a lock not had in time: the loser was rolled back.
_CONTENDED = ("40P01", "40001", "55P03")

# SQLite's result codes for a wrong statement: ERROR, CONSTRAINT, MISMATCH, MISUSE, RANGE.
_SQLITE_STATEMENT_FAULTS = (1, 19, 20, 21, 25)

# CORRUPT and NOTADB; and IOERR_SHORT_READ, of a file that ends within a page.
_SQLITE_DAMAGE, _SHORT_READ = (11, 26), 522

_SQLITE_ERRORS = (sqlite3.Error, OSError, TimeoutError)


@contextmanager
def translated() -> Iterator[None]:
    """Turns faults raised inside into `Unavailable`; lets all others pass.

    Wrap single database calls, never a caller's code: its own OSError is not ours to judge.
    The detail names the error's type and code only. Messages may quote values.
    """
    try:
        yield
    except exc.StatementError as error:
        # Column types refuse values by raising (columns.Text); SQLAlchemy wraps that.
        if isinstance(error.orig, KeyturnError):
            raise error.orig from None
        if error.orig is None or not is_fault(error.orig):
            raise
        raise _unavailable(error.orig) from error
    except exc.TimeoutError as error:
        raise Unavailable("no database connection became free in time") from error
    except _driver_errors() as error:
        if not is_fault(error):
            raise
        raise _unavailable(error) from error


def _unavailable(error: BaseException) -> Unavailable:
    lost = getattr(_of_driver(error), "sqlstate", None) in _CONTENDED
    return (Contended if lost else Unavailable)(_describe(error))


@contextmanager
def connecting(where: str, database: str) -> Iterator[None]:
    """Turns faults of opening a connection into `Unavailable`, in words for who set it up.

    Wrap the driver's connecting alone. `where` is host and port. The drivers' own messages name
    the user.
    """
    import asyncpg  # not for who uses SQLite

    try:
        yield
    except _driver_errors() as error:
        if not is_fault(error):
            raise
        server = where or "PostgreSQL"
        named = f'"{database}"' if database else "named like its user"
        match error:
            case asyncpg.InvalidCatalogNameError():
                create = f" (createdb {database})" if database else ""
                why = f"the database {named} does not exist on {server}{create}"
            case asyncpg.InvalidPasswordError():
                why = f"{server} refused the password for the database {named}"
            case asyncpg.InvalidAuthorizationSpecificationError():
                why = f"{server} lets this user not into the database {named}"
            case asyncpg.TooManyConnectionsError():
                why = f"{server} has no more connections to give"
            case asyncpg.TargetServerAttributeNotMatched():
                why = f"{server} takes no writes"
            case _:
                why = unreachable(server, error) or f"{server}: {_describe(error)}"
        raise Unavailable(why) from error


def is_damage(error: BaseException) -> bool:
    """Whether `Unavailable` was raised for an SQLite file that is not whole, or none at all."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and (code == _SHORT_READ or code & 0xFF in _SQLITE_DAMAGE)


def is_fault(error: BaseException) -> bool:
    """Whether a driver's error says that the database cannot answer now."""
    driver = _of_driver(error)
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", None)
        if code is None:
            return isinstance(driver, sqlite3.OperationalError)
        return (code & 0xFF) not in _SQLITE_STATEMENT_FAULTS
    state = getattr(driver, "sqlstate", None)
    if state == _FOREIGN_KEY:
        return True  # What it names was deleted at the same time: the next try will see that.
    if isinstance(state, str):
        # A prepared statement under which the schema moved is none of these (0A000): the next
        # try prepares anew.
        return not state.startswith(_STATEMENT_FAULTS)
    # asyncpg's own refusals of a parameter are ValueErrors, too; those are mistakes.
    return not isinstance(driver, ValueError | TypeError)


def _describe(error: BaseException) -> str:
    driver = _of_driver(error)
    code = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None)
    return f"database: {type(driver).__name__}" + (f" ({code})" if code else "")


def _of_driver(error: BaseException) -> BaseException:
    """What SQLAlchemy's adapter wrapped, or the error itself."""
    cause = error.__cause__
    return cause if isinstance(cause, _driver_errors()) else error


def _driver_errors() -> tuple[type[BaseException], ...]:
    asyncpg: Any = sys.modules.get("asyncpg")
    if asyncpg is None:  # who was not imported has raised nothing
        return _SQLITE_ERRORS
    return (
        *_SQLITE_ERRORS,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )
