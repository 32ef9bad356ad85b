"""Plans of the bulk nodes. Each function compiles one statement; ``PlanCache`` keeps what they return.

A plan "over a source" takes the rows of a whole batch (``bulk_source``); one "per row" is for
``Executor.execute_many`` and takes the values of one row, in the order its docstring says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataflow.databases.interface import Dialect
from dataflow.models.spec import Managed
from dataflow.queries.bulk_source import POSITION, SourceColumns, source
from dataflow.queries.filters import Filter
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import advance_identity
from dataflow.queries.plan import Binds, Plan
from dataflow.queries.updates import Updates

NO_COLLATIONS: Mapping[str, str] = {}


#: Where SQLAlchemy leaves room for a list of values whose length is known when the statement runs.
LISTED = "__[POSTCOMPILE_p0]"


class BulkPlans:
    """Makes the plans of one model.

    Args:
        rows: Its rows.
        collations: See ``bulk_source.source``.
    """

    def __init__(self, rows: ModelRows, collations: Mapping[str, str] = NO_COLLATIONS) -> None:
        self._rows = rows
        self._collations = collations

    def insert_source(self, names: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert; returns ids in the order of the rows."""
        insert, _ = self._insert_select(names, Binds())
        return self._rows.compile(insert.returning(self._rows.key))

    def insert_unless_there(self, names: Sequence[str], key: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert the rows whose key is not there."""
        insert, _ = self._insert_select(names, Binds())
        return self._compile(insert.on_conflict_do_nothing(index_elements=list(key)))

    def insert_or_update(self, names: Sequence[str], key: Sequence[str], changes: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert, or set ``changes`` of the row that has the key.

        Returns, in the order of the rows, the id and whether the row is new.
        """
        insert, _ = self._insert_select(names, Binds())
        insert = insert.on_conflict_do_update(index_elements=list(key), set_=self._excluded(insert, changes))
        # A new row has never been locked; the row version that ON CONFLICT makes has.
        return self._compile(insert.returning(self._rows.key, sa.literal_column("(xmax = 0)")))

    def advance_identity(self) -> Plan:
        """PostgreSQL, for an id: move the identity past it."""
        rows = self._rows
        return self._compile(rows.select(advance_identity(rows)).where(rows.has([rows.key.name], Binds())))

    def update_source(self, key: Sequence[str], changes: Sequence[str], *, restore: bool = False) -> Plan:
        """Over a source of ``key`` and ``changes``: set ``changes`` of the rows that have the keys; with ``restore``
        those that were soft-deleted come back.
        """
        source = self._source([*key, *changes], Binds())
        statement = self._rows.update(self._restored({name: source[name] for name in changes}, restore=restore))
        return self._compile(statement.where(self._same(key, source)))

    def update_row(self, key: Sequence[str], changes: Sequence[str], *, restore: bool = False) -> Plan:
        """Per row, ``changes`` then ``key``: what ``update_source`` does."""
        binds, columns = Binds(), self._rows.columns
        assignments = {name: binds.next(columns[name].type) for name in changes}
        statement = self._rows.update(self._restored(assignments, restore=restore))
        return self._compile(statement.where(self._rows.has(key, binds)))

    def insert_row_unless_there(self, names: Sequence[str], key: Sequence[str]) -> Plan:
        """SQLite, per row: insert it if its key is not there."""
        insert = self._rows.insert(names, Binds()).inline()
        assert isinstance(insert, sqlite.Insert)
        return self._compile(insert.on_conflict_do_nothing(index_elements=list(key)))

    def insert_row_or_update(self, names: Sequence[str], key: Sequence[str], changes: Sequence[str]) -> Plan:
        """SQLite, per row: insert it, or set ``changes`` of the row that has the key."""
        insert = self._rows.insert(names, Binds()).inline()
        assert isinstance(insert, sqlite.Insert)
        insert = insert.on_conflict_do_update(index_elements=list(key), set_=self._excluded(insert, changes))
        return self._compile(insert)

    def insert_row(self, names: Sequence[str]) -> Plan:
        """Per row: insert it."""
        return self._compile(self._rows.insert(names, Binds()).inline())

    def delete_array(self) -> Plan:
        """Delete the rows whose ids are in an array."""
        key = self._rows.key
        ids = Binds().next(postgresql.ARRAY(key.type))
        return self._compile(self._rows.delete().where(key == sa.any_(ids)))

    def delete_listed(self) -> Plan:
        """Delete the rows with these ids, as a list in the text: LISTED stands for the placeholders of all of them."""
        key = self._rows.key
        ids = sa.bindparam("p0", type_=key.type, expanding=True)
        return self._compile(self._rows.delete().where(key.in_(ids)))

    def delete_row(self) -> Plan:
        """Per row: delete the row that has the id."""
        rows = self._rows
        return self._compile(rows.delete().where(rows.has([rows.key.name], Binds())))

    def find_source(self, key: Sequence[str], *, lock: bool) -> Plan:
        """Over a source of keys: ``(POSITION, id)`` of the rows that have them."""
        source = self._source(key, Binds())
        statement = self._rows.select(source[POSITION], self._rows.key).where(self._same(key, source))
        return self._compile(self._rows.locked(statement) if lock else statement)

    def find_keys(self, key: Sequence[str], count: int) -> Plan:
        """SQLite, for ``count`` keys, one after the other: the rows that have them, as key fields and id."""
        columns = [self._rows.columns[name] for name in key]
        return self._compile(self._rows.select(*columns, self._rows.key).where(self._one_of(key, count)))

    def count_keys(self, key: Sequence[str], count: int) -> Plan:
        """SQLite, for ``count`` keys, one after the other: how many rows have them."""
        return self._compile(self._rows.select(sa.func.count()).where(self._one_of(key, count)))

    def update_where(self, where: Filter, updates: Updates, *, limited: bool) -> Plan:
        """Values of ``updates``, then of ``where``, then the limit: update the rows that match, lowest ids first."""
        binds = Binds()
        statement = self._rows.update(updates.assignments(self._rows.columns, binds))
        condition = self._matching(where, binds, limited=limited)
        return self._compile(statement if condition is None else statement.where(condition))

    def delete_where(self, where: Filter, *, limited: bool) -> Plan:
        """Values of ``where``, then the limit: delete the rows that match, lowest ids first."""
        condition = self._matching(where, Binds(), limited=limited)
        statement = self._rows.delete()
        return self._compile(statement if condition is None else statement.where(condition))

    def count(self) -> Plan:
        """How many rows there are."""
        return self._compile(self._rows.select(sa.func.count()))

    def _compile(self, statement: sa.sql.ClauseElement) -> Plan:
        return self._rows.compile(statement)

    def _source(self, names: Sequence[str], binds: Binds) -> SourceColumns:
        return source(self._rows.spec, names, self._rows.dialect, binds, self._collations)

    def _insert_select(self, names: Sequence[str], binds: Binds) -> tuple[postgresql.Insert, SourceColumns]:
        rows = self._source(names, binds)
        # Generated ids follow the order in which rows are inserted, and so does what is returned.
        ordered = sa.select(*(rows[name] for name in names)).order_by(rows[POSITION])
        return self._rows.insert_from(names, ordered), rows

    def _same(self, key: Sequence[str], rows: SourceColumns) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._rows.columns[name] == rows[name] for name in key))

    def _excluded(self, insert: postgresql.Insert | sqlite.Insert, changes: Sequence[str]) -> dict[str, Any]:
        """What the update branch of an upsert sets: the values of the row that was not inserted."""
        return self._rows.counted(self._restored({name: insert.excluded[name] for name in changes}, restore=True))

    def _restored(self, assignments: dict[str, Any], *, restore: bool) -> dict[str, Any]:
        if restore and self._rows.spec.features.soft_delete:
            assignments[Managed.DELETED_AT.value] = sa.null()
        return assignments

    def _one_of(self, key: Sequence[str], count: int) -> sa.ColumnElement[bool]:
        binds = Binds()
        return sa.or_(*[self._rows.has(key, binds) for _ in range(count)])

    def _matching(self, where: Filter, binds: Binds, *, limited: bool) -> sa.ColumnElement[bool] | None:
        rows, key = self._rows, self._rows.key
        condition = where.clause(rows, binds)
        if not limited:
            return condition
        chosen = rows.select(key).order_by(key).limit(binds.next(sa.Integer()))
        if condition is not None:
            chosen = chosen.where(condition)
        if rows.dialect is Dialect.SQLITE:
            # Without an offset SQLAlchemy adds one, as a bind of its own.
            return key.in_(chosen.offset(sa.literal_column("0")))
        # Locked while they are chosen, so that a row that changes meanwhile is looked at again.
        chosen = rows.locked(chosen)
        if rows.dialect is Dialect.POSTGRESQL:
            # PostgreSQL may run a subquery again for every row, and then each time chooses others than those that the
            # statement has changed already; a WITH is run once.
            return key.in_(sa.select(chosen.cte("chosen")))
        # MySQL takes no LIMIT in an IN, but does in a derived table.
        found: sa.ColumnElement[bool] = key == chosen.subquery("chosen").c[key.name]
        return found
