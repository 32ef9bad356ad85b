"""Plans for one row by its id: insert, select, update, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.plan import Binds, Plan, compile_plan, sqlalchemy_dialect
from dataflow.queries.updates import Updates


def insert_row(table: sa.Table, codec: ModelCodec, dialect: Dialect, names: Sequence[str], *, returning: bool) -> Plan:
    """Insert one row.

    Args:
        table: The table.
        codec: How its rows travel.
        dialect: Which SQL.
        names: The fields given; the shape's values are theirs, in this order.
        returning: Return the stored row, all fields in column order.
    """
    binds = Binds()
    statement = sa.insert(table).values({name: binds.next(table.c[name].type) for name in names})
    if not returning:
        return compile_plan(statement.inline(), dialect)
    columns: list[sa.ColumnElement[Any]] = list(table.c)
    key = codec.spec.primary_key
    if dialect is Dialect.POSTGRESQL and key.generated and key.name in names:
        # One more column than the decoder reads.
        columns.append(advance_identity(table.c[key.name]))
    return compile_plan(statement.returning(*columns), dialect, codec.row)


def advance_identity(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """On PostgreSQL, an expression that moves an identity past the value of its column, as the other databases do of
    themselves, so that ids generated later do not collide with one that was given. Does nothing where the column has no
    sequence, or the user may not set it.
    """
    preparer = sqlalchemy_dialect(Dialect.POSTGRESQL).identifier_preparer
    name = preparer.format_table(column.table)
    sequence = sa.func.pg_get_serial_sequence(_text(name), _text(column.name))
    last = sa.func.coalesce(sa.func.pg_sequence_last_value(sa.cast(sequence, _RegClass())), sa.literal_column("0"))
    may_set = sa.func.has_sequence_privilege(sequence, sa.literal_column("'UPDATE'"))
    return sa.case((sa.and_(may_set, column > last), sa.func.setval(sequence, column)))


class _RegClass(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "REGCLASS"


def _text(text: str) -> sa.ColumnElement[str]:
    quoted = text.replace("'", "''")
    return sa.literal_column(f"'{quoted}'")


def select_row(table: sa.Table, codec: ModelCodec, dialect: Dialect) -> Plan:
    """The row of an id; the shape's value is the id."""
    binds = Binds()
    return compile_plan(sa.select(*table.c).where(_has_id(table, codec, binds)), dialect, codec.row)


def update_row(table: sa.Table, codec: ModelCodec, dialect: Dialect, updates: Updates, *, returning: bool) -> Plan:
    """Update the row of an id; the shape's values are those of the updates, then the id."""
    binds = Binds()
    assignments = updates.assignments(table, binds)
    statement = sa.update(table).values(assignments).where(_has_id(table, codec, binds))
    if returning:
        return compile_plan(statement.returning(*table.c), dialect, codec.row)
    return compile_plan(statement.inline(), dialect)


def delete_row(table: sa.Table, codec: ModelCodec, dialect: Dialect) -> Plan:
    """Delete the row of an id; the shape's value is the id."""
    binds = Binds()
    return compile_plan(sa.delete(table).where(_has_id(table, codec, binds)), dialect)


def _has_id(table: sa.Table, codec: ModelCodec, binds: Binds) -> sa.ColumnElement[bool]:
    column = table.c[codec.spec.primary_key.name]
    return column == binds.next(column.type)
