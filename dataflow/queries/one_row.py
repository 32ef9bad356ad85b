"""Plans for one row by its id: insert, select, update, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.models.spec import Managed
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Binds, Plan, sqlalchemy_dialect
from dataflow.queries.updates import Updates


def insert_row(rows: ModelRows, names: Sequence[str], *, returning: bool) -> Plan:
    """Insert one row.

    Args:
        rows: The model.
        names: The fields given; the shape's values are theirs, in this order.
        returning: Return the stored row, all fields in column order.
    """
    statement = rows.insert(names, Binds())
    if not returning:
        return rows.compile(statement.inline())
    columns = rows.all_columns
    key = rows.spec.primary_key
    if rows.dialect is Dialect.POSTGRESQL and key.generated and key.name in names:
        # One more column than the decoder reads.
        columns.append(advance_identity(rows))
    return rows.compile(statement.returning(*columns), rows.codec.row)


def advance_identity(rows: ModelRows) -> sa.ColumnElement[Any]:
    """On PostgreSQL, an expression that moves a table's identity past the id of a row, as the other databases do of
    themselves, so that ids generated later do not collide with one that was given. Does nothing where the column has no
    sequence, or the user may not set it.
    """
    quoted = sqlalchemy_dialect(Dialect.POSTGRESQL).identifier_preparer.quote(rows.table_name)
    key = rows.key
    sequence = sa.func.pg_get_serial_sequence(_text(quoted), _text(rows.spec.primary_key.name))
    last = sa.func.coalesce(sa.func.pg_sequence_last_value(sa.cast(sequence, _RegClass())), sa.literal_column("0"))
    may_set = sa.func.has_sequence_privilege(sequence, sa.literal_column("'UPDATE'"))
    return sa.case((sa.and_(may_set, key > last), sa.func.setval(sequence, key)))


class _RegClass(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "REGCLASS"


def _text(text: str) -> sa.ColumnElement[str]:
    quoted = text.replace("'", "''")
    return sa.literal_column(f"'{quoted}'")


def select_row(rows: ModelRows) -> Plan:
    """The row of an id; the shape's value is the id."""
    return rows.compile(rows.select(*rows.all_columns).where(_has_id(rows, Binds())), rows.codec.row)


def update_row(rows: ModelRows, updates: Updates, *, returning: bool, versioned: bool = False) -> Plan:
    """Update the row of an id; the shape's values are those of the updates, the id, and the version that the row must
    have where ``versioned``.
    """
    binds = Binds()
    statement = rows.update(updates.assignments(rows.columns, binds)).where(_has_id(rows, binds))
    if versioned:
        statement = statement.where(_has_version(rows, binds))
    if returning:
        return rows.compile(statement.returning(*rows.all_columns), rows.codec.row)
    return rows.compile(statement.inline())


def delete_row(rows: ModelRows, *, versioned: bool = False) -> Plan:
    """Delete the row of an id; the shape's values are the id, and the version that the row must have."""
    binds = Binds()
    statement = rows.delete().where(_has_id(rows, binds))
    return rows.compile(statement.where(_has_version(rows, binds)) if versioned else statement)


def select_version(rows: ModelRows) -> Plan:
    """The version of the row of an id; the shape's value is the id."""
    return rows.compile(rows.select(rows.columns[Managed.VERSION.value]).where(_has_id(rows, Binds())))


def _has_id(rows: ModelRows, binds: Binds) -> sa.ColumnElement[bool]:
    return rows.has([rows.spec.primary_key.name], binds)


def _has_version(rows: ModelRows, binds: Binds) -> sa.ColumnElement[bool]:
    return rows.has([Managed.VERSION.value], binds)
