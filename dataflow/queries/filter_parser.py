"""The walk over a filter: which names are fields, which are operators, and how large it may be."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, UnknownFieldError, UnknownOperatorError, did_you_mean
from dataflow.models import Kind, RelationSpec
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.json_operators import json_leaf
from dataflow.queries.json_paths import JsonPath
from dataflow.queries.leaves import FALSE, TRUE, Leaves, Shape, all_of, any_of, none_of
from dataflow.queries.model import ModelRows
from dataflow.queries.operators import OPERATORS, check_flag
from dataflow.queries.relations import find_relation, related_rows
from dataflow.values import is_mapping

#: Filters inside filters.
MAX_DEPTH = 10
#: Conditions in one filter.
MAX_CONDITIONS = 200

_LOGICAL = frozenset({"$and", "$or", "$nor", "$not"})


class FilterParser:
    """One walk over a filter. Methods return shapes and add their values to ``leaves``.

    Args:
        fields: What can be named.
        dialect: Which database the values are for.
        owner: What messages call the owner of the fields.
        rows: Its rows, where it is a model and has relations.
    """

    __slots__ = ("_counter", "fields", "leaves", "owner", "rows")

    def __init__(
        self, fields: Mapping[str, FieldCodec], dialect: Dialect, owner: str, rows: ModelRows | None = None
    ) -> None:
        self.fields = fields
        self.leaves = Leaves(owner, dialect, [])
        self.owner = owner
        self.rows = rows
        self._counter = itertools.count(1)

    def inside(self, related: ModelRows) -> FilterParser:
        """The parser of a filter on related rows: their names, the same values and limits."""
        parser = FilterParser(related.codec.fields, related.dialect, related.spec.name, related)
        parser.leaves.values = self.leaves.values
        parser._counter = self._counter
        return parser

    def conditions(self, given: Any, depth: int) -> Shape:
        """A filter: names and logical operators, ANDed."""
        if not is_mapping(given):
            raise self.invalid(f"a filter is a dict, got {type(given).__name__}", "Write {'field': value}.")
        self.check_depth(depth)
        mark = len(self.leaves.values)
        parts = [self.named(name, condition, depth) for name, condition in given.items()]
        return all_of(self.leaves, parts, mark)

    def named(self, name: Any, condition: Any, depth: int) -> Shape:
        """What a filter says of one name."""
        codec = self.fields.get(name)
        if codec is not None:
            target = JsonPath(codec.key) if codec.spec.type.kind is Kind.JSON else codec
            return self.on(target, condition, depth)
        if name in _LOGICAL:
            return self.logical(name, condition, depth)
        if isinstance(name, str):
            first, dot, rest = name.partition(".")
            codec = self.fields.get(first)
            if codec is not None and codec.spec.type.kind is Kind.JSON:
                return self.on(self.down(JsonPath(first), rest), condition, depth)
            relation = find_relation(self.rows.spec, first) if self.rows is not None and codec is None else None
            if relation is not None:
                return self.related(relation, {rest: condition} if dot else condition, depth)
        raise self.unknown_name(name)

    def related(self, relation: RelationSpec, condition: Any, depth: int) -> Shape:
        """A condition on a related row: None, or a filter that may also ask with ``$null`` or ``$exists`` for it."""
        assert self.rows is not None
        rows = related_rows(self.rows, relation)
        name = relation.name
        there: Shape = ("related", name, TRUE)
        if condition is None:
            self.count()
            return ("not", there)
        if not is_mapping(condition) or not condition:
            raise self.invalid(
                f"'{name}' is a relation to {relation.model}, and takes a dict that is not empty, or None",
                f"Filter on '{relation.field}' for its id, or write {{'{name}': {{'field': value}}}}.",
            )
        mark = len(self.leaves.values)
        parts: list[Shape] = []
        inner: dict[Any, Any] = {}
        for key, operand in condition.items():
            if key in ("$null", "$exists"):
                self.count()
                present = check_flag(self.leaves, name, key, operand) is (key == "$exists")
                parts.append(there if present else ("not", there))
            else:
                inner[key] = operand
        if inner:
            shape = self.inside(rows).conditions(inner, depth + 1)
            parts.append(FALSE if shape == FALSE else ("related", name, shape))
        return all_of(self.leaves, parts, mark)

    def logical(self, name: str, operand: Any, depth: int) -> Shape:
        mark = len(self.leaves.values)
        if name == "$not":
            return none_of(self.leaves, self.conditions(operand, depth + 1), mark)
        if not isinstance(operand, list | tuple) or not operand:
            raise self.invalid(f"{name} takes a list of at least one filter", f"Write {{'{name}': [{{…}}, {{…}}]}}.")
        parts = [self.conditions(part, depth + 1) for part in operand]
        if name == "$and":
            return all_of(self.leaves, parts, mark)
        either = any_of(self.leaves, parts, mark)
        return either if name == "$or" else none_of(self.leaves, either, mark)

    def on(self, target: FieldCodec | JsonPath, condition: Any, depth: int) -> Shape:
        """A condition on a field, or on a place in a JSON field: a value, or a dict of operators and parts of paths."""
        if not is_mapping(condition):
            return self.leaf(target, "$eq", condition)
        self.check_depth(depth)
        if not condition:
            name = _name(target)
            raise self.invalid(f"'{name}' has an empty dict of operators", "Write {'$gt': 5}, or leave the field out.")
        mark = len(self.leaves.values)
        parts: list[Shape] = []
        for name, operand in condition.items():
            if name in OPERATORS:
                parts.append(self.leaf(target, name, operand))
            elif name == "$not":
                start = len(self.leaves.values)
                parts.append(none_of(self.leaves, self.on(target, operand, depth + 1), start))
            elif isinstance(target, JsonPath) and isinstance(name, str) and not name.startswith("$"):
                parts.append(self.on(self.down(target, name), operand, depth))
            else:
                raise self.unknown_operator(target, name)
        return all_of(self.leaves, parts, mark)

    def leaf(self, target: FieldCodec | JsonPath, operator: str, operand: Any) -> Shape:
        self.count()
        if isinstance(target, JsonPath):
            return json_leaf(self.leaves, self.fields[target.field], target, operator, operand)
        return OPERATORS[operator](self.leaves, target, operand)

    def down(self, path: JsonPath, name: str) -> JsonPath:
        """The place that a name leads to."""
        try:
            return path.down(name)
        except ValueError as error:
            raise self.invalid(f"'{path.name}' cannot be looked into by {name[:100]!r}: {error}", None) from None

    def count(self) -> None:
        """One more condition."""
        if next(self._counter) > MAX_CONDITIONS:
            raise self.invalid(f"more than {MAX_CONDITIONS} conditions", "Use $in for many values of one field.")

    def check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.invalid(f"nested deeper than {MAX_DEPTH}", "Flatten it.")

    def invalid(self, problem: str, hint: str | None) -> InvalidFilterError:
        return InvalidFilterError(f"Filter on {self.owner}: {problem}.", hint=hint, model=self.owner)

    def unknown_name(self, name: Any) -> Exception:
        if not isinstance(name, str):
            return self.invalid(f"field names are text, got {type(name).__name__} {name!r}", "Write {'field': value}.")
        if name.startswith("$"):
            if name in OPERATORS:
                return self.invalid(f"{name} belongs to a field", f"Write {{'field': {{'{name}': …}}}}.")
            return UnknownOperatorError(
                f"Filter on {self.owner}: there is no operator {name!r}.",
                hint=did_you_mean(name, _LOGICAL),
                model=self.owner,
                operator=name,
            )
        first = name.partition(".")[0]
        if first != name and first in self.fields:
            label = self.fields[first].spec.type.label
            return self.invalid(f"'{name}' looks into '{first}', which is {label}", "Only JSON can be looked into.")
        relations = [relation.name for relation in self.rows.spec.relations] if self.rows is not None else []
        return UnknownFieldError(
            f"{self.owner} has no field {first!r}.",
            hint=did_you_mean(first, [*self.fields, *relations]),
            model=self.owner,
            field=first,
        )

    def unknown_operator(self, target: FieldCodec | JsonPath, operator: Any) -> Exception:
        name = _name(target)
        if operator == "$options":
            return self.invalid("there is no $options", "Begin the pattern of $regex with (?i), (?m) or (?s).")
        if isinstance(operator, str) and operator.startswith("$"):
            return UnknownOperatorError(
                f"Filter on {self.owner}.{name}: there is no operator {operator!r}.",
                hint=did_you_mean(operator, (*OPERATORS, "$not")),
                model=self.owner,
                field=name,
                operator=operator,
            )
        if isinstance(target, JsonPath):
            return self.invalid(
                f"'{name}' has the key {operator!r}, which is not text", f"Write an index as text: {{'{operator}': …}}."
            )
        return self.invalid(
            f"'{name}' is {target.spec.type.label}, not a dict: {operator!r} is no operator",
            "Operators begin with '$', such as {'$gt': 5}.",
        )


def _name(target: FieldCodec | JsonPath) -> str:
    return target.name if isinstance(target, JsonPath) else target.spec.name
