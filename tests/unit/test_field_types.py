"""What each field type accepts, and what it refuses on every database alike."""

from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow.errors import NotNullViolationError, TypeMismatchError
from dataflow.models import FieldSpec, FieldType, Kind


class Status(Enum):
    NEW = "new"


def field(kind: Kind, python: type = object, **options: Any) -> FieldSpec:
    return FieldSpec("f", FieldType(kind, python, **options))


ID = UUID("12345678-1234-5678-1234-567812345678")

ACCEPTED = [
    (field(Kind.STR, str), "", ""),
    (field(Kind.STR, str), "DROP TABLE x; -- ' é 🎉", "DROP TABLE x; -- ' é 🎉"),
    (field(Kind.INT, int), -(2**63), -(2**63)),
    (field(Kind.FLOAT, float), 3, 3.0),
    (field(Kind.FLOAT, float), -0.0, 0.0),
    (field(Kind.BOOL, bool), False, False),
    (field(Kind.DECIMAL, Decimal), "12.50", Decimal("12.50")),
    (field(Kind.DECIMAL, Decimal), 7, Decimal(7)),
    (field(Kind.DATETIME, datetime), "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    (field(Kind.DATETIME, datetime), "2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    (field(Kind.DATETIME, datetime), datetime(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
    (
        field(Kind.DATETIME, datetime),
        datetime(2026, 1, 31, 2, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 1, 31, tzinfo=UTC),
    ),
    (field(Kind.DATE, date), "2026-01-31", date(2026, 1, 31)),
    (field(Kind.TIME, time), "12:30", time(12, 30)),
    (field(Kind.TIMEDELTA, timedelta), timedelta(days=-1), timedelta(days=-1)),
    (field(Kind.UUID, UUID), str(ID), ID),
    (field(Kind.BYTES, bytes), bytearray(b"x"), b"x"),
    (field(Kind.JSON, dict), OrderedDict(a=[1, None, {"b": 1.5}]), {"a": [1, None, {"b": 1.5}]}),
    (field(Kind.JSON, object), [True], [True]),
    (FieldSpec("f", FieldType(Kind.STR, Status, enum=Status)), "new", Status.NEW),
    (FieldSpec("f", FieldType(Kind.STR, Status, enum=Status)), Status.NEW, Status.NEW),
]

REFUSED = [
    (field(Kind.STR, str), 5),
    (field(Kind.STR, str), "a\x00b"),
    (field(Kind.STR, str), "\ud800"),
    (field(Kind.STR, str, max_length=3), "abcd"),
    (field(Kind.INT, int), True),
    (field(Kind.INT, int), "7"),
    (field(Kind.INT, int), 7.0),
    (field(Kind.INT, int), 2**63),
    (field(Kind.FLOAT, float), "1.5"),
    (field(Kind.FLOAT, float), float("nan")),
    (field(Kind.FLOAT, float), float("inf")),
    (field(Kind.FLOAT, float), 10**400),
    (field(Kind.FLOAT, float), False),
    (field(Kind.BOOL, bool), 1),
    (field(Kind.BOOL, bool), "true"),
    (field(Kind.DECIMAL, Decimal), 1.5),
    (field(Kind.DECIMAL, Decimal), "abc"),
    (field(Kind.DECIMAL, Decimal), Decimal("NaN")),
    (field(Kind.DECIMAL, Decimal, precision=4, scale=2), "100"),
    (field(Kind.DECIMAL, Decimal, precision=4, scale=2), "0.001"),
    (field(Kind.DATETIME, datetime), "yesterday"),
    (field(Kind.DATETIME, datetime), 1700000000),
    (field(Kind.DATETIME, datetime), datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
    (field(Kind.DATE, date), datetime(2026, 1, 1, tzinfo=UTC)),
    (field(Kind.TIME, time), time(1, tzinfo=UTC)),
    (field(Kind.TIMEDELTA, timedelta), 5),
    (field(Kind.UUID, UUID), "not-one"),
    (field(Kind.BYTES, bytes), "text"),
    (field(Kind.JSON, dict), [1]),
    (field(Kind.JSON, list), {"a": 1}),
    (field(Kind.JSON, object), {1: "a"}),
    (field(Kind.JSON, object), {"a": datetime(2026, 1, 1, tzinfo=UTC)}),
    (field(Kind.JSON, object), [float("nan")]),
    (field(Kind.JSON, object), 2**64),
    (FieldSpec("f", FieldType(Kind.STR, Status, enum=Status)), "old"),
]


@pytest.mark.parametrize(("spec", "value", "stored"), ACCEPTED, ids=lambda item: repr(item)[:40])
def test_accepted(spec: FieldSpec, value: Any, stored: Any) -> None:
    result = spec.coerce(value, "M")
    assert result == stored
    assert type(result) is type(stored) or spec.type.kind is Kind.JSON


@pytest.mark.parametrize(("spec", "value"), REFUSED, ids=lambda item: repr(item)[:40])
def test_refused(spec: FieldSpec, value: Any) -> None:
    with pytest.raises(TypeMismatchError, match=r"^\[DF-102\] M\.f is "):
        spec.coerce(value, "M")


def test_none_needs_a_nullable_field() -> None:
    with pytest.raises(NotNullViolationError, match=r"M\.f must not be None"):
        field(Kind.INT, int).coerce(None, "M")
    assert FieldSpec("f", FieldType(Kind.INT, int), nullable=True).coerce(None, "M") is None


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(TypeMismatchError) as caught:
        field(Kind.INT, int).coerce("x" * 10_000, "M")
    assert len(str(caught.value)) < 200


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**27), max_value=10**27))
def test_decimals_are_kept_exactly(value: Decimal) -> None:
    assert field(Kind.DECIMAL, Decimal).coerce(value, "M") == value


@given(st.datetimes(timezones=st.timezones()))
def test_datetimes_keep_their_moment(value: datetime) -> None:
    try:
        stored = field(Kind.DATETIME, datetime).coerce(value, "M")
    except TypeMismatchError:
        assert value.year in (1, 9999)
        return
    # Compared as timestamps: `==` between zones is false by definition for times that a clock change skips or repeats.
    assert stored.timestamp() == pytest.approx(value.timestamp(), abs=1e-6)
    assert stored.tzinfo is UTC
