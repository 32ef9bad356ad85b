"""From asyncpg's exceptions to ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import asyncpg

from dataflow.databases import failures

#: SQLSTATE classes and codes that a retry of the transaction may cure.
_TRANSIENT = ("40", "55P03")
#: The server is gone, going, not there yet, or full: connection failure, operator intervention, too many connections.
_UNAVAILABLE = ("08", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "53300")

#: A prepared statement does not exist, exists already, or takes other values: a pooler gave us another connection.
_LOST_STATEMENT = {"26000", "42P05", "08P01"}

_OUTDATED = (
    asyncpg.InvalidBinaryRepresentationError,
    asyncpg.DatatypeMismatchError,
    asyncpg.UndefinedFunctionError,
)

_KEY = re.compile(r"Key \((?P<fields>.+?)\)=\(")
_REFERENCED = re.compile(r'(?:not present in|referenced from) table "(?P<table>[^"]+)"')


def is_from_server(error: BaseException) -> bool:
    """Whether the server said it; asyncpg raises the same class for a value that it cannot even send."""
    return getattr(error, "severity", None) is not None


def may_be_outdated(error: BaseException) -> bool:
    """Whether a statement may fail so because the types of its values were found out before the schema changed."""
    return isinstance(error, _OUTDATED) or (isinstance(error, asyncpg.DataError) and not is_from_server(error))


def translate(error: Exception, masked_url: str) -> Exception:
    """Our error for one that a statement raised; any other exception comes back as it is."""
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, masked_url)
    if isinstance(error, asyncpg.DataError):
        return failures.mismatch(str(error))
    if isinstance(error, asyncpg.InternalClientError):
        # So asyncpg ends up when the server said goodbye between two statements.
        return failures.lost(masked_url, str(error))
    if isinstance(error, asyncpg.InterfaceError):
        return failures.lost(masked_url, str(error)) if "closed" in str(error) else failures.other(str(error))
    if isinstance(error, OSError):
        return failures.lost(masked_url, str(error) or type(error).__name__)
    return error


def unreachable_reason(error: Exception) -> str | None:
    """Why connecting failed; None if this is no failure to connect."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return str(error)
    return None


def _from_server(error: Any, masked_url: str) -> Exception:
    state = error.sqlstate or ""
    reason = error.message or str(error)
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return failures.altered(reason)
    if state in _LOST_STATEMENT and "prepared statement" in reason:
        return failures.lost_statement(reason)
    if state.startswith(_TRANSIENT):
        return failures.transient(reason)
    if state.startswith(_UNAVAILABLE):
        return failures.lost(masked_url, reason)
    if state == "25P02":
        return failures.aborted()
    make = _BY_STATE.get(state)
    if make is not None:
        return make(error)
    if state.startswith("22"):
        return failures.mismatch(reason)
    return failures.other(reason)


def _fields(error: Any) -> list[str]:
    found = _KEY.search(error.detail or "")
    return [name.strip(' "') for name in found["fields"].split(",")] if found else []


def _foreign_key(error: Any) -> Exception:
    found = _REFERENCED.search(error.detail or "")
    missing = found["table"] if found and "not present" in error.detail else None
    return failures.foreign_key(error.table_name, _fields(error), error.constraint_name, referenced=missing)


def _missing_table(error: Any) -> Exception:
    found = re.search(r'"([^"]+)"', error.message)
    return failures.missing_table(found[1] if found else error.message)


_BY_STATE: dict[str, Callable[[Any], Exception]] = {
    "23505": lambda error: failures.unique(error.table_name, _fields(error), error.constraint_name),
    "23503": _foreign_key,
    "23001": _foreign_key,
    "23502": lambda error: failures.not_null(error.table_name, error.column_name),
    "23514": lambda error: failures.check(error.table_name, error.constraint_name),
    "23P01": lambda error: failures.check(error.table_name, error.constraint_name),
    "2201B": lambda error: failures.costly_pattern("PostgreSQL", error.message),
    "42P01": _missing_table,
    "42703": lambda error: failures.missing_column(error.message),
}
