"""Values of jobs as JSON, for the document of a schedule.

What JSON has not is an object with one key that says what it is: ``{"$decimal": "1.50"}``, and ``$uuid``,
``$datetime``, ``$date``, ``$time``, ``$microseconds`` (a timedelta), ``$float`` (inf, nan), ``$bytes`` (Base64). A dict
of one's own that looks like that, or has keys that are not text, is ``{"$dict": [[key, value], …]}``. They are the
types that the wire codec takes; as there, naive datetimes are UTC, tuples come back as lists and enum members as their
values.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

_MICROSECOND = timedelta(microseconds=1)


def _datetime_text(value: datetime) -> str:
    return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


#: Tag, type, to JSON, from JSON. datetime is a date too, so it comes first.
_TAGS: tuple[tuple[str, type[Any], Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("$decimal", Decimal, str, Decimal),
    ("$uuid", UUID, str, UUID),
    ("$datetime", datetime, _datetime_text, datetime.fromisoformat),
    ("$date", date, date.isoformat, date.fromisoformat),
    ("$time", time, time.isoformat, time.fromisoformat),
    (
        "$microseconds",
        timedelta,
        lambda value: value // _MICROSECOND,
        lambda value: value * _MICROSECOND,
    ),
    ("$bytes", bytes, lambda value: b64encode(value).decode(), b64decode),
)
_READERS: dict[str, Callable[[Any], Any]] = {tag: read for tag, _, _, read in _TAGS}
_READERS["$float"] = float
_READERS["$dict"] = lambda pairs: {key: from_plain(item) for key, item in pairs}


def to_plain(value: Any) -> Any:
    """A value that the wire codec takes, in types that JSON has."""
    if isinstance(value, Enum):
        return to_plain(value.value)
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return _plain_dict(value)
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    for tag, kind, write, _ in _TAGS:
        if isinstance(value, kind):
            return {tag: write(value)}
    raise TypeError(f"no value of a job: {type(value).__name__}")


def _plain_dict(value: Mapping[Any, Any]) -> dict[str, Any]:
    items = {(key.value if isinstance(key, Enum) else key): to_plain(item) for key, item in value.items()}
    ambiguous = len(items) == 1 and next(iter(items)) in _READERS
    if ambiguous or not all(isinstance(key, str) for key in items):
        return {"$dict": [[key, item] for key, item in items.items()]}
    return items


def from_plain(value: Any) -> Any:
    """The value that ``to_plain`` wrote."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        tag, content = next(iter(value.items()))
        if tag in _READERS:
            return _READERS[tag](content)
    return {key: from_plain(item) for key, item in value.items()}
