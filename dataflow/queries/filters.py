"""Filters: from ``{"age": {"$gte": 18}}`` to a shape and its bound values.

A filter has two values, never a third: a comparison with NULL is false, and ``$not`` and ``$nor`` select exactly the
rows that their inner filter does not. ``$ne`` and ``$nin`` include rows where the field is NULL. An empty ``$in``
matches nothing, an empty ``$nin`` everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, UnknownFieldError, UnknownOperatorError, did_you_mean
from dataflow.models import Kind, RelationSpec
from dataflow.queries.clauses import build_clause
from dataflow.queries.codecs import FieldCodec, ModelCodec
from dataflow.queries.operators import FALSE, OPERATORS, TRUE, Leaves, Shape, equals
from dataflow.queries.plan import Binds

#: Filters inside filters.
MAX_DEPTH = 10
#: Conditions in one filter.
MAX_CONDITIONS = 200
#: SQLite takes at most 32,766 binds in a statement; some are left for the statement's own.
MAX_SQLITE_VALUES = 32_000

_GROUPS = ("$and", "$or", "$nor")
_LOGICAL = (*_GROUPS, "$not")
_LATER = {"$regex"}
#: Leaves that are never unknown have an opposite that an index can serve.
_OPPOSITES = {"null": "notnull", "notnull": "null"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter.

    Attributes:
        shape: What it asks, without values; hashable.
        values: Driver values, in the order of the shape.
    """

    shape: Shape
    values: list[Any]
    _fields: Mapping[str, FieldCodec]
    _dialect: Dialect

    @property
    def is_empty(self) -> bool:
        """Whether it matches every row, whatever the rows hold."""
        return self.shape == TRUE

    def clause(
        self, table: sa.FromClause | Mapping[str, sa.ColumnElement[Any]], binds: Binds
    ) -> sa.ColumnElement[bool] | None:
        """The condition, or None if it matches everything.

        Args:
            table: The table, or what stands for each field.
            binds: Hands out one bind per value, in order.
        """
        if self.is_empty:
            return None
        columns = table.c if isinstance(table, sa.FromClause) else table
        return build_clause(self.shape, columns, self._fields, self._dialect, binds)


def parse_filter(codec: ModelCodec, dialect: Dialect, conditions: Mapping[str, Any]) -> Filter:
    """Parse a filter over the fields of a model.

    Raises:
        UnknownFieldError: It names a field that does not exist.
        UnknownOperatorError: It names an operator that does not exist.
        TypeMismatchError: A value is not of its field's type.
        InvalidFilterError: It is not built as a filter is, is too large, or needs what this version does not have yet.
    """
    spec = codec.spec
    return parse_conditions(codec.fields, dialect, conditions, owner=spec.name, relations=spec.relations)


def parse_conditions(
    fields: Mapping[str, FieldCodec],
    dialect: Dialect,
    conditions: Mapping[str, Any],
    *,
    owner: str,
    relations: Sequence[RelationSpec] = (),
) -> Filter:
    """Parse a filter over named values: ``parse_filter`` for whatever is not a model, such as aggregates."""
    parser = _Parser(fields, dialect, owner, relations)
    shape = parser.conditions(conditions, 0)
    values = parser.leaves.values
    if dialect is Dialect.SQLITE and len(values) > MAX_SQLITE_VALUES:
        raise InvalidFilterError(
            f"The filter on {owner} binds {len(values):,} values, SQLite takes {MAX_SQLITE_VALUES:,}.",
            hint="Ask in several steps.",
            model=owner,
        )
    return Filter(shape, values, fields, dialect)


