"""MySQL's binary JSON, as JSON's Python values. (MariaDB's JSON is text.)

A document is a byte of type and a value. Objects and lists begin with their count and size (two bytes each, four in
large ones), then the places of keys and values, counted from there; small numbers and literals stand in the place of
the offset. Decimals and moments become text, as MySQL's own JSON functions show them.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from dataflow.errors import CaptureError
from dataflow.events.sources.binlog_decimal import decimal_reader

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_LIST, _LARGE_LIST = 0, 1, 2, 3
_LITERAL, _STRING, _OPAQUE = 4, 12, 15
_LITERALS = {0: None, 1: True, 2: False}
_NUMBERS = {5: "<h", 6: "<H", 7: "<i", 8: "<I", 9: "<q", 10: "<Q", 11: "<d"}
#: What an opaque value may be, as column types: NEWDECIMAL; DATE; TIME; DATETIME and TIMESTAMP.
_DECIMAL, _DATE, _TIME, _MOMENTS = 246, 10, 11, (7, 12)


def read_json(data: bytes) -> Any:
    """The value of a document; an empty one is null.

    Raises:
        CaptureError: It has a type that is not known.
    """
    return _value(data[0], data, 1) if data else None


def _value(kind: int, data: bytes, at: int) -> Any:
    if kind <= _LARGE_LIST:
        return _container(kind, data, at)
    if kind == _LITERAL:
        return _LITERALS[data[at]]
    if kind in _NUMBERS:
        return struct.unpack_from(_NUMBERS[kind], data, at)[0]
    if kind == _STRING:
        size, start = _size(data, at)
        return data[start : start + size].decode()
    if kind == _OPAQUE:
        size, start = _size(data, at + 1)
        return _opaque(data[at], data[start : start + size])
    raise CaptureError(f"A JSON value has a type that is not known: {kind}.")


def _container(kind: int, data: bytes, base: int) -> dict[str, Any] | list[Any]:
    large = kind in (_LARGE_OBJECT, _LARGE_LIST)
    width, form = (4, "<I") if large else (2, "<H")
    inline = {_LITERAL, 5, 6, 7, 8} if large else {_LITERAL, 5, 6}

    def number(at: int) -> int:
        found: int = struct.unpack_from(form, data, at)[0]
        return found

    count, at = number(base), base + 2 * width
    keys = []
    if kind in (_SMALL_OBJECT, _LARGE_OBJECT):
        for _ in range(count):
            start = base + number(at)
            keys.append(data[start : start + struct.unpack_from("<H", data, at + width)[0]].decode())
            at += width + 2
    values = []
    for _ in range(count):
        item = data[at]
        values.append(_value(item, data, at + 1 if item in inline else base + number(at + 1)))
        at += 1 + width
    return dict(zip(keys, values, strict=True)) if kind in (_SMALL_OBJECT, _LARGE_OBJECT) else values


def _size(data: bytes, at: int) -> tuple[int, int]:
    """A size, seven bits to a byte, the lowest first; and where it ends."""
    size = shift = 0
    while True:
        size |= (data[at] & 0x7F) << shift
        if not data[at] & 0x80:
            return size, at + 1
        at, shift = at + 1, shift + 7


def _opaque(kind: int, data: bytes) -> Any:
    if kind == _DECIMAL:
        return format(decimal_reader(data[0], data[1])(data, 2)[0], "f")
    if kind in (_DATE, _TIME, *_MOMENTS):
        return _moment(kind, int.from_bytes(data, "little", signed=True))
    return f"base64:type{kind}:{base64.b64encode(data).decode()}"


def _moment(kind: int, packed: int) -> str:
    sign = "-" if packed < 0 else ""
    clock, micro = abs(packed) >> 24, abs(packed) & 0xFF_FF_FF
    minute, second = clock >> 6 & 63, clock & 63
    if kind == _TIME:
        return f"{sign}{clock >> 12 & 1023:02}:{minute:02}:{second:02}.{micro:06}"
    year, month = divmod(clock >> 22, 13)
    day = f"{year:04}-{month:02}-{clock >> 17 & 31:02}"
    return day if kind == _DATE else f"{day} {clock >> 12 & 31:02}:{minute:02}:{second:02}.{micro:06}"
