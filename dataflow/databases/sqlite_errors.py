"""From sqlite3's exceptions to ours."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

from dataflow.databases import failures
from dataflow.errors import DatabaseUnavailableError

_UNAVAILABLE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
}


def translate(error: Exception, masked_url: str) -> Exception:
    """Our error for one of sqlite3; any other exception comes back as it is."""
    reason = str(error)
    if isinstance(error, OverflowError):
        return failures.mismatch("a whole number is outside the range of 64 bits")
    if not isinstance(error, sqlite3.Error):
        return error
    # Errors of Python's own, such as a value that cannot be bound, have no code.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return failures.mismatch(reason) if "binding" in reason or "type" in reason else failures.other(reason)
    family = code & 0xFF
    if family == sqlite3.SQLITE_CONSTRAINT:
        return _constraint(reason)
    if family in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return failures.transient(f"Another process kept {masked_url} locked ({reason})")
    if family in _UNAVAILABLE:
        return DatabaseUnavailableError(
            f"Cannot use {masked_url}: {reason}.",
            hint="Check that the folder exists and may be written, that the disk has room, and that the file is a "
            "SQLite database.",
            url=masked_url,
        )
    if family in (sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG):
        return failures.mismatch(reason)
    for pattern, make in _MESSAGES:
        if found := pattern.search(reason):
            return make(found)
    return failures.other(reason)


def _constraint(reason: str) -> Exception:
    kind, _, rest = reason.partition(" constraint failed")
    names = [name.strip().rpartition(".")[::2] for name in rest.removeprefix(":").split(",") if name.strip()]
    table = names[0][0] or None if names else None
    fields = [name for _, name in names]
    match kind:
        case "UNIQUE":
            # An index on expressions is named instead of its columns.
            if fields and fields[0].startswith("index "):
                return failures.unique(None, [], fields[0].removeprefix("index ").strip("'"))
            return failures.unique(table, fields, None)
        case "NOT NULL":
            return failures.not_null(table, fields[0] if fields else None)
        case "FOREIGN KEY":
            return failures.foreign_key(None, [], None)
        case "CHECK":
            return failures.check(None, rest.removeprefix(":").strip() or None)
        case _:
            return failures.other(reason)


_MESSAGES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Exception]]] = [
    (re.compile(r"no such table: (?:main\.)?(.+)"), lambda found: failures.missing_table(found[1])),
    (re.compile(r"no such column: .+|has no column named .+"), lambda found: failures.missing_column(found[0])),
]
