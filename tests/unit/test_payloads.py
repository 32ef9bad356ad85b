"""Payloads of messages as JSON."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from dataflow.errors import InputError, TypeMismatchError
from dataflow.events.payloads import MAX_PAYLOAD, checked_type, payload_json


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (True, True),
        (-(2**63), -(2**63)),
        (0.1 + 0.2, 0.30000000000000004),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-12.3400"), "-12.3400"),
        (datetime(2026, 11, 22, 3, tzinfo=UTC), "2026-11-22T03:00:00.000000Z"),
        (datetime(2026, 11, 22, 3, tzinfo=timezone(timedelta(hours=2))), "2026-11-22T01:00:00.000000Z"),
        (date(2026, 11, 22), "2026-11-22"),
        (time(3, 4), "03:04:00.000000"),
        (timedelta(milliseconds=-1), -1000),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"\x00\xff", "AP8="),
        (Colour.RED, "red"),
        ("é漢😀\x00", "é漢😀\x00"),
        ((1, {"a": [Decimal(1)]}), [1, {"a": ["1"]}]),
    ],
)
def test_values_are_written_as_rows_are(value: Any, written: Any) -> None:
    assert json.loads(payload_json({"value": value})) == {"value": written}


def _deep() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(100):
        made = {"in": made}
    return made


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ([1], "is a dict, got list"),
        ({"a": {1: 2}}, "payload.a has the key 1"),
        ({"a": [object()]}, r"payload.a\[0\] is a object"),
        ({"a": {1, 2}}, "payload.a is a set"),
        ({"a": 2**63}, "beyond 64 bits"),
        ({"a": "\ud800"}, "lone surrogates"),
        (_deep(), "50 levels"),
    ],
)
def test_what_has_no_json_is_refused(payload: Any, problem: str) -> None:
    with pytest.raises(TypeMismatchError, match=problem):
        payload_json(payload)


def test_a_payload_has_a_size() -> None:
    with pytest.raises(InputError, match="1,048,576 bytes"):
        payload_json({"a": "x" * MAX_PAYLOAD})


@pytest.mark.parametrize("name", ["order_created", "order.created-2", "_x", "A" * 120])
def test_names_of_types(name: str) -> None:
    assert checked_type(name) == name


@pytest.mark.parametrize("name", ["", "@order", "a b", "1a", "a:b", "é", "A" * 121, "a\n", None, 7])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match="cannot be a type"):
        checked_type(name)
