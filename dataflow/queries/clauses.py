"""From a filter's shape to a SQLAlchemy condition, where the three databases are given one meaning.

=============  ======================================================================================
shape          clause
=============  ======================================================================================
``not``        ``(…) IS NOT TRUE``, so that what is unknown counts as not matching
``ne``         ``IS DISTINCT FROM`` in its three spellings, so that NULL differs from every value
``in nin``     ``= ANY(array)`` on PostgreSQL, else a list of binds
``like``       ``LIKE … ESCAPE '!'``; on SQLite ``GLOB``, since its LIKE ignores the case of ASCII
``ilike``      the same over lower case: ICU's on PostgreSQL, Python's on SQLite
=============  ======================================================================================

On SQLite a Decimal is text, compared by its number through the collation ``dataflow_decimal``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow.databases.interface import Dialect
from dataflow.models import FieldSpec, Kind
from dataflow.models.tables import column_type
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.operators import ESCAPE, Shape
from dataflow.queries.plan import Binds

Columns = Mapping[str, sa.ColumnElement[Any]] | sa.ColumnCollection[str, sa.ColumnElement[Any]]

_COMPARE: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def build_clause(
    shape: Shape, columns: Columns, fields: Mapping[str, FieldCodec], dialect: Dialect, binds: Binds
) -> sa.ColumnElement[bool]:
    """The condition of a shape.

    Args:
        shape: From ``parse_filter``.
        columns: What stands for each field.
        fields: The fields the shape names.
        dialect: Which SQL.
        binds: Hands out one bind per value of the filter, in order.
    """

    def build(shape: Shape) -> sa.ColumnElement[bool]:
        match shape[0]:
            case "true":
                return sa.true()
            case "false":
                return sa.false()
            case "and":
                return sa.and_(*[build(part) for part in shape[1:]])
            case "or":
                return sa.or_(*[build(part) for part in shape[1:]])
            case "not":
                return build(shape[1]).self_group().is_not(sa.true())
        spec = fields[shape[1]].spec
        return _leaf(shape, comparable(columns[shape[1]], spec, dialect), spec, dialect, binds)

    return build(shape)


def comparable(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    """A column as it is to be compared and sorted."""
    if dialect is Dialect.SQLITE and spec.type.kind is Kind.DECIMAL:
        return sa.collate(sa.type_coerce(column, sa.Text()), "dataflow_decimal")
    return column


def _leaf(
    shape: Shape, column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect, binds: Binds
) -> sa.ColumnElement[bool]:
    type_ = column_type(spec.type)
    match shape[0]:
        case "null":
            return column.is_(None)
        case "notnull":
            return column.is_not(None)
        case "ne":
            value = binds.next(type_)
            return column.is_distinct_from(value) if spec.nullable else column != value
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
            return _like(_lower(column, dialect), _lower(binds.next(sa.Text()), dialect), dialect)
    return _COMPARE[shape[0]](column, binds.next(type_))


def _like(column: sa.ColumnElement[Any], pattern: sa.ColumnElement[Any], dialect: Dialect) -> sa.ColumnElement[bool]:
    if dialect is Dialect.SQLITE:
        return column.bool_op("GLOB")(pattern)
    return column.like(pattern, escape=ESCAPE)


def _lower(text: sa.ColumnElement[Any], dialect: Dialect) -> sa.ColumnElement[Any]:
    if dialect is Dialect.POSTGRESQL:
        return sa.func.lower(sa.collate(text, "und-x-icu"))
    if dialect is Dialect.SQLITE:
        # The pattern is in lower case already, by the same function.
        return text if isinstance(text, sa.BindParameter) else sa.func.dataflow_lower(text)
    return sa.func.lower(text)
