"""The oracle's filters and sorts: which rows a filter selects, and in which order they come."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from dataflow.errors import (
    InputError,
    InvalidFilterError,
    TypeMismatchError,
    UnknownFieldError,
    UnknownOperatorError,
)
from dataflow.models import FieldSpec, Kind
from tests.integration.meaning.coercion import Refused, coerce_type

Row = Mapping[str, Any]
Fields = Mapping[str, FieldSpec]
#: A condition as a function of a row; True or False where it is the same for every row that there could be.
Test = Callable[[Row], bool] | bool

_GROUPS = {"$and": all, "$or": any, "$nor": lambda parts: not any(parts)}
ORDER = {"$gt": (1,), "$gte": (0, 1), "$lt": (-1,), "$lte": (-1, 0)}
PATTERNS = ("$like", "$ilike", "$contains", "$startswith", "$endswith")


def matches(fields: Fields, conditions: Any, row: Row) -> bool:
    """Whether a filter selects a row."""
    test = parse(fields, conditions)
    return test if isinstance(test, bool) else test(row)


def matches_everything(fields: Fields, conditions: Any) -> bool:
    """Whether a filter selects every row, whatever rows hold."""
    return parse(fields, conditions) is True


def parse(fields: Fields, conditions: Any) -> Test:
    """A filter, checked."""
    if not isinstance(conditions, Mapping):
        raise Refused(InvalidFilterError)
    return all_of([_condition(fields, name, given) for name, given in conditions.items()])


def _condition(fields: Fields, name: Any, given: Any) -> Test:
    if name in fields:
        return _field(fields[name], given)
    root, dot, path = name.partition(".") if isinstance(name, str) else (name, "", "")
    if dot and root in fields and fields[root].type.kind is Kind.JSON:
        return in_json(fields[root], path.split("."), given)
    if name == "$not":
        return negated(parse(fields, given))
    if name in _GROUPS:
        if not isinstance(given, list) or not given:
            raise Refused(InvalidFilterError)
        parts = [parse(fields, part) for part in given]
        if name == "$and":
            return all_of(parts)
        either = negated(all_of([negated(part) for part in parts]))
        return either if name == "$or" else negated(either)
    raise Refused(UnknownOperatorError if name.startswith("$") else UnknownFieldError)


def _field(field: FieldSpec, given: Any) -> Test:
    if field.type.kind is Kind.JSON:
        return in_json(field, [], given)
    if not isinstance(given, Mapping):
        return _leaf(field, "$eq", given)
    if not given:
        raise Refused(InvalidFilterError)
    parts: list[Test] = []
    for operator, operand in given.items():
        parts.append(negated(_field(field, operand)) if operator == "$not" else _leaf(field, operator, operand))
    return all_of(parts)


def all_of(parts: Sequence[Test]) -> Test:
    if any(part is False for part in parts):
        return False
    tests = [part for part in parts if not isinstance(part, bool)]
    return (lambda row: all(test(row) for test in tests)) if tests else True


def negated(part: Test) -> Test:
    return not part if isinstance(part, bool) else lambda row: not part(row)


def _leaf(field: FieldSpec, operator: str, operand: Any) -> Test:
    """One comparison of one field."""
    name = field.name
    if operator in ("$null", "$exists"):
        if not isinstance(operand, bool):
            raise Refused(TypeMismatchError)
        return lambda row: (row[name] is None) == (operand is (operator == "$null"))
    if operator in ("$eq", "$ne"):
        if isinstance(operand, list):
            raise Refused(InvalidFilterError)
        wanted = _operand(field, operand)
        return lambda row: _equal(row[name], wanted) is (operator == "$eq")
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise Refused(TypeMismatchError)
        several = [_operand(field, item) for item in operand]
        if not several:
            return operator == "$nin"
        return lambda row: any(_equal(row[name], item) for item in several) is (operator == "$in")
    if operator in ORDER:
        if operand is None:
            return False
        bound = _operand(field, operand)
        return lambda row: row[name] is not None and compare(row[name], bound) in ORDER[operator]
    if operator == "$between":
        return _between(field, operand)
    if operator in PATTERNS:
        return _pattern(field, operator, operand)
    raise Refused(UnknownOperatorError if operator.startswith("$") else InvalidFilterError)


def _between(field: FieldSpec, operand: Any) -> Test:
    if not isinstance(operand, list) or len(operand) != 2:
        raise Refused(InvalidFilterError)
    if None in operand:
        return False
    low, high = (_operand(field, item) for item in operand)
    name = field.name
    return lambda row: row[name] is not None and compare(low, row[name]) <= 0 and compare(row[name], high) <= 0


def _pattern(field: FieldSpec, operator: str, operand: Any) -> Test:
    if field.type.kind is not Kind.STR:
        raise Refused(InvalidFilterError)
    test = text_test(operator, operand)
    name = field.name
    return test and (lambda row: row[name] is not None and test(plain(row[name])))


def text_test(operator: str, operand: Any) -> Callable[[str], bool] | Literal[False]:
    """Whether a text matches a pattern; False where there is no pattern."""
    if operand is None:
        return False
    if not isinstance(operand, str) or "\0" in operand:
        raise Refused(TypeMismatchError)
    if operator in ("$like", "$ilike"):
        parts = re.findall(r"\\.|.", operand, re.DOTALL)
        if parts and parts[-1] == "\\":
            raise Refused(InvalidFilterError)
    else:
        parts = ["\\" + character for character in operand]
        parts = [*(["%"] if operator != "$startswith" else []), *parts, *(["%"] if operator != "$endswith" else [])]
    fold = lower if operator == "$ilike" else str
    expression = "".join({"%": ".*", "_": "."}.get(part) or re.escape(fold(part[-1])) for part in parts)
    return lambda text: re.fullmatch(expression, fold(text), re.DOTALL) is not None


def lower(text: str) -> str:
    """Lower case, in which all sigmas are one."""
    return text.lower().replace("ς", "σ")


def in_json(field: FieldSpec, parts: Sequence[str], given: Any) -> Test:
    """A condition on a place in a JSON field; without parts, on the whole document."""
    if not isinstance(given, Mapping):
        return _json_leaf(field, parts, "$eq", given)
    if not given:
        raise Refused(InvalidFilterError)
    tests: list[Test] = []
    for name, operand in given.items():
        if name == "$not":
            tests.append(negated(in_json(field, parts, operand)))
        elif name.startswith("$"):
            tests.append(_json_leaf(field, parts, name, operand))
        else:
            tests.append(in_json(field, [*parts, *name.split(".")], operand))
    return all_of(tests)


def _json_leaf(field: FieldSpec, parts: Sequence[str], operator: str, operand: Any) -> Test:
    """One comparison of one place: what is not of the operand's type is unequal to it, and nothing is null."""
    test = _value_test(operator, operand)
    asks_for_null = operator in ("$null", "$exists") or (operand is None and operator in ("$eq", "$ne"))
    if not parts and field.type.python is not object and not asks_for_null:
        raise Refused(InvalidFilterError)
    return test if isinstance(test, bool) else lambda row: test(_place(row[field.name], parts))


