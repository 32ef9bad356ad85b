"""Plans of the bulk nodes. Each function compiles one statement; ``PlanCache`` keeps what they return.

A plan "over a source" takes the rows of a whole batch (``bulk_source``); one "per row" is for
``Executor.execute_many`` and takes the values of one row, in the order its docstring says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataflow.databases.interface import Dialect
from dataflow.models import ModelSpec
from dataflow.queries.bulk_source import POSITION, SourceColumns, source
from dataflow.queries.filters import Filter
from dataflow.queries.plan import Binds, Plan, compile_plan
from dataflow.queries.rows import advance_identity
from dataflow.queries.updates import Updates

NO_COLLATIONS: Mapping[str, str] = {}


#: Where SQLAlchemy leaves room for a list of values whose length is known when the statement runs.
LISTED = "__[POSTCOMPILE_p0]"


class BulkPlans:
    """Makes the plans of one model.

    Args:
        spec: The model.
        table: Its table.
        dialect: Which SQL.
        collations: See ``bulk_source.source``.
    """

    def __init__(
        self, spec: ModelSpec, table: sa.Table, dialect: Dialect, collations: Mapping[str, str] = NO_COLLATIONS
    ) -> None:
        self._spec = spec
        self._table = table
        self._dialect = dialect
        self._collations = collations
        self._id = table.c[spec.primary_key.name]

    def insert_source(self, names: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert; returns ids in the order of the rows."""
        insert, _ = self._insert_select(names, Binds())
        return self._compile(insert.returning(self._id))

    def insert_unless_there(self, names: Sequence[str], key: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert the rows whose key is not there."""
        insert, _ = self._insert_select(names, Binds())
        return self._compile(insert.on_conflict_do_nothing(index_elements=list(key)))

    def insert_or_update(self, names: Sequence[str], key: Sequence[str], changes: Sequence[str]) -> Plan:
        """PostgreSQL, over a source: insert, or set ``changes`` of the row that has the key.

        Returns, in the order of the rows, the id and whether the row is new.
        """
        insert, _ = self._insert_select(names, Binds())
        insert = insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in changes}
        )
        # A new row has never been locked; the row version that ON CONFLICT makes has.
        return self._compile(insert.returning(self._id, sa.literal_column("(xmax = 0)")))

    def advance_identity(self) -> Plan:
        """PostgreSQL, for an id: move the identity past it."""
        binds = Binds()
        return self._compile(sa.select(advance_identity(self._id)).where(self._equal([self._id.name], binds)))

    def update_source(self, key: Sequence[str], changes: Sequence[str]) -> Plan:
        """Over a source of ``key`` and ``changes``: set ``changes`` of the rows that have the keys."""
        rows = self._source([*key, *changes], Binds())
        statement = sa.update(self._table).values({name: rows[name] for name in changes})
        return self._compile(statement.where(self._same(key, rows)))

    def update_row(self, key: Sequence[str], changes: Sequence[str]) -> Plan:
        """Per row, ``changes`` then ``key``: set ``changes`` of the row that has the key."""
        binds = Binds()
        statement = sa.update(self._table).values({name: binds.next(self._table.c[name].type) for name in changes})
        return self._compile(statement.where(self._equal(key, binds)))

    def insert_row_unless_there(self, names: Sequence[str], key: Sequence[str]) -> Plan:
        """SQLite, per row: insert it if its key is not there."""
        binds = Binds()
        values = {name: binds.next(self._table.c[name].type) for name in names}
        insert = sqlite.insert(self._table).values(values).inline()
        return self._compile(insert.on_conflict_do_nothing(index_elements=list(key)))

    def insert_row(self, names: Sequence[str]) -> Plan:
        """Per row: insert it."""
        binds = Binds()
        values = {name: binds.next(self._table.c[name].type) for name in names}
        return self._compile(sa.insert(self._table).values(values).inline())

    def delete_array(self) -> Plan:
        """Delete the rows whose ids are in an array."""
        ids = Binds().next(postgresql.ARRAY(self._id.type))
        return self._compile(sa.delete(self._table).where(self._id == sa.any_(ids)))

    def delete_listed(self) -> Plan:
        """Delete the rows with these ids, as a list in the text: LISTED stands for the placeholders of all of them."""
        ids = sa.bindparam("p0", type_=self._id.type, expanding=True)
        return self._compile(sa.delete(self._table).where(self._id.in_(ids)))

    def delete_row(self) -> Plan:
        """Per row: delete the row that has the id."""
        return self._compile(sa.delete(self._table).where(self._equal([self._id.name], Binds())))

    def find_source(self, key: Sequence[str], *, lock: bool) -> Plan:
        """Over a source of keys: ``(POSITION, id)`` of the rows that have them."""
        rows = self._source(key, Binds())
        statement = sa.select(rows[POSITION], self._id).where(self._same(key, rows))
        return self._compile(statement.with_for_update(of=self._table) if lock else statement)

    def find_keys(self, key: Sequence[str], count: int) -> Plan:
        """For ``count`` keys, one after the other: the rows that have them, as key fields and id."""
        binds = Binds()
        columns = [self._table.c[name] for name in key]
        keys = [self._equal(key, binds) for _ in range(count)]
        return self._compile(sa.select(*columns, self._id).where(sa.or_(*keys)))

    def update_where(self, where: Filter, updates: Updates, *, limited: bool) -> Plan:
        """Values of ``updates``, then of ``where``, then the limit: update the rows that match, lowest ids first."""
        binds = Binds()
        statement = sa.update(self._table).values(updates.assignments(self._table, binds))
        condition = self._matching(where, binds, limited=limited)
        return self._compile(statement if condition is None else statement.where(condition))

    def delete_where(self, where: Filter, *, limited: bool) -> Plan:
        """Values of ``where``, then the limit: delete the rows that match, lowest ids first."""
        condition = self._matching(where, Binds(), limited=limited)
        statement = sa.delete(self._table)
        return self._compile(statement if condition is None else statement.where(condition))

    def count(self) -> Plan:
        """How many rows there are."""
        return self._compile(sa.select(sa.func.count()).select_from(self._table))

    def _compile(self, statement: sa.sql.ClauseElement) -> Plan:
        return compile_plan(statement, self._dialect)

    def _source(self, names: Sequence[str], binds: Binds) -> SourceColumns:
        return source(self._spec, names, self._dialect, binds, self._collations)

    def _insert_select(self, names: Sequence[str], binds: Binds) -> tuple[postgresql.Insert, SourceColumns]:
        rows = self._source(names, binds)
        # Generated ids follow the order in which rows are inserted, and so does what is returned.
        ordered = sa.select(*(rows[name] for name in names)).order_by(rows[POSITION])
        return postgresql.insert(self._table).from_select(list(names), ordered), rows

    def _same(self, key: Sequence[str], rows: SourceColumns) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._table.c[name] == rows[name] for name in key))

    def _equal(self, key: Sequence[str], binds: Binds) -> sa.ColumnElement[bool]:
        columns = [self._table.c[name] for name in key]
        return sa.and_(*(column == binds.next(column.type) for column in columns))

    def _matching(self, where: Filter, binds: Binds, *, limited: bool) -> sa.ColumnElement[bool] | None:
        if not limited:
            return where.clause(self._table, binds)
        condition = where.clause(self._table, binds)
        chosen = sa.select(self._id).order_by(self._id).limit(binds.next(sa.Integer()))
        if condition is not None:
            chosen = chosen.where(condition)
        if self._dialect is Dialect.SQLITE:
            # Without an offset SQLAlchemy adds one, as a bind of its own.
            return self._id.in_(chosen.offset(sa.literal_column("0")))
        # Locked while they are chosen, so that a row that changes meanwhile is looked at again. MySQL takes no LIMIT
        # in an IN, but does in a derived table.
        chosen = chosen.with_for_update()
        if self._dialect is Dialect.POSTGRESQL:
            return self._id.in_(chosen)
        return self._id == chosen.subquery("chosen").c[self._id.name]
