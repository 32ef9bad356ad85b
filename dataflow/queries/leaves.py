"""What filters are built from while they are parsed: shapes, and the values that go with them.

A shape is a nested tuple without any value, so equal questions with other values have equal shapes. Its leaves are
``(operator, key)``, ``("in", key, number of binds)`` and ``("nin", …)``, where the key says what is compared: the name
of a field, or a place in a JSON field (:mod:`dataflow.queries.json_readings`). Around them stand ``("and", …)``,
``("or", …)`` and ``("not", shape)``. :mod:`dataflow.queries.clauses` turns shapes into SQL.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, TypeMismatchError
from dataflow.models import FieldSpec
from dataflow.queries.codecs import Convert

Shape = tuple[Any, ...]

TRUE: Shape = ("true",)
FALSE: Shape = ("false",)

#: Leaves that are never unknown have an opposite that an index can serve.
_OPPOSITES = {"null": "notnull", "notnull": "null"}


@dataclass(slots=True)
class Leaves:
    """Where the operators of one filter put their values.

    Attributes:
        owner: Name of the model, for messages.
        dialect: Which database the values are for.
        values: Bound values so far, in order.
    """

    owner: str
    dialect: Dialect
    values: list[Any]


class Subject(Protocol):
    """What an operator is asked of: a field, or a place in a JSON field that is read as one type."""

    @property
    def key(self) -> Hashable:
        """What stands for it in a shape."""

    @property
    def spec(self) -> FieldSpec:
        """Its type; the name is what messages call it."""

    @property
    def bind(self) -> Convert:
        """User's value → driver's value."""


# Combining shapes folds constants. A part that is dropped takes its values with it: all after ``mark``, the number of
# values before the first part. Constants have no values of their own.


def all_of(leaves: Leaves, parts: list[Shape], mark: int) -> Shape:
    """AND."""
    if FALSE in parts:
        del leaves.values[mark:]
        return FALSE
    parts = [part for part in parts if part != TRUE]
    if len(parts) == 1:
        return parts[0]
    return ("and", *parts) if parts else TRUE


def any_of(leaves: Leaves, parts: list[Shape], mark: int) -> Shape:
    """OR."""
    if TRUE in parts:
        del leaves.values[mark:]
        return TRUE
    parts = [part for part in parts if part != FALSE]
    if len(parts) == 1:
        return parts[0]
    return ("or", *parts) if parts else FALSE


def none_of(leaves: Leaves, part: Shape, mark: int) -> Shape:
    """NOT."""
    if part in (TRUE, FALSE):
        del leaves.values[mark:]
        return FALSE if part == TRUE else TRUE
    if part[0] == "not":
        return cast(Shape, part[1])
    opposite = _OPPOSITES.get(part[0])
    return (opposite, *part[1:]) if opposite else ("not", part)


def invalid(leaves: Leaves, name: str, problem: str, hint: str | None) -> InvalidFilterError:
    """The error for a condition on ``name`` that is not built as one."""
    return InvalidFilterError(f"Filter on {leaves.owner}.{name}: {problem}.", hint=hint, model=leaves.owner, field=name)


def mismatch(leaves: Leaves, name: str, expected: str, operand: Any) -> TypeMismatchError:
    """The error for an operand of the wrong type."""
    return TypeMismatchError(
        f"Filter on {leaves.owner}.{name}: {expected}, got {type(operand).__name__}.",
        model=leaves.owner,
        field=name,
    )
