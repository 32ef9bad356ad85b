"""Conditions of a SwitchNode: a small part of Python's expressions, evaluated without ``eval``.

Comparisons (also ``in``, ``is None``), ``and``, ``or``, ``not``, numbers, text, True, False, None, lists, names, and
``a.b`` or ``a["b"]`` into dicts and lists. There are no calls, no arithmetic and no attributes of objects.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dataflow.errors import InputError, did_you_mean
from dataflow.nodes.builtin.comparison import Operator, compare
from dataflow.values import child

#: Characters of a condition, at most.
MAX_LENGTH = 2_000
#: Expressions within each other, at most.
MAX_DEPTH = 50

_COMPARISONS: dict[type[ast.cmpop], tuple[Operator, bool]] = {
    ast.Eq: ("==", True),
    ast.NotEq: ("!=", True),
    ast.Gt: (">", True),
    ast.Lt: ("<", True),
    ast.GtE: (">=", True),
    ast.LtE: ("<=", True),
    ast.In: ("in", True),
    ast.NotIn: ("in", False),
}


class Condition:
    """A parsed condition. Make it with :func:`parse_condition`."""

    __slots__ = ("_source", "_tree")

    def __init__(self, tree: ast.expr, source: str) -> None:
        self._tree = tree
        self._source = source

    def holds(self, names: Mapping[str, Any], templates: Mapping[str, Any]) -> bool:
        """Whether it holds.

        Args:
            names: Values of the names it may use.
            templates: Values by the names that stand for its templates.

        Raises:
            InputError: It uses a name that is not there, looks for a key that is not there, or compares values that
                cannot be compared.
        """
        return bool(_Evaluation(self._source, names, templates).value(self._tree))


class _Evaluation:
    def __init__(self, source: str, names: Mapping[str, Any], templates: Mapping[str, Any]) -> None:
        self._source = source
        self._names = names
        self._templates = templates

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str(text)):
                return self._text(text)
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(value=inner, attr=part):
                return self._child(self.value(inner), part)
            case ast.Subscript(value=inner, slice=index):
                return self._child(self.value(inner), str(self.value(index)))
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self.value(item) for item in values)
            case ast.BoolOp(values=values):
                return any(self.value(item) for item in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.value(operand)
            case ast.UnaryOp(operand=operand):
                return -self.value(operand)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return [self.value(item) for item in items]
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compare(left, ops, comparators)
        raise AssertionError(f"{type(node).__name__} passed the check of the grammar")

    def _text(self, text: str) -> Any:
        """Text in quotes, in which templates may be: alone it is the value as it is, else it becomes text."""
        if text in self._templates:
            return self._templates[text]
        for name, value in self._templates.items():
            text = re.sub(rf"{name}(?!\d)", lambda _, value=value: str(value), text)  # type: ignore[misc]
        return text

    def _compare(self, left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> bool:
        value = self.value(left)
        for op, comparator in zip(ops, comparators, strict=True):
            other = self.value(comparator)
            if isinstance(op, ast.Is | ast.IsNot):
                holds = (value is other) is isinstance(op, ast.Is)
            else:
                symbol, wanted = _COMPARISONS[type(op)]
                holds = compare(value, symbol, other) is wanted
            if not holds:
                return False
            value = other
        return True

    def _name(self, name: str) -> Any:
        if name in self._templates:
            return self._templates[name]
        if name in self._names:
            return self._names[name]
        raise InputError(
            f"The condition {self._source!r} uses {name!r}, which is not there.",
            hint=f"{did_you_mean(name, self._names)} Text is in quotes; another node's output is {{{{node.output}}}}.",
            condition=self._source,
        )

    def _child(self, value: Any, part: str) -> Any:
        try:
            return child(value, part)
        except LookupError as error:
            raise InputError(
                f"The condition {self._source!r} finds no {part!r}: {error}.", condition=self._source
            ) from None


@lru_cache(maxsize=512)
def parse_condition(text: str, source: str) -> Condition:
    """A condition.

    Args:
        text: The condition, with names in place of templates.
        source: As the user wrote it, for messages.

    Raises:
        InputError: It is not in the grammar; the message says what is not.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"A condition has at most {MAX_LENGTH:,} characters, got {len(text):,}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"The condition {source!r} cannot be read: {reason}.", condition=source) from None
    _check(tree, source, 0)
    return Condition(tree, source)


def _check(node: ast.expr, source: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"The condition {source!r} is nested deeper than {MAX_DEPTH}.", condition=source)
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, str | int | float):
            children: list[ast.expr] = []
        case ast.Name():
            children = []
        case ast.Attribute(value=inner):
            children = [inner]
        case ast.Subscript(value=inner, slice=ast.Constant(value=str() | int())):
            children = [inner]
        case ast.Subscript(value=inner, slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int()))):
            children = [inner]
        case ast.BoolOp(values=values):
            children = values
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            children = [operand]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            children = []
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            children = items
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            _check_identity(ops, [left, *comparators], source)
            children = [left, *comparators]
        case _:
            raise InputError(
                f"The condition {source!r} uses {ast.unparse(node)!r}, which conditions have not.",
                hint="They have comparisons, and, or, not, in, is None, names, a.b, a['b'], numbers, text and lists. "
                "Compute anything else in a node before.",
                condition=source,
            )
    for item in children:
        _check(item, source, depth + 1)


def _check_identity(ops: list[ast.cmpop], sides: list[ast.expr], source: str) -> None:
    for op, left, right in zip(ops, sides[:-1], sides[1:], strict=True):
        if isinstance(op, ast.Is | ast.IsNot) and not any(
            isinstance(side, ast.Constant) and (side.value is None or isinstance(side.value, bool))
            for side in (left, right)
        ):
            raise InputError(
                f"The condition {source!r} uses 'is' for something else than None, True or False.",
                hint="Use == or !=.",
                condition=source,
            )