class _Parser:
    """One walk over a filter. Methods return shapes and add their values to ``leaves``."""

    __slots__ = ("count", "fields", "leaves", "owner", "relations")

    def __init__(
        self, fields: Mapping[str, FieldCodec], dialect: Dialect, owner: str, relations: Sequence[RelationSpec]
    ) -> None:
        self.fields = fields
        self.leaves = Leaves(owner, dialect, [])
        self.owner = owner
        self.relations = relations
        self.count = 0

    def conditions(self, given: Any, depth: int) -> Shape:
        if not isinstance(given, Mapping):
            raise self.invalid(f"a filter is a dict, got {type(given).__name__}", "Write {'field': value}.")
        if depth > MAX_DEPTH:
            raise self.invalid(f"nested deeper than {MAX_DEPTH}", "Flatten it.")
        mark = len(self.leaves.values)
        parts: list[Shape] = []
        for name, condition in given.items():
            codec = self.fields.get(name)
            if codec is not None:
                parts.append(self.field(codec, condition, depth))
            elif name in _LOGICAL:
                parts.append(self.logical(name, condition, depth))
            else:
                raise self.unknown_name(name)
        return self.all_of(parts, mark)

    def logical(self, name: str, operand: Any, depth: int) -> Shape:
        mark = len(self.leaves.values)
        if name == "$not":
            return self.none_of(self.conditions(operand, depth + 1), mark)
        if not isinstance(operand, list | tuple) or not operand:
            raise self.invalid(f"{name} takes a list of at least one filter", f"Write {{'{name}': [{{…}}, {{…}}]}}.")
        parts = [self.conditions(part, depth + 1) for part in operand]
        if name == "$and":
            return self.all_of(parts, mark)
        either = self.any_of(parts, mark)
        return either if name == "$or" else self.none_of(either, mark)

    def field(self, codec: FieldCodec, condition: Any, depth: int) -> Shape:
        if isinstance(condition, Mapping):
            return self.operators(codec, condition, depth)
        self.count_condition()
        return equals(self.leaves, codec, condition)

    def operators(self, codec: FieldCodec, condition: Mapping[str, Any], depth: int) -> Shape:
        name = codec.spec.name
        if not condition:
            raise self.invalid(f"'{name}' has an empty dict of operators", "Write {'$gt': 5}, or leave the field out.")
        mark = len(self.leaves.values)
        parts: list[Shape] = []
        for operator, operand in condition.items():
            self.count_condition()
            found = OPERATORS.get(operator)
            if found is not None:
                parts.append(found(self.leaves, codec, operand))
            elif operator == "$not":
                if depth >= MAX_DEPTH:
                    raise self.invalid(f"nested deeper than {MAX_DEPTH}", "Flatten it.")
                start = len(self.leaves.values)
                parts.append(self.none_of(self.field(codec, operand, depth + 1), start))
            else:
                raise self.unknown_operator(codec, operator)
        return self.all_of(parts, mark)

    def all_of(self, parts: list[Shape], mark: int) -> Shape:
        """AND, with constants folded; a part that is dropped takes its values (all after ``mark``) with it."""
        if FALSE in parts:
            del self.leaves.values[mark:]
            return FALSE
        parts = [part for part in parts if part != TRUE]
        if len(parts) == 1:
            return parts[0]
        return ("and", *parts) if parts else TRUE

    def any_of(self, parts: list[Shape], mark: int) -> Shape:
        """OR, the same way."""
        if TRUE in parts:
            del self.leaves.values[mark:]
            return TRUE
        parts = [part for part in parts if part != FALSE]
        if len(parts) == 1:
            return parts[0]
        return ("or", *parts) if parts else FALSE

    def none_of(self, part: Shape, mark: int) -> Shape:
        """NOT."""
        if part in (TRUE, FALSE):
            del self.leaves.values[mark:]
            return FALSE if part == TRUE else TRUE
        opposite = _OPPOSITES.get(part[0])
        return (opposite, *part[1:]) if opposite else ("not", part)

    def count_condition(self) -> None:
        self.count += 1
        if self.count > MAX_CONDITIONS:
            raise self.invalid(f"more than {MAX_CONDITIONS} conditions", "Use $in for many values of one field.")

    def invalid(self, problem: str, hint: str) -> InvalidFilterError:
        return InvalidFilterError(f"Filter on {self.owner}: {problem}.", hint=hint, model=self.owner)

    def unknown_name(self, name: Any) -> Exception:
        if not isinstance(name, str):
            return self.invalid(f"field names are text, got {type(name).__name__} {name!r}", "Write {'field': value}.")
        if name.startswith("$"):
            if name in OPERATORS or name in _LATER:
                return self.invalid(f"{name} belongs to a field", f"Write {{'field': {{'{name}': …}}}}.")
            return UnknownOperatorError(
                f"Filter on {self.owner}: there is no operator {name!r}.",
                hint=did_you_mean(name, _LOGICAL),
                model=self.owner,
                operator=name,
            )
        first = name.split(".")[0]
        if any(relation.name == first for relation in self.relations):
            return self.invalid(
                f"'{name}' filters through a relation, which is not in this version yet",
                f"Filter on '{next(item.field for item in self.relations if item.name == first)}'.",
            )
        if first != name and first in self.fields and self.fields[first].spec.type.kind is Kind.JSON:
            return self.invalid(
                f"'{name}' looks into JSON, which is not in this version yet", "Keep what you filter on in a field."
            )
        return UnknownFieldError(
            f"{self.owner} has no field {name!r}.",
            hint=did_you_mean(name, self.fields),
            model=self.owner,
            field=name,
        )

    def unknown_operator(self, codec: FieldCodec, operator: Any) -> Exception:
        name = codec.spec.name
        if operator in _LATER:
            return self.invalid(f"{operator} is not in this version yet", "Use $like, $ilike or $contains.")
        if codec.spec.type.kind is Kind.JSON:
            return self.invalid(f"looking into JSON ('{name}') is not in this version yet", "Use $null or $exists.")
        if isinstance(operator, str) and operator.startswith("$"):
            return UnknownOperatorError(
                f"Filter on {self.owner}.{name}: there is no operator {operator!r}.",
                hint=did_you_mean(operator, (*OPERATORS, "$not")),
                model=self.owner,
                field=name,
                operator=operator,
            )
        return self.invalid(
            f"'{name}' is {codec.spec.type.label}, not a dict: {operator!r} is no operator",
            "Operators begin with '$', such as {'$gt': 5}.",
        )
