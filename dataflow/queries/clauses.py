"""From a filter's shape to a SQLAlchemy condition, where the three databases are given one meaning.

=============  ======================================================================================
shape          clause
=============  ======================================================================================
``not``        ``(…) IS NOT TRUE``, so that what is unknown counts as not matching
``ne``         ``IS DISTINCT FROM`` in its three spellings, so that NULL differs from every value
``in nin``     ``= ANY(array)`` on PostgreSQL, else a list of binds
``like``       ``LIKE … ESCAPE '!'``; on SQLite ``GLOB``, since its LIKE ignores the case of ASCII
``ilike``      the same over lower case: see :mod:`dataflow.queries.letter_case`
``regex``      ``~`` by code point, ``REGEXP``, and on SQLite RE2 itself
``related``    ``EXISTS``: see :mod:`dataflow.queries.relations`
=============  ======================================================================================

On SQLite a Decimal is text, compared by its number through the collation ``dataflow_decimal``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow.databases.interface import Dialect
from dataflow.models import FieldSpec, Kind
from dataflow.models.tables import column_type
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.json_readings import ReadingKey, reading_column, reading_type
from dataflow.queries.leaves import TRUE, Shape
from dataflow.queries.letter_case import lower
from dataflow.queries.model import ModelRows
from dataflow.queries.patterns import ESCAPE
from dataflow.queries.plan import Binds
from dataflow.queries.relations import alias_name, exists_in, find_relation, related_rows

Columns = Mapping[str, sa.ColumnElement[Any]] | sa.ColumnCollection[str, sa.ColumnElement[Any]]

_COMPARE: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def build_clause(
    shape: Shape, scope: ModelRows | Columns, fields: Mapping[str, FieldCodec], dialect: Dialect, binds: Binds
) -> sa.ColumnElement[bool]:
    """The condition of a shape.

    Args:
        shape: From ``parse_filter``.
        scope: The rows, or what stands for each field where there are no relations.
        fields: The fields the shape names.
        dialect: Which SQL.
        binds: Hands out one bind per value of the filter, in order.
    """
    if isinstance(scope, ModelRows):
        return _Builder(dialect, binds, scope.columns, fields, scope, scope, 0).build(shape)
    return _Builder(dialect, binds, scope, fields, None, None, 0).build(shape)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds conditions over one model's rows; ``depth`` relations away from ``root``."""

    dialect: Dialect
    binds: Binds
    columns: Columns
    fields: Mapping[str, FieldCodec]
    rows: ModelRows | None
    root: ModelRows | None
    depth: int

    def build(self, shape: Shape) -> sa.ColumnElement[bool]:
        match shape[0]:
            case "false":
                return sa.false()
            case "and":
                return sa.and_(*[self.build(part) for part in shape[1:]])
            case "or":
                return sa.or_(*[self.build(part) for part in shape[1:]])
            case "not" if shape[1][0] == "related":
                # EXISTS is never unknown, and a plain NOT can become an anti-join.
                return sa.not_(self.build(shape[1]))
            case "not":
                return self.build(shape[1]).self_group().is_not(sa.true())
            case "related":
                return self._related(shape[1], shape[2])
        return self._leaf(shape, shape[1])

    def _related(self, name: str, inner: Shape) -> sa.ColumnElement[bool]:
        assert self.rows is not None
        assert self.root is not None
        relation = find_relation(self.rows.spec, name)
        assert relation is not None
        depth = self.depth + 1
        alias = alias_name(self.root, depth)
        related = related_rows(self.rows, relation).aliased(alias)
        inside = _Builder(self.dialect, self.binds, related.columns, related.codec.fields, related, self.root, depth)
        condition = None if inner == TRUE else inside.build(inner)
        return exists_in(related, condition, self.columns[relation.field], self.root, alias)

    def _leaf(self, shape: Shape, key: str | ReadingKey) -> sa.ColumnElement[bool]:
        if isinstance(key, ReadingKey):
            column = reading_column(key, self.columns[key.field], self.dialect, self.binds)
            type_ = column_type(reading_type(key.reading, self.dialect))
            return _leaf(shape, column, type_, self.dialect, self.binds, nullable=True)
        spec = self.fields[key].spec
        column = comparable(self.columns[key], spec, self.dialect)
        return _leaf(shape, column, column_type(spec.type), self.dialect, self.binds, nullable=spec.nullable)


def comparable(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    """A column as it is to be compared and sorted."""
    if dialect is Dialect.SQLITE and spec.type.kind is Kind.DECIMAL:
        return sa.collate(sa.type_coerce(column, sa.Text()), "dataflow_decimal")
    return column


def _leaf(
    shape: Shape,
    column: sa.ColumnElement[Any],
    type_: sa.types.TypeEngine[Any],
    dialect: Dialect,
    binds: Binds,
    *,
    nullable: bool,
) -> sa.ColumnElement[bool]:
    match shape[0]:
        case "null":
            return column.is_(None)
        case "notnull":
            return column.is_not(None)
        case "ne":
            value = binds.next(type_)
            return column.is_distinct_from(value) if nullable else column != value
        case "between":
            return column.between(binds.next(type_), binds.next(type_))
        case "in" if dialect is Dialect.POSTGRESQL:
            return column == sa.any_(binds.next(postgresql.ARRAY(type_)))
        case "nin" if dialect is Dialect.POSTGRESQL:
            return column != sa.all_(binds.next(postgresql.ARRAY(type_)))
        case "in":
            return column.in_([binds.next(type_) for _ in range(shape[2])])
        case "nin":
            return column.not_in([binds.next(type_) for _ in range(shape[2])])
        case "like":
            return _like(column, binds.next(sa.Text()), dialect)
        case "ilike":
            return _like(lower(column, dialect), lower(binds.next(sa.Text()), dialect), dialect)
        case "regex":
            return _regex(column, binds.next(sa.Text()), dialect)
    return _COMPARE[shape[0]](column, binds.next(type_))


def _like(column: sa.ColumnElement[Any], pattern: sa.ColumnElement[Any], dialect: Dialect) -> sa.ColumnElement[bool]:
    if dialect is Dialect.SQLITE:
        return column.bool_op("GLOB")(pattern)
    return column.like(pattern, escape=ESCAPE)


def _regex(column: sa.ColumnElement[Any], pattern: sa.ColumnElement[Any], dialect: Dialect) -> sa.ColumnElement[bool]:
    match dialect:
        case Dialect.POSTGRESQL:
            return sa.collate(column, "C").bool_op("~")(pattern)
        case Dialect.MYSQL:
            return column.bool_op("REGEXP")(pattern)
        case Dialect.SQLITE:
            return sa.func.dataflow_regexp(pattern, column, type_=sa.Boolean())
