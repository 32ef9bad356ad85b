"""Comparisons that a SwitchNode makes, one meaning for its operators and its conditions.

As in filters, ``<``, ``>``, ``<=``, ``>=`` and containment with None are false rather than errors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

from dataflow.errors import TypeMismatchError


def _contains(container: Any, item: Any) -> bool:
    return item in container


def _is_in(item: Any, container: Any) -> bool:
    return item in container


_ALWAYS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "is_null": lambda left, _: left is None,
    "is_not_null": lambda left, _: left is not None,
}
_ORDERED: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_CONTAINMENT: dict[str, tuple[Callable[[Any, Any], Any], int]] = {"in": (_is_in, 1), "contains": (_contains, 0)}

#: The operators of a SwitchNode.
Operator = Literal["==", "!=", ">", "<", ">=", "<=", "in", "contains", "is_null", "is_not_null"]


def compare(left: Any, symbol: Operator, right: Any) -> bool:
    """Whether ``left symbol right`` holds.

    Raises:
        TypeMismatchError: Values of these types cannot be compared so.
    """
    if symbol in _ALWAYS:
        return bool(_ALWAYS[symbol](left, right))
    try:
        if symbol in _ORDERED:
            return left is not None and right is not None and bool(_ORDERED[symbol](left, right))
        function, container = _CONTAINMENT[symbol]
        return (left, right)[container] is not None and bool(function(left, right))
    except TypeError:
        raise TypeMismatchError(
            f"{type(left).__name__} {symbol} {type(right).__name__} has no meaning: {left!r} {symbol} {right!r}.",
            operator=symbol,
        ) from None
