"""Values of MySQL's and MariaDB's columns as the binary log holds them, in the Python types their drivers give.

A *reader* takes the bytes and where the value starts, and gives the value and where it ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple

from dataflow.errors import CaptureError
from dataflow.events.sources.binlog_decimal import decimal_reader
from dataflow.events.sources.binlog_json import read_json

Reader = Callable[[bytes, int], tuple[Any, int]]


class ColumnType(IntEnum):
    """Column types by their number in the log."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    YEAR = 13
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


BLOBS = frozenset({ColumnType.TINY_BLOB, ColumnType.MEDIUM_BLOB, ColumnType.LONG_BLOB, ColumnType.BLOB})
#: Types whose values are text or bytes; the log does not tell which.
CHARACTERS = BLOBS | {ColumnType.VARCHAR, ColumnType.VAR_STRING, ColumnType.STRING}
#: Types that may be unsigned.
NUMBERS = frozenset(
    {
        ColumnType.TINY,
        ColumnType.SHORT,
        ColumnType.INT24,
        ColumnType.LONG,
        ColumnType.LONGLONG,
        ColumnType.NEWDECIMAL,
        ColumnType.FLOAT,
        ColumnType.DOUBLE,
    }
)


class Column(NamedTuple):
    """A column.

    Attributes:
        name: Its name.
        type: Its number in ColumnType; another one cannot be read.
        meta: Sizes, by type.
        unsigned: Whether a number has no sign.
        encoding: Python's name of a text's encoding; None of bytes.
        labels: Of ENUM and SET.
    """

    name: str
    type: int
    meta: int
    unsigned: bool = False
    encoding: str | None = None
    labels: tuple[str, ...] = ()


def column_reader(column: Column) -> Reader:
    """The reader of a column.

    Raises:
        CaptureError: Its type cannot be read.
    """
    kind, meta = column.type, column.meta
    if kind in _INTEGERS:
        return _packed(_INTEGERS[kind][column.unsigned])
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == ColumnType.INT24:
        return _int24(signed=not column.unsigned)
    if kind in (ColumnType.VARCHAR, ColumnType.VAR_STRING, ColumnType.STRING):
        return _characters(2 if meta > 255 else 1, column.encoding)
    if kind in BLOBS:
        return _characters(meta, column.encoding)
    if kind == ColumnType.GEOMETRY:
        return _characters(meta, None)
    if kind == ColumnType.JSON:
        return _json(meta)
    if kind == ColumnType.NEWDECIMAL:
        return decimal_reader(meta >> 8, meta & 0xFF)
    if kind == ColumnType.ENUM:
        return _enum(meta, column.labels)
    if kind == ColumnType.SET:
        return _set(meta, column.labels)
    if kind == ColumnType.BIT:
        return _bit((meta & 0xFF) + ((meta >> 8) > 0))
    if kind in _TEMPORAL:
        return _TEMPORAL[kind](meta)
    raise CaptureError(
        f"The column {column.name!r} has a type that the binary log holds in a form not known here: {kind}.",
        hint="Compressed columns, and temporal columns from before MySQL 5.6, must be rebuilt: ALTER TABLE … FORCE.",
    )


def _packed(form: struct.Struct) -> Reader:
    unpack, size = form.unpack_from, form.size

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return unpack(data, at)[0], at + size

    return read


def _int24(*, signed: bool) -> Reader:
    def read(data: bytes, at: int) -> tuple[int, int]:
        return int.from_bytes(data[at : at + 3], "little", signed=signed), at + 3

    return read


def _characters(prefix: int, encoding: str | None) -> Reader:
    def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
        start = at + prefix
        end = start + int.from_bytes(data[at:start], "little")
        return data[start:end], end

    def read_text(data: bytes, at: int) -> tuple[str, int]:
        start = at + prefix
        end = start + int.from_bytes(data[at:start], "little")
        return data[start:end].decode(encoding, "replace"), end  # type: ignore[arg-type]

    return read_bytes if encoding is None else read_text