def _place(document: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if part.isdigit():
            document = document[int(part)] if isinstance(document, list) and int(part) < len(document) else None
        else:
            document = document.get(part) if isinstance(document, dict) else None
    return document


def _value_test(operator: str, operand: Any) -> Callable[[Any], bool] | bool:
    if operator in ("$null", "$exists"):
        if not isinstance(operand, bool):
            raise Refused(TypeMismatchError)
        return lambda value: (value is None) == (operand is (operator == "$null"))
    if operator in ("$eq", "$ne"):
        wanted = _scalar(operand)
        return lambda value: (_scalar_of(value) == wanted) is (operator == "$eq")
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise Refused(TypeMismatchError)
        several = [_scalar(item) for item in operand]
        if not several:
            return operator == "$nin"
        return lambda value: (_scalar_of(value) in several) is (operator == "$in")
    if operator in ORDER:
        return operand is not None and _json_order([(operand, ORDER[operator])])
    if operator == "$between":
        if not isinstance(operand, list) or len(operand) != 2:
            raise Refused(InvalidFilterError)
        limits = [(limit, signs) for limit, signs in zip(operand, [(0, 1), (-1, 0)], strict=True) if limit is not None]
        test = _json_order(limits)
        return len(limits) == 2 and test
    if operator in PATTERNS:
        matching = text_test(operator, operand)
        return matching and (lambda value: isinstance(value, str) and matching(value))
    raise Refused(UnknownOperatorError)


def _json_order(limits: Sequence[tuple[Any, tuple[int, ...]]]) -> Callable[[Any], bool]:
    bounds = [(_scalar(limit), signs) for limit, signs in limits]
    kinds = {kind for (kind, _), _ in bounds}
    if "bool" in kinds or len(kinds) > 1:
        raise Refused(InvalidFilterError)

    def test(value: Any) -> bool:
        kind, number = _scalar_of(value)
        return kind in kinds and all(compare(number, bound) in signs for (_, bound), signs in bounds)

    return test


def _scalar(operand: Any) -> tuple[str, Any]:
    if not (operand is None or isinstance(operand, str | bool | int | float)):
        raise Refused(InvalidFilterError)
    return _scalar_of(operand)


def _scalar_of(value: Any) -> tuple[str, Any]:
    """A JSON value and what it is; numbers are doubles. What is neither text, number nor flag is equal to nothing."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", float(value)
    if isinstance(value, dict | list):
        return "several", object()
    return "null" if value is None else "text", value


def _operand(field: FieldSpec, operand: Any) -> Any:
    return None if operand is None else coerce_type(field.type, operand)


def _equal(left: Any, right: Any) -> bool:
    return left is right if left is None or right is None else compare(left, right) == 0


def plain(value: Any) -> Any:
    """An enum's value; any other value itself."""
    return value.value if isinstance(value, Enum) else value


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1; text goes by code point, as in Python."""
    left, right = plain(left), plain(right)
    return (left > right) - (left < right)


def parse_sort(given: Any, known: Collection[str]) -> list[tuple[str, bool]]:
    """``(name, descending)`` of a sort in any of the notations."""
    keys: dict[str, bool] = {}
    for item in given if isinstance(given, list) else [given]:
        if isinstance(item, str):
            pairs = [(item.lstrip("+-"), item.startswith("-"))]
        elif "field" in item and isinstance(item["field"], str):
            pairs = [(item["field"], item.get("order", "asc") in ("desc", -1))]
        else:
            pairs = [(name, direction in (-1, "desc")) for name, direction in item.items()]
        for name, descending in pairs:
            if name not in known:
                raise Refused(UnknownFieldError)
            keys.setdefault(name, descending)
    return list(keys.items())


def row_order(fields: Fields, key: str, given: Any) -> list[tuple[str, bool]]:
    """The definite order of a model's rows: newest id first by default, else the id breaks ties."""
    if not given:
        return [(key, True)]
    keys = parse_sort(given, fields)
    if any(fields[name].type.kind is Kind.JSON for name, _ in keys):
        raise Refused(InputError)
    return keys if any(name == key for name, _ in keys) else [*keys, (key, keys[-1][1])]


def in_order(rows: Sequence[Row], keys: Sequence[tuple[str, bool]]) -> list[Row]:
    """Rows in an order, NULLs last in both directions."""

    def relate(left: Row, right: Row) -> int:
        for name, descending in keys:
            a, b = left[name], right[name]
            if a is None or b is None:
                found = (a is None) - (b is None)
            else:
                found = -compare(a, b) if descending else compare(a, b)
            if found:
                return found
        return 0

    return sorted(rows, key=functools.cmp_to_key(relate))
