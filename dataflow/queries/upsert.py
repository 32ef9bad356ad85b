"""Plans of a single upsert: insert a row, or update the one that has its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import advance_identity
from dataflow.queries.plan import Binds, Plan
from dataflow.queries.updates import Updates


def insert_or_update(rows: ModelRows, names: Sequence[str], key: Sequence[str], updates: Updates) -> Plan:
    """PostgreSQL, in one statement. The shape's values are those of ``names``, then those of ``updates``.

    Returns the stored row in column order, and then whether it is new.
    """
    binds = Binds()
    insert = rows.insert(names, binds)
    assert isinstance(insert, postgresql.Insert)
    assignments = rows.counted(updates.assignments(rows.columns, binds))
    insert = insert.on_conflict_do_update(index_elements=list(key), set_=assignments)
    return rows.compile(insert.returning(*_with_flag(rows, names)), rows.codec.row)


def insert_if_new(rows: ModelRows, names: Sequence[str], key: Sequence[str]) -> Plan:
    """PostgreSQL: insert a row unless its key is there; returns what ``insert_or_update`` does, or no row."""
    insert = rows.insert(names, Binds())
    assert isinstance(insert, postgresql.Insert)
    insert = insert.on_conflict_do_nothing(index_elements=list(key))
    return rows.compile(insert.returning(*_with_flag(rows, names)), rows.codec.row)


def select_by_key(rows: ModelRows, key: Sequence[str], *, lock: bool) -> Plan:
    """The row that has a key, in column order; locked until the transaction ends where ``lock``."""
    statement = rows.select(*rows.all_columns).where(rows.has(key, Binds()))
    return rows.compile(rows.locked(statement) if lock else statement, rows.codec.row)


def update_by_key(rows: ModelRows, key: Sequence[str], updates: Updates) -> Plan:
    """SQLite: update the row that has a key and return it. Values are those of ``updates``, then of ``key``."""
    binds = Binds()
    statement = rows.update(updates.assignments(rows.columns, binds)).where(rows.has(key, binds))
    return rows.compile(statement.returning(*rows.all_columns), rows.codec.row)


def _with_flag(rows: ModelRows, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    # A new row has never been locked; the row version that ON CONFLICT makes has.
    columns = [*rows.all_columns, sa.literal_column("(xmax = 0)")]
    primary = rows.spec.primary_key
    if primary.generated and primary.name in names:
        columns.append(advance_identity(rows))
    return columns