def _json(prefix: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        start = at + prefix
        end = start + int.from_bytes(data[at:start], "little")
        return read_json(data[start:end]), end

    return read


def _enum(size: int, labels: tuple[str, ...]) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        number = int.from_bytes(data[at : at + size], "little")
        return (labels[number - 1] if 0 < number <= len(labels) else ""), at + size

    return read


def _set(size: int, labels: tuple[str, ...]) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        bits = int.from_bytes(data[at : at + size], "little")
        return ",".join(label for place, label in enumerate(labels) if bits >> place & 1), at + size

    return read


def _bit(size: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[int, int]:
        return int.from_bytes(data[at : at + size]), at + size

    return read


def _microseconds(precision: int) -> tuple[int, int]:
    """Bytes of a fraction of a second, and microseconds of its unit."""
    size = (precision + 1) // 2
    return size, int(10 ** (6 - 2 * size))


def _datetime(precision: int) -> Reader:
    fraction, unit = _microseconds(precision)
    end = 5 + fraction

    def read(data: bytes, at: int) -> tuple[datetime | None, int]:
        packed = int.from_bytes(data[at : at + 5]) - 0x80_0000_0000
        year, month = divmod(packed >> 22, 13)
        micro = int.from_bytes(data[at + 5 : at + end]) * unit
        day, hour, minute, second = packed >> 17 & 31, packed >> 12 & 31, packed >> 6 & 63, packed & 63
        if not (month and day):  # 0000-00-00 and its like are no dates
            return None, at + end
        return datetime(year, month, day, hour, minute, second, micro), at + end

    return read


def _timestamp(precision: int) -> Reader:
    fraction, unit = _microseconds(precision)
    end, epoch = 4 + fraction, datetime(1970, 1, 1)

    def read(data: bytes, at: int) -> tuple[datetime | None, int]:
        seconds = int.from_bytes(data[at : at + 4])
        micro = int.from_bytes(data[at + 4 : at + end]) * unit
        return (epoch + timedelta(seconds=seconds, microseconds=micro) if seconds else None), at + end

    return read


def _time(precision: int) -> Reader:
    fraction, unit = _microseconds(precision)
    size, bits = 3 + fraction, 8 * fraction

    def read(data: bytes, at: int) -> tuple[timedelta, int]:
        packed = int.from_bytes(data[at : at + size]) - (0x80_0000 << bits)
        clock, parts = abs(packed) >> bits, abs(packed) & ((1 << bits) - 1)
        span = timedelta(
            hours=clock >> 12 & 1023, minutes=clock >> 6 & 63, seconds=clock & 63, microseconds=parts * unit
        )
        return (-span if packed < 0 else span), at + size

    return read


def _date(data: bytes, at: int) -> tuple[date | None, int]:
    packed = int.from_bytes(data[at : at + 3], "little")
    month, day = packed >> 5 & 15, packed & 31
    return (date(packed >> 9, month, day) if month and day else None), at + 3


def _year(data: bytes, at: int) -> tuple[int, int]:
    return data[at] and 1900 + data[at], at + 1


_INTEGERS: dict[int, tuple[struct.Struct, struct.Struct]] = {
    ColumnType.TINY: (struct.Struct("<b"), struct.Struct("<B")),
    ColumnType.SHORT: (struct.Struct("<h"), struct.Struct("<H")),
    ColumnType.LONG: (struct.Struct("<i"), struct.Struct("<I")),
    ColumnType.LONGLONG: (struct.Struct("<q"), struct.Struct("<Q")),
}
_SIMPLE: dict[int, Reader] = {
    ColumnType.FLOAT: _packed(struct.Struct("<f")),
    ColumnType.DOUBLE: _packed(struct.Struct("<d")),
    ColumnType.DATE: _date,
    ColumnType.YEAR: _year,
}
_TEMPORAL: dict[int, Callable[[int], Reader]] = {
    ColumnType.TIMESTAMP: lambda _: _old_timestamp,
    ColumnType.TIMESTAMP2: _timestamp,
    ColumnType.DATETIME2: _datetime,
    ColumnType.TIME2: _time,
}


def _old_timestamp(data: bytes, at: int) -> tuple[datetime | None, int]:
    seconds = int.from_bytes(data[at : at + 4], "little")
    return (datetime(1970, 1, 1) + timedelta(seconds=seconds) if seconds else None), at + 4
