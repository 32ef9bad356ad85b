"""Columns coerced at once mean the same as their values coerced one by one."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.databases.interface import Dialect
from dataflow.errors import DataFlowError, NotNullViolationError, TypeMismatchError
from dataflow.models import Field, declare
from dataflow.queries.bulk_values import ColumnBinder
from dataflow.queries.codecs import ModelCodec


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Everything:
    id: int
    text: str
    short: str = Field(max_length=3)
    number: int
    real: float
    flag: bool
    amount: Decimal = Field(precision=10, scale=2)
    moment: datetime
    day: date
    hour: time
    span: timedelta
    key: UUID
    raw: bytes = Field(max_length=4)
    document: dict
    color: Color
    maybe: int | None


SPEC = declare(Everything)
CODECS = {dialect: ModelCodec(SPEC, dialect) for dialect in Dialect}

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text() | st.sampled_from(["\x00", "\ud800", "é"]),
    "short": st.text(max_size=4),
    "number": st.integers() | st.integers(-(2**63) - 1, 2**63) | st.booleans(),
    "real": st.floats() | st.integers() | st.just(-0.0),
    "flag": st.booleans() | st.integers(0, 1),
    "amount": st.decimals(places=2) | st.decimals() | st.just(Decimal("-0")) | st.integers() | st.just("1.50"),
    "moment": st.datetimes() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))])),
    "day": st.dates() | st.datetimes() | st.just("2026-01-31"),
    "hour": st.times(),
    "span": st.timedeltas(),
    "key": st.uuids() | st.uuids().map(str),
    "raw": st.binary(max_size=5) | st.binary(max_size=5).map(bytearray),
    "document": st.dictionaries(st.text(max_size=3), st.integers() | st.none(), max_size=2),
    "color": st.sampled_from(Color) | st.sampled_from(["red", "green"]),
    "maybe": st.integers(-5, 5),
}


def outcome(bind: Any) -> tuple[str, Any]:
    try:
        return "values", bind()
    except DataFlowError as error:
        return "error", (type(error), error.message.removeprefix(f"Row {error.context.get('row')}: "))


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_column_is_coerced_as_its_values_are(dialect: Dialect, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(VALUES)))
    values = data.draw(st.lists(VALUES[name] | VALUES[name] | st.none(), min_size=1, max_size=6))
    codec = CODECS[dialect].fields[name]
    one_by_one = outcome(lambda: [codec.bind(value) for value in values])
    at_once = outcome(lambda: ColumnBinder(codec, "Everything").bind(values, range(len(values))))
    assert at_once == one_by_one
    if at_once[0] == "values":
        assert [type(value) for value in at_once[1]] == [type(value) for value in one_by_one[1]]
        assert [math.copysign(1, v) for v in at_once[1] if isinstance(v, float)] == [
            math.copysign(1, v) for v in one_by_one[1] if isinstance(v, float)
        ]


def test_finite_floats_may_add_up_to_more_than_a_float_holds() -> None:
    binder = ColumnBinder(CODECS[Dialect.SQLITE].fields["real"], "Everything")
    values = [1.7e308] * 3
    assert binder.bind(values, range(3)) == values
    for bad in ([math.inf, -math.inf], [1.0, math.nan], [-math.inf, 0.0]):
        with pytest.raises(TypeMismatchError, match="must be finite"):
            binder.bind(bad, range(2))


def test_an_error_names_the_row() -> None:
    binder = ColumnBinder(CODECS[Dialect.SQLITE].fields["number"], "Everything")
    with pytest.raises(TypeMismatchError, match=r"Row 12: Everything\.number is int, got str 'x'") as caught:
        binder.bind([1, 2, "x", "y"], range(10, 14))
    assert caught.value.context["row"] == 12
    with pytest.raises(NotNullViolationError, match=r"Row 11: Everything\.number must not be None"):
        binder.bind([1, None], range(10, 12))


def test_a_single_row_has_no_number() -> None:
    with pytest.raises(TypeMismatchError, match=r"^\[DF-102\] Everything"):
        ColumnBinder(CODECS[Dialect.SQLITE].fields["number"], "Everything").bind(["x"], None)
