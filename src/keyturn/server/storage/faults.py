"""Which errors of the drivers are faults, and what becomes of them (promise P5).

A fault is `Unavailable`: the database cannot answer now, and another try may succeed. Broken
constraints stay `sqlalchemy.exc.IntegrityError` (repositories use ON CONFLICT where a port
names an outcome), and mistakes in the SQL stay what they are: a 503 would hide them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy import exc

from ..domain.errors import KeyturnError, Unavailable

# SQLSTATE classes that blame the statement, not the server: no data, cardinality, data,
# integrity, syntax and access.
_STATEMENT_FAULTS = ("02", "21", "22", "23", "42")

_FOREIGN_KEY = "23503"

# SQLite's result codes for a wrong statement: ERROR, CONSTRAINT, MISMATCH, MISUSE, RANGE.
_SQLITE_STATEMENT_FAULTS = (1, 19, 20, 21, 25)


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
        raise Unavailable(_describe(error.orig)) from error
    except exc.TimeoutError as error:
        raise Unavailable("no database connection became free in time") from error
    except _DRIVER_ERRORS as error:
        if not is_fault(error):
            raise
        raise Unavailable(_describe(error)) from error


def is_fault(error: BaseException) -> bool:
    """Whether a driver's error says that the database cannot answer now."""
    driver = error.__cause__ if isinstance(error.__cause__, _DRIVER_ERRORS) else error
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", None)
        if code is None:
            return isinstance(driver, sqlite3.OperationalError)
        return (code & 0xFF) not in _SQLITE_STATEMENT_FAULTS
    if isinstance(driver, asyncpg.InvalidCachedStatementError):
        return True  # The schema moved under a prepared statement: the next try prepares anew.
    state = getattr(driver, "sqlstate", None)
    if state == _FOREIGN_KEY:
        return True  # What it names was deleted at the same time: the next try will see that.
    if isinstance(state, str):
        return not state.startswith(_STATEMENT_FAULTS)
    # asyncpg's own refusals of a parameter are ValueErrors, too; those are mistakes.
    return not isinstance(driver, ValueError | TypeError)


def _describe(error: BaseException) -> str:
    driver = error.__cause__ if isinstance(error.__cause__, _DRIVER_ERRORS) else error
    code = getattr(driver, "sqlstate", None) or getattr(driver, "sqlite_errorname", None)
    return f"database: {type(driver).__name__}" + (f" ({code})" if code else "")


_DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    sqlite3.Error,
    OSError,
    TimeoutError,
)
