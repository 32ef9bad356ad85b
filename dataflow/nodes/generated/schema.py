"""Schema: the models of one instance on its database; creates their tables, or checks that they are there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

import sqlalchemy as sa

from dataflow.databases.interface import Capabilities, Database, Dialect, Transaction
from dataflow.errors import MissingTableError, ModelError, SchemaError, SchemaMismatchError
from dataflow.models import ModelSpec
from dataflow.models.tables import TENANT_SETTING, build_table
from dataflow.nodes.generated.binding import ModelBinding, Prepare
from dataflow.nodes.generated.ledger import DatabaseLedger
from dataflow.nodes.generated.walls import warn_of_open_walls
from dataflow.queries.cursor import CursorSigner
from dataflow.queries.model import ModelRows


class Schema:
    """The models of one instance.

    Args:
        database: Where their tables are.
        may_create: Whether missing tables are created when a model is first used.
        cursor_secret: What cursors of lists are signed with.
    """

    def __init__(self, database: Database, *, may_create: bool, cursor_secret: bytes) -> None:
        self._database = database
        self._cursors = CursorSigner(cursor_secret)
        self._may_create = may_create
        self._ledger = DatabaseLedger(database, may_create=may_create)
        self._models: dict[str, ModelSpec] = {}
        self._bindings: dict[str, ModelBinding] = {}
        self._walled: set[str] = set()
        self._metadata = sa.MetaData()

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec, in order of declaration."""
        return MappingProxyType(self._models)

    def add(self, spec: ModelSpec) -> ModelBinding:
        """Take in a model.

        Raises:
            ModelError: The name or the table is taken by another model.
        """
        if spec.name in self._models:
            raise ModelError(f"The model {spec.name} is declared already.", hint="Rename one of the classes.")
        for other in self._models.values():
            if other.table_name == spec.table_name:
                raise ModelError(
                    f"{spec.name} and {other.name} both use the table '{spec.table_name}'.",
                    hint="Give one of them a __tablename__.",
                )
        self._models[spec.name] = spec
        table = build_table(spec, self._metadata)
        if spec.features.row_level_security:
            self._walled.add(spec.name)
        binding = self._bindings[spec.name] = self.bind(spec, table, lambda: self.prepare(spec), self._walled)
        return binding

    def bind(self, spec: ModelSpec, table: sa.Table, prepare: Prepare, walled: Collection[str] = ()) -> ModelBinding:
        """A table on the database of these models, and with their ledger; it need not be one of them."""
        return ModelBinding(spec, table, self._database, self._rows, prepare, walled, self._cursors, self._ledger)

    def _rows(self, model: str) -> ModelRows | None:
        binding = self._bindings.get(model)
        return None if binding is None else binding.rows

    async def prepare(self, spec: ModelSpec) -> None:
        """Make sure that the tables of a model, and of those it refers to, are there and fit.

        Filters also lead through relations that are no foreign keys; their tables are created along with it.

        Raises:
            MissingTableError: One is missing and may not be created.
            SchemaMismatchError: One lacks columns of its model.
        """
        reached = self._reached(spec, relations=self._may_create)
        await self._prepare(list(reached), create=self._may_create)

    async def prepare_each(self) -> dict[str, SchemaError]:
        """``prepare`` for every model that was not used yet: what is wrong, by the name of the model."""
        wrong: dict[str, SchemaError] = {}
        for name, binding in list(self._bindings.items()):
            try:
                await binding.prepare()
            except SchemaError as error:
                wrong[name] = error
        return wrong

    def transaction(self, tenant: str | None) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for nodes of these models, about the rows of a tenant."""
        walled = self._walled and self._database.dialect is Dialect.POSTGRESQL
        return self._database.transaction({TENANT_SETTING: tenant} if walled and tenant is not None else None)

    async def check(self, spec: ModelSpec) -> None:
        """The same, but create nothing."""
        await self._prepare(list(self._reached(spec, relations=False)), create=False)

    async def create_all(self) -> list[str]:
        """Create all missing tables, whatever the settings say of creating them on first use; returns their names."""
        return await self._prepare(list(self._models.values()), create=True)

    async def _prepare(self, specs: list[ModelSpec], *, create: bool) -> list[str]:
        created: list[str] = []
        existing = await self._database.existing_columns([spec.table_name for spec in specs])
        missing = [spec for spec in specs if spec.table_name not in existing]
        if missing and not create:
            names = ", ".join(f"'{spec.table_name}' of {spec.name}" for spec in missing)
            raise MissingTableError(
                f"There is no table {names} in {self._database.masked_url}, and none is created for this.",
                hint="Create it, call db.create_tables() once, or use auto_migrate=True without existing_schema_mode.",
                tables=[spec.table_name for spec in missing],
            )
        if missing:
            capabilities = await self._database.capabilities()
            created = await self._database.create_tables(self._ddl_tables(missing, capabilities))
        for spec in specs:
            lacking = [name for name in spec.names if name not in existing.get(spec.table_name, spec.names)]
            if lacking:
                raise SchemaMismatchError(
                    f"The table '{spec.table_name}' lacks {', '.join(map(repr, lacking))} of the model {spec.name}.",
                    hint="Existing tables are never altered: add the columns, or give the model another __tablename__.",
                    table=spec.table_name,
                    columns=lacking,
                )
        walled = [spec.table_name for spec in specs if spec.features.row_level_security]
        if walled and self._database.dialect is Dialect.POSTGRESQL:
            await warn_of_open_walls(self._database, walled)
        return created

    def _ddl_tables(self, specs: list[ModelSpec], capabilities: Capabilities) -> list[sa.Table]:
        """Tables to create; those they refer to are in the same metadata, since a foreign key needs its target."""
        metadata = sa.MetaData()
        wanted = {target.name for spec in specs for target in self._reached(spec, relations=False)}
        tables = {
            name: build_table(self._models[name], metadata, self._models, text_collation=capabilities.text_collation)
            for name in wanted
        }
        return [tables[spec.name] for spec in specs]

    def _reached(self, spec: ModelSpec, *, relations: bool) -> Iterator[ModelSpec]:
        """The model and all that its foreign keys lead to, and its relations."""
        seen: set[str] = set()
        left = [spec]
        while left:
            current = left.pop()
            if current.name in seen:
                continue
            seen.add(current.name)
            yield current
            names = [item.references.model for item in current.fields if item.references]
            if relations:
                names += [relation.model for relation in current.relations]
            left += [self._models[name] for name in names if name in self._models]
