"""ModelRows: the rows of a model that statements may see, and the only way to its table.

Every select, update and delete that is made here carries the conditions of the model's features, so no node can forget
them: a multi-tenant model's rows are those of the run's tenant, and without ``include_deleted`` a soft-deleted row is
not there. Conflict keys need no condition: those of a multi-tenant model begin with the tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dataflow.databases.interface import Dialect
from dataflow.models import ModelSpec
from dataflow.models.spec import Managed
from dataflow.queries.codecs import ModelCodec, RowDecoder
from dataflow.queries.plan import TENANT, Binds, Plan, PlanCache, compile_plan

#: From a model's name to its rows, for relations; None if there is no such model.
FindModel = Callable[[str], "ModelRows | None"]
S = TypeVar("S", sa.Select[Any], sa.Update, sa.Delete)


class ModelRows:
    """Rows of a model on a kind of database.

    Args:
        codec: How they travel.
        dialect: Which SQL.
        table: Their table, or an alias of it.
        find: Finds the models that relations lead to.
        include_deleted: Soft-deleted rows are seen as well.

    Attributes:
        spec: The model.
        plans: Compiled statements over these rows, by shape.
    """

    __slots__ = ("_find", "_table", "codec", "dialect", "include_deleted", "plans", "spec")

    def __init__(
        self, codec: ModelCodec, dialect: Dialect, table: sa.FromClause, find: FindModel, *, include_deleted: bool
    ) -> None:
        self.spec: ModelSpec = codec.spec
        self.codec = codec
        self.dialect = dialect
        self.include_deleted = include_deleted
        self.plans = PlanCache()
        self._table = table
        self._find = find

    @property
    def columns(self) -> Mapping[str, sa.ColumnElement[Any]]:
        """What stands for each field in an expression."""
        return self._table.c  # type: ignore[return-value]

    @property
    def key(self) -> sa.ColumnElement[Any]:
        """The primary key."""
        return self._table.c[self.spec.primary_key.name]

    @property
    def all_columns(self) -> list[sa.ColumnElement[Any]]:
        """Every field, in column order."""
        return list(self._table.c)

    @property
    def table_name(self) -> str:
        return self.spec.table_name

    def select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """Select from these rows."""
        return self._visible(sa.select(*columns).select_from(self._table))

    def update(self, assignments: Mapping[str, Any]) -> sa.Update:
        """Update these rows."""
        return self._visible(sa.update(self._table).values(self.counted(assignments)))  # type: ignore[arg-type]

    def counted(self, assignments: Mapping[str, Any]) -> dict[str, Any]:
        """What an update of these rows sets: a versioned model counts the change.

        Without anything to set it is the id, to itself: rows still have to be found and counted.
        """
        if self.spec.features.versioned:
            version = Managed.VERSION.value
            return {**assignments, version: self._table.c[version] + sa.literal_column("1")}
        return dict(assignments) or {self.key.name: self.key}

    def delete(self) -> sa.Delete:
        """Delete these rows."""
        return self._visible(sa.delete(self._table))  # type: ignore[arg-type]

    def insert(self, names: Sequence[str], binds: Binds) -> postgresql.Insert | sqlite.Insert | sa.Insert:
        """Insert a row with these fields; one bind per field, in order."""
        values = {name: binds.next(self._table.c[name].type) for name in names}
        return self._insert().values(values)

    def insert_from(self, names: Sequence[str], rows: sa.Select[Any]) -> postgresql.Insert:
        """PostgreSQL: insert what a select returns."""
        return postgresql.insert(self._table).from_select(list(names), rows)  # type: ignore[arg-type]

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Lock the selected rows until the transaction ends. On SQLite it holds the one writer anyway."""
        return statement if self.dialect is Dialect.SQLITE else statement.with_for_update(of=self._table)

    def has(self, names: Sequence[str], binds: Binds) -> sa.ColumnElement[bool]:
        """Whether a row has these values; one bind per field, in order."""
        columns = [self._table.c[name] for name in names]
        return sa.and_(*(column == binds.next(column.type) for column in columns))

    def aliased(self, name: str) -> ModelRows:
        """The same rows under a name of their own."""
        alias = self._table.alias(name)
        return ModelRows(self.codec, self.dialect, alias, self._find, include_deleted=self.include_deleted)

    def related(self, model: str) -> ModelRows | None:
        """The rows of another model that may be seen along with these; None if there is no such model."""
        found = self._find(model)
        if found is None or found.include_deleted == self.include_deleted:
            return found
        return ModelRows(found.codec, found.dialect, found._table, found._find, include_deleted=self.include_deleted)

    def compile(self, statement: sa.sql.ClauseElement, decode: RowDecoder | None = None) -> Plan:
        """The plan of a statement."""
        return compile_plan(statement, self.dialect, decode)

    def _insert(self) -> postgresql.Insert | sqlite.Insert | sa.Insert:
        match self.dialect:
            case Dialect.POSTGRESQL:
                return postgresql.insert(self._table)  # type: ignore[arg-type]
            case Dialect.SQLITE:
                return sqlite.insert(self._table)  # type: ignore[arg-type]
        return sa.insert(self._table)  # type: ignore[arg-type]

    def _visible(self, statement: S) -> S:
        for condition in self._conditions():
            statement = statement.where(condition)
        return statement

    def _conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        features, columns = self.spec.features, self._table.c
        if features.multi_tenant:
            tenant = columns[Managed.TENANT_ID.value]
            yield tenant == sa.bindparam(TENANT, type_=tenant.type, unique=False)
        if features.soft_delete and not self.include_deleted:
            yield columns[Managed.DELETED_AT.value].is_(None)
