"""Filters: from ``{"age": {"$gte": 18}}`` to a shape and its bound values.

A filter has two values, never a third: a comparison with NULL is false, and ``$not`` and ``$nor`` select exactly the
rows that their inner filter does not. ``$ne`` and ``$nin`` include rows where the field is NULL. An empty ``$in``
matches nothing, an empty ``$nin`` everything.

A JSON field is looked into by path, and a relation is followed, in two notations that mean the same:
``{"meta.size.w": 3}`` is ``{"meta": {"size": {"w": 3}}}``, and ``{"customer.email": "x"}`` is
``{"customer": {"email": "x"}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError
from dataflow.queries.clauses import Columns, build_clause
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.filter_parser import FilterParser
from dataflow.queries.leaves import TRUE, Shape
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Binds

#: SQLite takes at most 32,766 binds in a statement; some are left for the statement's own.
MAX_SQLITE_VALUES = 32_000


class Filter(msgspec.Struct, frozen=True):
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

    def clause(self, rows: ModelRows | Columns, binds: Binds) -> sa.ColumnElement[bool] | None:
        """The condition, or None if it matches everything.

        Args:
            rows: The rows, or what stands for each field.
            binds: Hands out one bind per value, in order.
        """
        if self.is_empty:
            return None
        return build_clause(self.shape, rows, self._fields, self._dialect, binds)


def parse_filter(rows: ModelRows, conditions: Mapping[str, Any]) -> Filter:
    """Parse a filter over the fields of a model.

    Raises:
        UnknownFieldError: It names a field that does not exist.
        UnknownOperatorError: It names an operator that does not exist.
        TypeMismatchError: A value is not of its field's type.
        InvalidFilterError: It is not built as a filter is, is too large, or needs what this version does not have yet.
    """
    return _parse(FilterParser(rows.codec.fields, rows.dialect, rows.spec.name, rows), conditions)


def parse_conditions(
    fields: Mapping[str, FieldCodec], dialect: Dialect, conditions: Mapping[str, Any], *, owner: str
) -> Filter:
    """Parse a filter over named values: ``parse_filter`` for whatever is not a model, such as aggregates."""
    return _parse(FilterParser(fields, dialect, owner), conditions)


def _parse(parser: FilterParser, conditions: Mapping[str, Any]) -> Filter:
    shape = parser.conditions(conditions, 0)
    values, dialect, owner = parser.leaves.values, parser.leaves.dialect, parser.leaves.owner
    if dialect is Dialect.SQLITE and len(values) > MAX_SQLITE_VALUES:
        raise InvalidFilterError(
            f"The filter on {owner} binds {len(values):,} values, SQLite takes {MAX_SQLITE_VALUES:,}.",
            hint="Ask in several steps.",
            model=owner,
        )
    return Filter(shape, values, parser.fields, dialect)
