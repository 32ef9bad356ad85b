"""Filter operators: each checks its operand, adds its bound values, and returns a shape.

They work on any :class:`~dataflow.queries.leaves.Subject`. The operators of text are in
:mod:`dataflow.queries.patterns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.queries.leaves import FALSE, TRUE, Leaves, Shape, Subject, invalid, mismatch
from dataflow.queries.patterns import contains, ends_with, like, like_any_case, matches_regex, starts_with

#: Values of one ``$in`` or ``$nin``.
MAX_LIST = 10_000
#: What operators take as a list.
LIST_TYPES = (list, tuple, set, frozenset)

Operator = Callable[[Leaves, Subject, Any], Shape]


def equals(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    """``$eq`` and a plain value; None is IS NULL."""
    if operand is None:
        return ("null", subject.key)
    if isinstance(operand, LIST_TYPES):
        raise invalid(
            leaves,
            subject.spec.name,
            "a list is not a value of this field",
            "Use {'$in': [...]} for any of several.",
        )
    leaves.values.append(subject.bind(operand))
    return ("eq", subject.key)


def _differs(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    return ("ne" if operand is not None else "notnull", equals(leaves, subject, operand)[1])


def _compares(name: str) -> Operator:
    def compare(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
        if operand is None:
            return FALSE
        leaves.values.append(subject.bind(operand))
        return (name, subject.key)

    return compare


def _between(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    low, high = check_range(leaves, subject.spec.name, operand)
    if low is None or high is None:
        return FALSE
    leaves.values.extend([subject.bind(low), subject.bind(high)])
    return ("between", subject.key)


def _within(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    bound, has_null = _bind_list(leaves, subject, "$in", operand)
    key = subject.key
    if not bound:
        return ("null", key) if has_null else FALSE
    shape = ("in", key, _add_list(leaves, bound))
    return ("or", shape, ("null", key)) if has_null else shape


def _without(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    bound, has_null = _bind_list(leaves, subject, "$nin", operand)
    key = subject.key
    if not bound:
        return ("notnull", key) if has_null else TRUE
    shape = ("nin", key, _add_list(leaves, bound))
    return shape if has_null or not subject.spec.nullable else ("or", shape, ("null", key))


def _is_null(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    return ("null" if check_flag(leaves, subject.spec.name, "$null", operand) else "notnull", subject.key)


def _exists(leaves: Leaves, subject: Subject, operand: Any) -> Shape:
    return ("notnull" if check_flag(leaves, subject.spec.name, "$exists", operand) else "null", subject.key)


#: Operators of a field. ``$not`` is not among them: it takes other operators, so the filter parser owns it.
OPERATORS: Mapping[str, Operator] = {
    "$eq": equals,
    "$ne": _differs,
    "$gt": _compares("gt"),
    "$gte": _compares("gte"),
    "$lt": _compares("lt"),
    "$lte": _compares("lte"),
    "$between": _between,
    "$in": _within,
    "$nin": _without,
    "$null": _is_null,
    "$exists": _exists,
    "$like": like,
    "$ilike": like_any_case,
    "$contains": contains,
    "$startswith": starts_with,
    "$endswith": ends_with,
    "$regex": matches_regex,
}


def check_flag(leaves: Leaves, name: str, operator: str, operand: Any) -> bool:
    """The operand of a ``$null`` or ``$exists`` on ``name``."""
    if operand is True or operand is False:
        return operand
    raise mismatch(leaves, name, f"{operator} takes True or False", operand)


def check_range(leaves: Leaves, name: str, operand: Any) -> tuple[Any, Any]:
    """The two values of a ``$between`` on ``name``."""
    if not isinstance(operand, list | tuple) or len(operand) != 2:
        raise invalid(leaves, name, "$between takes a list of two values", "Write {'$between': [low, high]}.")
    return operand[0], operand[1]


def check_list(leaves: Leaves, name: str, operator: str, operand: Any) -> None:
    """Refuse what is not the list of an ``$in`` or ``$nin`` on ``name``."""
    if not isinstance(operand, LIST_TYPES):
        raise mismatch(leaves, name, f"{operator} takes a list", operand)
    if len(operand) > MAX_LIST:
        raise invalid(
            leaves,
            name,
            f"{operator} has {len(operand):,} values, at most {MAX_LIST:,} are taken",
            "Ask in several steps.",
        )


def _bind_list(leaves: Leaves, subject: Subject, operator: str, operand: Any) -> tuple[list[Any], bool]:
    """Driver values without duplicates, and whether None was among them."""
    check_list(leaves, subject.spec.name, operator, operand)
    bind = subject.bind
    bound = list(dict.fromkeys(bind(item) for item in operand if item is not None))
    if isinstance(operand, set | frozenset):
        # The order of a set differs between processes, and a cursor must not.
        bound.sort(key=repr)
    return bound, any(item is None for item in operand)


def _add_list(leaves: Leaves, bound: list[Any]) -> int:
    """Add a list's values and return how many binds it takes.

    PostgreSQL takes one array. Elsewhere the last value is repeated up to a power of two, so that lists of any length
    need few shapes.
    """
    if leaves.dialect is Dialect.POSTGRESQL:
        leaves.values.append(bound)
        return 1
    size = 1 << (len(bound) - 1).bit_length()
    leaves.values.extend(bound)
    leaves.values.extend(bound[-1:] * (size - len(bound)))
    return size
