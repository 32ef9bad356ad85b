"""Operators on a place in a JSON field.

The operand's type decides what the place is read as: text, a number (compared as a double), or true and false. A place
that holds another type, JSON null or nothing is unequal to every operand: comparisons are false there, ``$ne`` and
``$nin`` true. Nothing and JSON null are the same: None, ``$null`` and ``$exists`` do not tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflow.errors import InvalidFilterError
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.json_paths import JsonPath
from dataflow.queries.json_readings import Reading, json_reading, read_as
from dataflow.queries.leaves import FALSE, TRUE, Leaves, Shape, any_of, invalid, none_of
from dataflow.queries.operators import LIST_TYPES, OPERATORS, check_list, check_range

JsonOperator = Callable[[Leaves, JsonPath, Any], Shape]


def json_leaf(leaves: Leaves, codec: FieldCodec, path: JsonPath, operator: str, operand: Any) -> Shape:
    """An operator on a place in a JSON field.

    Args:
        leaves: Where the values go.
        codec: The field.
        path: The place in it; without parts, the whole document.
        operator: One of ``OPERATORS``.
        operand: What the user gave.
    """
    if path.parts:
        return _JSON_OPERATORS[operator](leaves, path, operand)
    if operator in ("$null", "$exists") or (operand is None and operator in ("$eq", "$ne")):
        return OPERATORS[operator](leaves, codec, operand)
    if codec.spec.type.python is not object:
        raise invalid(
            leaves,
            path.name,
            f"{operator} compares with text, numbers, True and False, this is a {codec.spec.type.label}",
            f"Name a place in it, such as '{path.name}.{'key' if codec.spec.type.python is dict else '0'}'.",
        )
    return _JSON_OPERATORS[operator](leaves, path, operand)


def _leaf(leaves: Leaves, path: JsonPath, reading: Reading, operator: str, operand: Any) -> Shape:
    """An operator on one reading of the place."""
    mark = len(leaves.values)
    subject, values = read_as(path, reading, leaves.dialect, leaves.owner)
    leaves.values.extend(values)
    shape = OPERATORS[operator](leaves, subject, operand)
    if shape in (TRUE, FALSE):
        del leaves.values[mark:]
    return shape


def _equality(operator: str) -> JsonOperator:
    def compare(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
        reading = Reading.PRESENT if operand is None else _reading(leaves, path, operand)
        return _leaf(leaves, path, reading, operator, operand)

    return compare


def _order(operator: str) -> JsonOperator:
    def compare(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
        if operand is None:
            return FALSE
        return _leaf(leaves, path, _ordered_reading(leaves, path, operand), operator, operand)

    return compare


def _between(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
    low, high = check_range(leaves, path.name, operand)
    readings = {_ordered_reading(leaves, path, limit) for limit in (low, high) if limit is not None}
    if low is None or high is None:
        return FALSE
    if len(readings) > 1:
        raise invalid(leaves, path.name, "$between has limits of two types", "Give two numbers, or two texts.")
    return _leaf(leaves, path, readings.pop(), "$between", operand)


def _within(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
    return _any_of_list(leaves, path, "$in", operand)


def _without(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
    mark = len(leaves.values)
    return none_of(leaves, _any_of_list(leaves, path, "$nin", operand), mark)


def _any_of_list(leaves: Leaves, path: JsonPath, operator: str, operand: Any) -> Shape:
    check_list(leaves, path.name, operator, operand)
    mark = len(leaves.values)
    # In one order, whatever the list's: as few shapes as can be.
    groups: dict[Reading, list[Any]] = {reading: [] for reading in Reading}
    for item in operand:
        groups[Reading.PRESENT if item is None else _reading(leaves, path, item)].append(item)
    parts = [_leaf(leaves, path, reading, "$in", items) for reading, items in groups.items() if items]
    return any_of(leaves, parts, mark)


def _plain(operator: str, reading: Reading) -> JsonOperator:
    def apply(leaves: Leaves, path: JsonPath, operand: Any) -> Shape:
        return _leaf(leaves, path, reading, operator, operand)

    return apply


#: The same names as the operators of fields.
_JSON_OPERATORS: Mapping[str, JsonOperator] = {
    "$eq": _equality("$eq"),
    "$ne": _equality("$ne"),
    "$gt": _order("$gt"),
    "$gte": _order("$gte"),
    "$lt": _order("$lt"),
    "$lte": _order("$lte"),
    "$between": _between,
    "$in": _within,
    "$nin": _without,
    "$null": _plain("$null", Reading.PRESENT),
    "$exists": _plain("$exists", Reading.PRESENT),
    "$like": _plain("$like", Reading.PATTERN),
    "$ilike": _plain("$ilike", Reading.PATTERN),
    "$contains": _plain("$contains", Reading.PATTERN),
    "$startswith": _plain("$startswith", Reading.PATTERN),
    "$endswith": _plain("$endswith", Reading.PATTERN),
    "$regex": _plain("$regex", Reading.PATTERN),
}


def _ordered_reading(leaves: Leaves, path: JsonPath, operand: Any) -> Reading:
    reading = _reading(leaves, path, operand)
    if reading is Reading.BOOL:
        raise invalid(leaves, path.name, "true and false have no order", "Compare them with $eq or $in.")
    return reading


def _reading(leaves: Leaves, path: JsonPath, operand: Any) -> Reading:
    reading = json_reading(operand)
    if reading is None:
        raise _refused(leaves, path, operand)
    return reading


def _refused(leaves: Leaves, path: JsonPath, operand: Any) -> InvalidFilterError:
    if isinstance(operand, LIST_TYPES):
        return invalid(
            leaves,
            path.name,
            "JSON is compared with text, numbers, True and False, not with a list",
            f"Use {{'$in': […]}} for any of several, or name a place in it, such as '{path.name}.0'.",
        )
    if isinstance(operand, Mapping):
        return invalid(
            leaves,
            path.name,
            "JSON is compared with text, numbers, True and False, not with a dict",
            f"Name each place in it, such as {{'{path.name}': {{'key': value}}}}.",
        )
    return invalid(
        leaves,
        path.name,
        f"JSON holds text, numbers, true, false and null, not {type(operand).__name__}",
        "Compare with what is stored, such as ISO 8601 text for a date.",
    )
