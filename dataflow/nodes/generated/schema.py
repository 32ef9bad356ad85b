"""Schema: the models of one instance on its database; creates their tables, or checks that they are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import sqlalchemy as sa

from dataflow.databases.interface import Capabilities, Database
from dataflow.errors import MissingTableError, ModelError, SchemaMismatchError
from dataflow.models import ModelSpec
from dataflow.models.tables import build_table
from dataflow.nodes.generated.binding import ModelBinding


class Schema:
    """The models of one instance.

    Args:
        database: Where their tables are.
        may_create: Whether missing tables are created when a model is first used.
    """

    def __init__(self, database: Database, *, may_create: bool) -> None:
        self._database = database
        self._may_create = may_create
        self._models: dict[str, ModelSpec] = {}
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
        return ModelBinding(spec, table, self._database, lambda: self.prepare(spec))

    async def prepare(self, spec: ModelSpec) -> None:
        """Make sure that the tables of a model, and of those it refers to, are there and fit.

        Raises:
            MissingTableError: One is missing and may not be created.
            SchemaMismatchError: One lacks columns of its model.
        """
        await self._prepare(list(self._with_targets(spec)), create=self._may_create)

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
                f"There is no table {names} in {self._database.masked_url}, and this instance creates none.",
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
        return created

    def _ddl_tables(self, specs: list[ModelSpec], capabilities: Capabilities) -> list[sa.Table]:
        """Tables to create; those they refer to are in the same metadata, since a foreign key needs its target."""
        metadata = sa.MetaData()
        wanted = {target.name for spec in specs for target in self._with_targets(spec)}
        tables = {
            name: build_table(self._models[name], metadata, self._models, text_collation=capabilities.text_collation)
            for name in wanted
        }
        return [tables[spec.name] for spec in specs]

    def _with_targets(self, spec: ModelSpec) -> Iterator[ModelSpec]:
        """The model and all that its foreign keys lead to."""
        seen: set[str] = set()
        left = [spec]
        while left:
            current = left.pop()
            if current.name in seen:
                continue
            seen.add(current.name)
            yield current
            for item in current.fields:
                if item.references and item.references.model in self._models:
                    left.append(self._models[item.references.model])
