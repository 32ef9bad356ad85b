"""The wire codec: plain values to bytes and back.

One byte for the version of the format, then MessagePack. Extension types carry what MessagePack has not:

====  =========  ==========================================
code  type       data
====  =========  ==========================================
1     Decimal    its text
2     UUID       16 bytes
3     date       ISO 8601 text
4     time       ISO 8601 text
5     timedelta  microseconds, big-endian, signed
====  =========  ==========================================

datetime is MessagePack's own timestamp: the same moment comes back, in UTC; a naive one is taken as UTC. Tuples come
back as lists, enum members as their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from dataflow.errors import InputError, PayloadError

#: Version of the format that is written, and the only one read.
VERSION = 1

#: Bytes of an encoded value, at most.
MAX_SIZE = 64 * 1024 * 1024

_DECIMAL, _UUID, _DATE, _TIME, _TIMEDELTA = 1, 2, 3, 4, 5
_MICROSECOND = timedelta(microseconds=1)
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_HEADER = bytes([VERSION])
_Ext = msgspec.msgpack.Ext


def encode(value: Any, *, max_size: int = MAX_SIZE) -> bytes:
    """A value as bytes.

    Args:
        value: None, bool, int, float, text, bytes, datetime, date, time, timedelta, Decimal, UUID, an enum member, or
            dicts (keys are text or int), lists and tuples of these.
        max_size: Bytes it may take.

    Raises:
        InputError: It has a type that is not in the list, or an integer beyond 64 bits, or is too large; the message
            says where in it.
    """
    try:
        data = _HEADER + _encoder.encode(_pack(value))
    except RecursionError:
        raise InputError("A value is nested too deeply to be sent, or contains itself.") from None
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        where, problem = _find_problem(value) or ("value", str(error))
        raise InputError(f"{where} cannot be sent: {problem}.", path=where) from error
    if len(data) > max_size:
        raise InputError(
            f"The value takes {len(data):,} bytes, and {max_size:,} is the limit.",
            hint="Split it into several jobs, or store it and send where it is.",
            size=len(data),
        )
    return data


def decode(data: bytes | bytearray | memoryview, *, max_size: int = MAX_SIZE) -> Any:
    """The value that ``encode`` made bytes of.

    Raises:
        PayloadError: The bytes are too many, of a version this program does not know, or damaged.
    """
    if len(data) > max_size:
        raise PayloadError(f"The payload has {len(data):,} bytes, and {max_size:,} is the limit.", size=len(data))
    if not data:
        raise PayloadError("The payload is empty.")
    if data[0] != VERSION:
        raise PayloadError(
            f"The payload has format version {data[0]}, and this program reads version {VERSION}.",
            hint="It was written by another program or another release: upgrade the older side.",
            version=data[0],
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise PayloadError(f"The payload is damaged: {error}.") from error


def _pack(value: Any) -> Any:
    """``value`` in types that MessagePack has."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    pack = _PACKERS.get(kind)
    return pack(value) if pack is not None else _pack_subclass(value)


def _pack_dict(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        key if type(key) is str else _pack_key(key): item if type(item) in _PLAIN else _pack(item)
        for key, item in value.items()
    }


def _pack_key(key: Any) -> Any:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return int(key)
    raise TypeError(f"a key of type {type(key).__name__}; keys are text or int")


def _pack_list(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    return [item if type(item) in _PLAIN else _pack(item) for item in value]


def _pack_datetime(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _pack_timedelta(value: timedelta) -> _Ext:
    amount = value // _MICROSECOND
    return _Ext(_TIMEDELTA, amount.to_bytes(amount.bit_length() // 8 + 1, "big", signed=True))


def _pack_decimal(value: Decimal) -> _Ext:
    return _Ext(_DECIMAL, str(value).encode())


def _pack_uuid(value: UUID) -> _Ext:
    return _Ext(_UUID, value.bytes)


def _pack_date(value: date) -> _Ext:
    return _Ext(_DATE, value.isoformat().encode())


def _pack_time(value: time) -> _Ext:
    return _Ext(_TIME, value.isoformat().encode())


def _pack_subclass(value: Any) -> Any:
    if isinstance(value, Enum):
        return _pack(value.value)
    for base, pack in _BASES:
        if isinstance(value, base):
            return pack(value)
    raise TypeError(f"a value of type {type(value).__name__}")


_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_PACKERS: dict[type[Any], Callable[[Any], Any]] = {
    dict: _pack_dict,
    list: _pack_list,
    tuple: _pack_list,
    datetime: _pack_datetime,
    date: _pack_date,
    time: _pack_time,
    timedelta: _pack_timedelta,
    Decimal: _pack_decimal,
    UUID: _pack_uuid,
    bytearray: bytes,
    memoryview: bytes,
}
#: For subclasses: a str subclass is sent as its text, and so on. datetime is a date too, so it comes first.
_BASES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int),
    (float, float),
    (bytes, bytes),
    (datetime, _pack_datetime),
    *((kind, pack) for kind, pack in _PACKERS.items() if kind is not dict),
    (Mapping, _pack_dict),
)


def _unpack(code: int, data: memoryview) -> Any:
    raw = bytes(data)
    if code == _DECIMAL:
        return Decimal(raw.decode())
    if code == _UUID:
        return UUID(bytes=raw)
    if code == _DATE:
        return date.fromisoformat(raw.decode())
    if code == _TIME:
        return time.fromisoformat(raw.decode())
    if code == _TIMEDELTA:
        return timedelta(microseconds=int.from_bytes(raw, "big", signed=True))
    raise ValueError(f"unknown extension type {code}")


def _find_problem(value: Any, where: str = "") -> tuple[str, str] | None:
    """Where in a value is what cannot be encoded, and why."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            try:
                _encoder.encode(_pack_key(key))
            except (TypeError, ValueError, OverflowError) as error:
                return where or "value", str(error)
            if found := _find_problem(item, f"{where}.{key}" if where else str(key)):
                return found
        return None
    if isinstance(value, list | tuple):
        found_in = (
            _find_problem(item, f"{where}.{index}" if where else str(index)) for index, item in enumerate(value)
        )
        return next((found for found in found_in if found), None)
    if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        return where or "value", "an integer beyond 64 bits; send it as text or as a Decimal"
    try:
        _encoder.encode(_pack(value))
    except UnicodeEncodeError:
        return where or "value", "text with half a surrogate pair, which UTF-8 cannot hold"
    except (TypeError, OverflowError) as error:
        return where or "value", str(error)
    return None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=_unpack)
