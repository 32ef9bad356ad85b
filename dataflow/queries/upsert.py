"""Plans of a single upsert: insert a row, or update the one that has its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow.databases.interface import Dialect
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.plan import Binds, Plan, compile_plan
from dataflow.queries.rows import advance_identity
from dataflow.queries.updates import Updates


def insert_or_update(
    table: sa.Table, codec: ModelCodec, names: Sequence[str], key: Sequence[str], updates: Updates
) -> Plan:
    """PostgreSQL, in one statement. The shape's values are those of ``names``, then those of ``updates``.

    Returns the stored row in column order, and then whether it is new.
    """
    binds = Binds()
    insert = postgresql.insert(table).values({name: binds.next(table.c[name].type) for name in names})
    insert = insert.on_conflict_do_update(index_elements=list(key), set_=updates.assignments(table, binds))
    return compile_plan(insert.returning(*_with_flag(table, codec, names)), Dialect.POSTGRESQL, codec.row)


def insert_if_new(table: sa.Table, codec: ModelCodec, names: Sequence[str], key: Sequence[str]) -> Plan:
    """PostgreSQL: insert a row unless its key is there; returns what ``insert_or_update`` does, or no row."""
    binds = Binds()
    insert = postgresql.insert(table).values({name: binds.next(table.c[name].type) for name in names})
    insert = insert.on_conflict_do_nothing(index_elements=list(key))
    return compile_plan(insert.returning(*_with_flag(table, codec, names)), Dialect.POSTGRESQL, codec.row)


def select_by_key(table: sa.Table, codec: ModelCodec, dialect: Dialect, key: Sequence[str], *, lock: bool) -> Plan:
    """The row that has a key, in column order; locked until the transaction ends where ``lock``."""
    statement = sa.select(*table.c).where(_has_key(table, key, Binds()))
    return compile_plan(statement.with_for_update() if lock else statement, dialect, codec.row)


def update_by_key(table: sa.Table, codec: ModelCodec, key: Sequence[str], updates: Updates) -> Plan:
    """SQLite: update the row that has a key and return it. Values are those of ``updates``, then of ``key``."""
    binds = Binds()
    statement = sa.update(table).values(updates.assignments(table, binds)).where(_has_key(table, key, binds))
    return compile_plan(statement.returning(*table.c), Dialect.SQLITE, codec.row)


def _with_flag(table: sa.Table, codec: ModelCodec, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    # A new row has never been locked; the row version that ON CONFLICT makes has.
    columns: list[sa.ColumnElement[Any]] = [*table.c, sa.literal_column("(xmax = 0)")]
    primary = codec.spec.primary_key
    if primary.generated and primary.name in names:
        columns.append(advance_identity(table.c[primary.name]))
    return columns


def _has_key(table: sa.Table, key: Sequence[str], binds: Binds) -> sa.ColumnElement[bool]:
    columns = [table.c[name] for name in key]
    return sa.and_(*(column == binds.next(column.type) for column in columns))
