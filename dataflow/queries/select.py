"""Plans for many rows: list, count, aggregates, and finding the ids that a filter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dataflow.queries.aggregates import Column
from dataflow.queries.codecs import compile_row_decoder
from dataflow.queries.filters import Filter
from dataflow.queries.keyset import Nulls, rows_after, stretch_order, with_keys
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Binds, Plan
from dataflow.queries.sort import Sort, order_by


def select_rows(rows: ModelRows, where: Filter, sort: Sort, names: Sequence[str], after: Nulls | None = None) -> Plan:
    """Some fields of the rows of a filter, in order, and the sort keys.

    The shape's values are the filter's, then limit and offset. With ``after``, which says which sort keys of the last
    row are NULL, they are the filter's, those of its other sort keys, and the limit: :mod:`dataflow.queries.keyset`.
    """
    binds = Binds()
    statement = _filtered(rows.select(*[rows.columns[name] for name in with_keys(names, sort)]), rows, where, binds)
    if after is None:
        statement = statement.order_by(*order_by(sort, rows.columns, rows.spec.by_name, rows.dialect))
        statement = statement.limit(binds.next(sa.BigInteger())).offset(binds.next(sa.BigInteger()))
    else:
        statement = statement.where(rows_after(rows, sort, after, binds)).order_by(*stretch_order(rows, sort, after))
        statement = statement.limit(binds.next(sa.BigInteger())).offset(sa.literal_column("0"))
    return rows.compile(statement, rows.codec.row_decoder(names))


def count_rows(rows: ModelRows, where: Filter) -> Plan:
    """How many rows a filter matches; the shape's values are the filter's."""
    return rows.compile(filtered_rows(rows, where, sa.func.count()))


def count_some(rows: ModelRows, where: Filter) -> Plan:
    """The same, but no further than a limit; the shape's values are the filter's, then the limit."""
    binds = Binds()
    some = _filtered(rows.select(sa.literal_column("1").label("one")), rows, where, binds)
    some = some.limit(binds.next(sa.BigInteger())).offset(sa.literal_column("0"))
    return rows.compile(sa.select(sa.func.count()).select_from(some.subquery("some")))


def filtered_rows(rows: ModelRows, where: Filter, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """A select from the rows that a filter matches; the shape's values are the filter's."""
    return _filtered(rows.select(*columns), rows, where, Binds())


def select_ids(rows: ModelRows, where: Filter, *, limit: int) -> Plan:
    """Ids of at most ``limit`` rows of a filter, locked until the transaction ends; the shape's values are the
    filter's.
    """
    statement = _filtered(rows.select(rows.key), rows, where, Binds())
    statement = statement.limit(sa.literal_column(str(limit))).offset(sa.literal_column("0"))
    return rows.compile(rows.locked(statement))


def aggregate_rows(
    rows: ModelRows, columns: Sequence[Column], where: Filter, having: Filter, sort: Sort, *, limited: bool
) -> Plan:
    """Aggregates, grouped by the group fields among the columns; the shape's values are those of ``where``, then of
    ``having``, then the limit if there is one.
    """
    binds = Binds()
    named = {column.name: column.expression(rows.columns, rows.spec, rows.dialect) for column in columns}
    selected = [expression.label(f"c{index}") for index, expression in enumerate(named.values())]
    statement = _filtered(rows.select(*selected), rows, where, binds)
    statement = statement.group_by(*[named[column.name] for column in columns if column.operator == "group"])
    compared = {column.name: column.compared(rows.columns, rows.spec, rows.dialect) for column in columns}
    condition = having.clause(compared, binds)
    if condition is not None:
        statement = statement.having(condition)
    specs = {column.name: column.codec.spec for column in columns}
    statement = statement.order_by(*order_by(sort, compared, specs, rows.dialect))
    if limited:
        statement = statement.limit(binds.next(sa.BigInteger())).offset(sa.literal_column("0"))
    decode = compile_row_decoder([(column.name, column.decode) for column in columns])
    return rows.compile(statement, decode)


def _filtered(statement: sa.Select[Any], rows: ModelRows, where: Filter, binds: Binds) -> sa.Select[Any]:
    clause = where.clause(rows, binds)
    return statement if clause is None else statement.where(clause)
