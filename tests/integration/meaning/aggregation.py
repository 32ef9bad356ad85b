"""The oracle's aggregates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from dataflow.errors import InputError, TypeMismatchError, UnknownFieldError, UnknownOperatorError
from dataflow.models import FieldSpec, FieldType, Kind
from tests.integration.meaning.coercion import Refused, Undecided
from tests.integration.meaning.conditions import Fields, Row, compare, in_order, matches, parse, parse_sort, plain
from tests.integration.meaning.values import scaled

NUMBERS = (Kind.INT, Kind.FLOAT, Kind.DECIMAL)
ADDABLE = (*NUMBERS, Kind.TIMEDELTA)
ORDERED = (*ADDABLE, Kind.STR, Kind.DATETIME, Kind.DATE, Kind.TIME)
NOT_JSON = tuple(kind for kind in Kind if kind is not Kind.JSON)
#: Aggregate → kinds of field that it works on.
WORKS_ON: Mapping[str, Sequence[Kind]] = {
    "$count": tuple(Kind),
    "$count_distinct": NOT_JSON,
    "$sum": ADDABLE,
    "$avg": ADDABLE,
    "$min": ORDERED,
    "$max": ORDERED,
}


def aggregate(fields: Fields, rows: Sequence[Row], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of an Aggregate node over these rows."""
    groups = inputs.get("group_by", [])
    groups = [groups] if isinstance(groups, str) else groups
    asked = {alias: next(iter(given.items())) for alias, given in inputs.get("aggregate", {}).items()}
    result = _result_fields(fields, groups, asked)
    having = inputs.get("having", {})
    parse(result, having)
    keys = parse_sort(inputs["sort"], result) if inputs.get("sort") else []
    records: list[Row] = []
    for members in _grouped(rows, groups):
        record = {name: members[0][name] for name in groups}
        record.update({alias: _value(fields, members, *pair) for alias, pair in asked.items()})
        if matches(result, having, record):
            records.append(record)
    ordered = in_order(records, [*keys, *((name, False) for name in groups)])
    limit = inputs.get("limit")
    return [dict(record) for record in (ordered if limit is None else ordered[:limit])]


def _result_fields(fields: Fields, groups: Sequence[str], asked: Mapping[str, tuple[str, str]]) -> dict[str, FieldSpec]:
    found: dict[str, FieldSpec] = {}
    for name in groups:
        if name not in fields:
            raise Refused(UnknownFieldError)
        if fields[name].type.kind is Kind.JSON:
            raise Refused(InputError)
        found[name] = fields[name]
    for alias, (operator, name) in asked.items():
        if operator not in WORKS_ON:
            raise Refused(UnknownOperatorError)
        if operator == "$count" and name == "*":
            found[alias] = FieldSpec(alias, _INT)
            continue
        if name not in fields:
            raise Refused(UnknownFieldError)
        kind = fields[name].type
        if kind.kind not in WORKS_ON[operator] or (operator in ("$sum", "$avg") and kind.enum):
            raise Refused(InputError)
        found[alias] = FieldSpec(alias, result_type(fields, operator, name), nullable=True)
    return found


_INT = FieldType(Kind.INT, int)


def result_type(fields: Fields, operator: str, name: str) -> FieldType:
    """The type of an aggregate over a field."""
    if operator in ("$count", "$count_distinct"):
        return _INT
    kind = fields[name].type
    if operator == "$avg" and kind.kind is Kind.INT:
        return FieldType(Kind.FLOAT, float)
    return replace(kind, precision=65) if operator == "$sum" else kind


def _grouped(rows: Sequence[Row], groups: Sequence[str]) -> list[list[Row]]:
    if not groups:
        return [list(rows)]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(plain(row[name]) for name in groups), []).append(row)
    return list(found.values())


def _value(fields: Fields, rows: Sequence[Row], operator: str, name: str) -> Any:
    if name == "*" and operator == "$count":
        return len(rows)
    found = [row[name] for row in rows if row[name] is not None]
    if operator == "$count":
        return len(found)
    if operator == "$count_distinct":
        return len({plain(value) for value in found})
    if not found:
        return None
    if operator in ("$min", "$max"):
        best = found[0]
        for value in found:
            if compare(value, best) == (-1 if operator == "$min" else 1):
                best = value
        return best
    kind = fields[name].type
    total = sum(Fraction(_exact(value)) for value in found)
    return _number(kind, total if operator == "$sum" else total / len(found), operator, found)


def _exact(value: Any) -> Any:
    return value // timedelta(microseconds=1) if isinstance(value, timedelta) else value


def _number(kind: FieldType, number: Fraction, operator: str, found: Sequence[Any]) -> Any:
    match kind.kind:
        case Kind.INT:
            return int(number) if operator == "$sum" else float(number)
        case Kind.FLOAT:
            if sum(abs(Fraction(value)) for value in found) > 1.6e308:
                raise Undecided  # whether a partial sum overflows depends on the order of the rows
            if 0 < abs(number) < 2.3e-308 <= max(map(abs, found)):
                raise Undecided  # whether what is left is lost depends on the order of the rows
            return float(number) + 0.0
        case Kind.DECIMAL:
            return scaled(half_away(number * 10**kind.scale), kind.scale)
    try:
        return timedelta(microseconds=half_away(number))
    except OverflowError:
        raise Refused(TypeMismatchError) from None


def half_away(number: Fraction) -> int:
    """The nearest whole number; halves go away from zero."""
    return math.floor(abs(number) + Fraction(1, 2)) * (1 if number >= 0 else -1)


def times(value: Decimal, factor: Decimal | int, scale: int) -> Fraction:
    """A product, rounded half away from zero to a scale."""
    return Fraction(half_away(Fraction(value) * Fraction(factor) * 10**scale), 10**scale)
