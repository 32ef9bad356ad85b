"""MySQL statements as text: the protocol that aiomysql speaks has no bind values, so they are written as literals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pymysql.converters import escape_string

from dataflow.databases import failures
from dataflow.databases.interface import Arguments

#: Characters of a statement that inserts many rows, at most (a single row may be longer). In UTF-8 it is at most four
#: times as many bytes, well under any server's max_allowed_packet.
CHUNK = 500_000

#: ``INSERT … VALUES (%s, …)`` and what may follow, as SQLAlchemy writes it.
_INSERT = re.compile(
    r"\s*(?P<head>(?:INSERT|REPLACE)\b.*?\bVALUES\s*)"
    r"(?P<row>\((?:[^()'\"]|\([^()'\"]*\))*\))"
    r"(?P<tail>(?:\s+AS\s+\w+)?(?:\s+ON\s+DUPLICATE\s+KEY\b.*)?)\s*\Z",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RowInsert:
    """An INSERT statement in parts, so that one statement can carry many rows. ``%`` is doubled only in ``row``."""

    head: str
    row: str
    tail: str

    def statements(self, rows: Iterable[Arguments]) -> Iterator[str]:
        """As few statements as hold the rows."""
        room = CHUNK
        parts: list[str] = []
        for row in rows:
            part = self.row % literals(row)
            if parts and room < len(part):
                yield self._statement(parts)
                parts, room = [], CHUNK
            parts.append(part)
            room -= len(part) + 1
        if parts:
            yield self._statement(parts)

    def _statement(self, parts: list[str]) -> str:
        return f"{self.head}{','.join(parts)}{self.tail}"


def split_insert(sql: str) -> RowInsert | None:
    """The parts of an INSERT of one row; None if the statement is another one."""
    found = _INSERT.match(sql)
    if found is None or "%s" in found["head"] or "%s" in found["tail"]:
        return None
    return RowInsert(found["head"] % (), found["row"], found["tail"] % ())


def insert_into(table: str, columns: Iterable[str]) -> RowInsert:
    """An INSERT of rows with these columns."""
    names = [quote(name) for name in columns]
    row = ", ".join(["%s"] * len(names))
    return RowInsert(f"INSERT INTO {quote(table)} ({', '.join(names)}) VALUES ", f"({row})", "")


def quote(name: str) -> str:
    """A table's or column's name in a statement."""
    escaped = name.replace("`", "``")
    return f"`{escaped}`"


def literals(args: Arguments) -> tuple[str, ...]:
    """Values as they are written in a statement.

    Raises:
        TypeMismatchError: A value is of a type that MySQL has no literal for.
    """
    return tuple([_LITERALS.get(type(value), _other)(value) for value in args])


def _text(value: str) -> str:
    return f"'{escape_string(value)}'"


def _bytes(value: bytes) -> str:
    return f"_binary x'{value.hex()}'"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise failures.mismatch(f"{value} is not a number that MySQL can hold")
    text = repr(value)
    # Without an exponent it would be a DECIMAL.
    return text if "e" in text else f"{text}e0"


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise failures.mismatch(f"{value} is not a number that MySQL can hold")
    # With an exponent it would be a DOUBLE.
    return format(value, "f")


def _datetime(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return f"'{value.isoformat(' ')}'"


def _iso(value: date | time) -> str:
    return f"'{value.isoformat()}'"


def _other(value: Any) -> str:
    """Subclasses of the types below."""
    for kind, write in _LITERALS.items():
        if isinstance(value, kind):
            return write(value)
    raise failures.mismatch(f"{type(value).__name__} is not a type that MySQL takes")


_LITERALS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    str: _text,
    bool: lambda value: "1" if value else "0",
    int: int.__repr__,
    float: _float,
    Decimal: _decimal,
    bytes: _bytes,
    bytearray: _bytes,
    datetime: _datetime,
    date: _iso,
    time: _iso,
    UUID: lambda value: f"'{value}'",
}
