"""What a statement in the binary log means: it frames a transaction, changes a table's columns, or should not be there.

Only as much of SQL is read as the server itself, or a person at its prompt, writes at the start of such a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class Meaning(Enum):
    """What a statement does."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    SAVEPOINT = auto()
    ROLLBACK_TO = auto()
    XA_COMMIT = auto()
    XA_ROLLBACK = auto()
    #: Columns of tables change, or tables change their names.
    ALTER = auto()
    TRUNCATE = auto()
    #: Rows change, and the log has the statement instead of the rows.
    ROWS = auto()
    OTHER = auto()


class Statement(NamedTuple):
    """A statement, as far as it matters.

    Attributes:
        meaning: What it does.
        tables: Of ALTER and TRUNCATE: database (None: the session's) and table.
        name: Of a savepoint.
        xid: Of a prepared transaction, as in ``binlog.Prepared``.
    """

    meaning: Meaning
    tables: tuple[tuple[str | None, str], ...] = ()
    name: str = ""
    xid: tuple[str, str, int] | None = None


_COMMENTS = re.compile(r"(?:\s+|/\*(?!!).*?\*/|--\s[^\n]*\n|#[^\n]*\n)*", re.DOTALL)
_NAME = r"(?:`(?:[^`]|``)+`|[\w$]+)"
_TABLE = rf"(?:({_NAME})\s*\.\s*)?({_NAME})"
_ALTER = re.compile(rf"ALTER\s+(?:(?:ONLINE|IGNORE|OFFLINE)\s+)*TABLE\s+(?:IF\s+EXISTS\s+)?{_TABLE}", re.IGNORECASE)
_NEW_NAME = re.compile(rf"\bRENAME\s+(?:TO\s+|AS\s+|=\s*)?(?!COLUMN\b|INDEX\b|KEY\b){_TABLE}", re.IGNORECASE)
_RENAME = re.compile(r"RENAME\s+TABLES?\s+(?:IF\s+EXISTS\s+)?(.*)", re.IGNORECASE | re.DOTALL)
_TRUNCATE = re.compile(rf"TRUNCATE\s+(?:TABLE\s+)?{_TABLE}", re.IGNORECASE)
_ANY_TABLE = re.compile(_TABLE)
_SAVEPOINT = re.compile(rf"SAVEPOINT\s+({_NAME})", re.IGNORECASE)
_ROLLBACK_TO = re.compile(rf"ROLLBACK\s+(?:WORK\s+)?TO\s+(?:SAVEPOINT\s+)?({_NAME})", re.IGNORECASE)
_XA = re.compile(r"XA\s+(\w+)\s+X'([0-9a-f]*)'\s*,\s*X'([0-9a-f]*)'\s*,\s*(-?\d+)", re.IGNORECASE)
_XA_MEANINGS = {"START": Meaning.BEGIN, "COMMIT": Meaning.XA_COMMIT, "ROLLBACK": Meaning.XA_ROLLBACK}
#: ``SET STATEMENT … FOR`` is MariaDB's way to give one statement settings of its own.
_CHANGES_ROWS = re.compile(
    r"(?:SET\s+STATEMENT\b.*?\bFOR\s+)?(?:INSERT|UPDATE|DELETE|REPLACE|LOAD)\b", re.IGNORECASE | re.DOTALL
)


def read_statement(text: str) -> Statement:
    """What a statement does."""
    text = text[_COMMENTS.match(text).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    word = re.match(r"\w*", text)[0].upper()  # type: ignore[index]
    match word:
        case "BEGIN":
            return Statement(Meaning.BEGIN)
        case "COMMIT":
            return Statement(Meaning.COMMIT)
        case "ROLLBACK":
            found = _ROLLBACK_TO.match(text)
            return Statement(Meaning.ROLLBACK_TO, name=_plain(found[1])) if found else Statement(Meaning.ROLLBACK)
        case "SAVEPOINT" if found := _SAVEPOINT.match(text):
            return Statement(Meaning.SAVEPOINT, name=_plain(found[1]))
        case "XA" if found := _XA.match(text):
            xid = (found[2].lower(), found[3].lower(), int(found[4]))
            return Statement(_XA_MEANINGS.get(found[1].upper(), Meaning.OTHER), xid=xid)
        case "ALTER" if found := _ALTER.match(text):
            tables = [_table(found), *map(_table, _NEW_NAME.finditer(text, found.end()))]
            return Statement(Meaning.ALTER, tuple(tables))
        case "RENAME" if found := _RENAME.match(text):
            return Statement(Meaning.ALTER, tuple(_renamed(found[1])))
        case "TRUNCATE" if found := _TRUNCATE.match(text):
            return Statement(Meaning.TRUNCATE, (_table(found),))
    return Statement(Meaning.ROWS if _CHANGES_ROWS.match(text) else Meaning.OTHER)


def names_table(text: str, table: str) -> bool:
    """Whether a statement has a table's name in it as a word."""
    return re.search(rf"(?<![\w$]){re.escape(table)}(?![\w$])", text, re.IGNORECASE) is not None


def _renamed(text: str) -> Iterator[tuple[str | None, str]]:
    for found in _ANY_TABLE.finditer(text):
        if found[1] is not None or found[2].upper() != "TO":
            yield _table(found)


def _table(found: re.Match[str]) -> tuple[str | None, str]:
    return (_plain(found[1]) if found[1] else None), _plain(found[2])


def _plain(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name
