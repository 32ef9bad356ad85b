"""Payloads of messages as JSON: any value by the rules that rows are written by (see ``envelope.py``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from dataflow.errors import InputError, TypeMismatchError
from dataflow.events.values import TO_JSON
from dataflow.models.types import Kind

#: Bytes that a payload may have as JSON.
MAX_PAYLOAD = 1 << 20
#: Values within each other, at most.
MAX_DEPTH = 50
#: Numbers that every reader of JSON and every database takes.
_LEAST, _MOST = -(2**63), 2**63 - 1

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,119}")

#: By the type of a value, the most special first: a datetime is a date.
_CONVERTS = (
    (datetime, TO_JSON[Kind.DATETIME]),
    (date, TO_JSON[Kind.DATE]),
    (time, TO_JSON[Kind.TIME]),
    (timedelta, TO_JSON[Kind.TIMEDELTA]),
    (Decimal, TO_JSON[Kind.DECIMAL]),
    (UUID, TO_JSON[Kind.UUID]),
    (bytes | bytearray, TO_JSON[Kind.BYTES]),
    (float, TO_JSON[Kind.FLOAT]),
)
_encoder = msgspec.json.Encoder()


def checked_type(name: object) -> str:
    """A name for a type of messages.

    Raises:
        InputError: It cannot be one.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InputError(
        f"{name!r} cannot be a type of messages.",
        hint="It has up to 120 letters, digits, '_', '.' and '-', and begins with a letter or '_'.",
    )


def payload_json(payload: object) -> bytes:
    """A payload of a message as JSON.

    Args:
        payload: A dict of plain values: what JSON has, and what fields of models have.

    Raises:
        TypeMismatchError: It is no dict, or holds a value that has no JSON.
        InputError: It is larger than ``MAX_PAYLOAD``.
    """
    if not isinstance(payload, Mapping):
        raise TypeMismatchError(f"The payload of a message is a dict, got {type(payload).__name__}.")
    text = to_json(payload)
    if len(text) > MAX_PAYLOAD:
        raise InputError(
            f"A message has {MAX_PAYLOAD:,} bytes at most, this one has {len(text):,}.",
            hint="Store what is large in a row, and send its id.",
        )
    return text


def to_json(value: object) -> bytes:
    """A value as JSON.

    Raises:
        TypeMismatchError: It holds a value that has no JSON; the message says where.
    """
    try:
        return _encoder.encode(_plain(value, "payload", MAX_DEPTH))
    except UnicodeEncodeError:
        raise TypeMismatchError("The payload of a message has text that is no Unicode (lone surrogates).") from None


def _plain(value: Any, where: str, left: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, where, left)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if _LEAST <= value <= _MOST:
            return int(value)
        raise TypeMismatchError(f"{where} is a number beyond 64 bits.", hint="Send it as text.")
    for kind, convert in _CONVERTS:
        if isinstance(value, kind):
            return convert(value)
    if not left:
        raise TypeMismatchError(f"The payload of a message has more than {MAX_DEPTH} levels.")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeMismatchError(f"{where} has the key {name!r}: keys are text.")
        return {str(name): _plain(item, f"{where}.{name}", left - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{number}]", left - 1) for number, item in enumerate(value)]
    raise TypeMismatchError(
        f"{where} is a {type(value).__name__}, which has no JSON.",
        hint="Send dicts, lists, text, numbers, True, False, None, Decimal, dates, times, UUID or bytes.",
    )
