"""Plans for many rows: list, count, aggregates, and finding the ids that a filter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.queries.aggregates import Column
from dataflow.queries.codecs import ModelCodec, compile_row_decoder
from dataflow.queries.filters import Filter
from dataflow.queries.plan import Binds, Plan, compile_plan
from dataflow.queries.sort import Sort, order_by


def select_rows(
    table: sa.Table, codec: ModelCodec, dialect: Dialect, where: Filter, sort: Sort, names: Sequence[str]
) -> Plan:
    """Some fields of the rows of a filter, in order; the shape's values are the filter's, then limit and offset."""
    binds = Binds()
    statement = _filtered(sa.select(*[table.c[name] for name in names]), where, table, binds)
    statement = statement.order_by(*order_by(sort, table.c, codec.spec.by_name, dialect))
    limit, offset = binds.next(sa.BigInteger()), binds.next(sa.BigInteger())
    return compile_plan(statement.limit(limit).offset(offset), dialect, codec.row_decoder(names))


def count_rows(table: sa.Table, dialect: Dialect, where: Filter) -> Plan:
    """How many rows a filter matches; the shape's values are the filter's."""
    binds = Binds()
    statement = _filtered(sa.select(sa.func.count()).select_from(table), where, table, binds)
    return compile_plan(statement, dialect)


def select_ids(table: sa.Table, codec: ModelCodec, dialect: Dialect, where: Filter, *, limit: int) -> Plan:
    """Ids of at most ``limit`` rows of a filter, locked until the transaction ends; the shape's values are the
    filter's.

    SQLite has no row locks: there the transaction holds the one writer.
    """
    binds = Binds()
    key = table.c[codec.spec.primary_key.name]
    statement = _filtered(sa.select(key), where, table, binds)
    statement = statement.limit(sa.literal_column(str(limit))).offset(sa.literal_column("0"))
    if dialect is not Dialect.SQLITE:
        statement = statement.with_for_update()
    return compile_plan(statement, dialect)


def aggregate_rows(
    table: sa.Table,
    codec: ModelCodec,
    dialect: Dialect,
    columns: Sequence[Column],
    where: Filter,
    having: Filter,
    sort: Sort,
    *,
    limited: bool,
) -> Plan:
    """Aggregates, grouped by the group fields among the columns; the shape's values are those of ``where``, then of
    ``having``, then the limit if there is one.
    """
    binds = Binds()
    named = {column.name: column.expression(table, codec.spec, dialect) for column in columns}
    selected = [expression.label(f"c{index}") for index, expression in enumerate(named.values())]
    statement = _filtered(sa.select(*selected).select_from(table), where, table, binds)
    statement = statement.group_by(*[named[column.name] for column in columns if column.operator == "group"])
    condition = having.clause(named, binds)
    if condition is not None:
        statement = statement.having(condition)
    specs = {column.name: column.codec.spec for column in columns}
    statement = statement.order_by(*order_by(sort, named, specs, dialect))
    if limited:
        statement = statement.limit(binds.next(sa.BigInteger())).offset(sa.literal_column("0"))
    decode = compile_row_decoder([(column.name, column.decode) for column in columns])
    return compile_plan(statement, dialect, decode)


def _filtered(statement: sa.Select[Any], where: Filter, table: sa.Table, binds: Binds) -> sa.Select[Any]:
    clause = where.clause(table, binds)
    return statement if clause is None else statement.where(clause)
