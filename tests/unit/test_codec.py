"""The wire codec: what goes in comes out, and what cannot is refused with its place."""

import contextlib
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import InputError, PayloadError
from dataflow.workflows.codec import decode, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
keys = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**64 - 1)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@given(values)
def test_round_trip(value):
    assert same(decode(encode(value)), value)


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.timezones()))
def test_moments_come_back_in_utc(moment):
    back = decode(encode(moment))
    assert back == moment.astimezone(UTC)
    assert back.utcoffset() == timedelta(0)


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Shape(Enum):
    SQUARE = "square"


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2,)), [1, [2]]),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Shape.SQUARE, "square"),
        ({Color.RED: 1, Level.HIGH: 2}, {"red": 1, 3: 2}),
        (Name("x"), "x"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 12, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, 10, tzinfo=UTC)),
        (time(1, 2, 3, tzinfo=UTC), time(1, 2, 3, tzinfo=UTC)),
    ],
)
def test_what_changes_its_form(value, back):
    assert decode(encode(value)) == back


@pytest.mark.parametrize("value", [Decimal("1.50"), Decimal("-0"), Decimal("1E+400"), Decimal("Infinity")])
def test_decimals_are_exact(value):
    assert str(decode(encode(value))) == str(value)


def test_not_a_number_stays_so():
    assert decode(encode(float("nan"))) != decode(encode(float("nan")))
    assert decode(encode(Decimal("NaN"))).is_nan()


class Thing:
    pass


itself: list[Any] = []
itself.append(itself)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"nodes": [{}, {"params": {"f": Thing()}}]}, "nodes.1.params.f cannot be sent: a value of type Thing"),
        ({"a": {1, 2}}, "a cannot be sent: a value of type set"),
        ([0, 2**64], "1 cannot be sent: an integer beyond 64 bits"),
        ({"a": {(1, 2): 0}}, "a cannot be sent: a key of type tuple"),
        ({"a": {None: 0}}, "a cannot be sent: a key of type NoneType"),
        ({"a": {2**70: 0}}, "a cannot be sent"),
        ({"a": "\ud800"}, "a cannot be sent: text with half a surrogate pair"),
        (object(), "value cannot be sent"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), "value cannot be sent"),
        (itself, "contains itself"),
    ],
)
def test_what_cannot_be_sent_is_named(value, message):
    with pytest.raises(InputError, match=message):
        encode(value)


def test_size_is_limited_on_both_sides():
    with pytest.raises(InputError, match="1,000 is the limit"):
        encode(b"x" * 2_000, max_size=1_000)
    with pytest.raises(PayloadError, match="1,000 is the limit"):
        decode(encode(b"x" * 2_000), max_size=1_000)


def ext(code: int, data: bytes) -> bytes:
    return b"\x01" + msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x02\x01", "format version 2, and this program reads version 1"),
        (b"\x80\x04\x95", "format version 128"),
        (b"\x01", "damaged"),
        (b"\x01\xc1", "damaged"),
        (b"\x01\xdd\xff\xff\xff\xff", "damaged"),
        (b"\x01\x01\x01", "damaged"),
        (b"\x01" + b"\x91" * 100_000 + b"\xc0", "damaged"),
        (ext(99, b"x"), "unknown extension type 99"),
        (ext(1, b"one"), "damaged"),
        (ext(1, b"\xff"), "damaged"),
        (ext(2, b"short"), "damaged"),
        (ext(3, b"2026-13-01"), "damaged"),
        (ext(5, b"\x7f" * 20), "damaged"),
    ],
)
def test_what_cannot_be_read_has_a_reason(data, message):
    with pytest.raises(PayloadError, match=message):
        decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_a_payload(data):
    with contextlib.suppress(PayloadError):
        decode(b"\x01" + data)


def test_examples_of_each_type_are_small():
    value = {"id": uuid4(), "day": date(2026, 1, 1), "price": Decimal("9.99"), "took": timedelta(seconds=1)}
    assert len(encode(value)) < 70
    assert isinstance(decode(encode(value))["id"], UUID)
