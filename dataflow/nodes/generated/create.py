"""Create: one new row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import ConstraintError
from dataflow.models import FieldSpec
from dataflow.models.spec import Managed
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import managed_names, resolve, warn_stripped
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Parameter, RunContext, missing_parameter
from dataflow.queries.codecs import Convert
from dataflow.queries.one_row import insert_row
from dataflow.queries.plan import Plan


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a new row's value of one field comes from."""

    name: str
    bind: Convert
    #: Makes the driver value where the user gives none; where it is None, ``constant`` is the driver value.
    make: Callable[[], Any] | None
    constant: Any


class CreateNode(GeneratedNode):
    """Inserts a row and returns it as stored."""

    operation = "Create"
    writes = True

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        spec = binding.spec
        self._managed = managed_names(spec)
        self._key = spec.primary_key
        self._sources = [self._source(item) for item in spec.writable if not item.generated]
        self._names = frozenset(spec.names) - self._managed
        self._moment = binding.codec.fields[Managed.CREATED_AT].bind if spec.features.timestamps else None
        self._returning: bool | None = None

    def describe(self) -> NodeSpec:
        spec = self.binding.spec
        fields = [self.field_parameter(item, required=item.required) for item in spec.writable]
        stamps = [
            Parameter(name, Any, description="Filled in for you; a value is left out with a warning.")
            for name in spec.features.managed
            if name != Managed.TENANT_ID
        ]
        return NodeSpec(
            self.type,
            f"Inserts one {spec.name} and returns the stored row.",
            (*fields, *stamps),
            self.field_outputs(),
        )

    def takes_one_statement(self, inputs: Mapping[str, Any]) -> bool:
        return self.binding.database.dialect is not Dialect.MYSQL

    def rows_in(self, output: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return (output,)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        if not inputs.keys() <= self._names:
            inputs = self._without_managed(inputs)
        values: list[Any] = []
        key = self._key
        has_key = not key.generated or inputs.get(key.name) is not None
        if key.generated and has_key:
            values.append(self.binding.codec.fields[key.name].bind(inputs[key.name]))
        for source in self._sources:
            if source.name in inputs:
                values.append(source.bind(inputs[source.name]))
            else:
                values.append(source.constant if source.make is None else source.make())
        access = await self.binding.access(context)
        if self._managed:
            values.extend(self._managed_values(access))
        returning = self._returning
        if returning is None:
            returning = self._returning = (await self.binding.database.capabilities()).insert_returning
        plan = self.binding.rows.plans.get(("create", has_key), lambda: self._plan(has_key, bool(returning)))
        try:
            if returning:
                row = await access.fetch_one(plan, values)
            else:
                outcome = await access.execute(plan, values)
                row = values if has_key else [outcome.last_id, *values]
        except ConstraintError as error:
            raise explain(error, self.binding, inputs) from error
        assert row is not None
        return self.binding.codec.row(row)

    def _managed_values(self, access: Access) -> list[Any]:
        """Values of the managed fields, in column order."""
        features = self.binding.spec.features
        values: list[Any] = []
        if features.multi_tenant:
            values.append(access.own_tenant)
        if features.versioned:
            values.append(1)
        if features.soft_delete:
            values.append(None)
        if self._moment is not None:
            values.extend([self._moment(datetime.now(UTC))] * 2)
        return values

    def _source(self, item: FieldSpec) -> _Source:
        bind = self.binding.codec.fields[item.name].bind
        if item.required:
            return _Source(item.name, bind, lambda: self._refuse_missing(item.name), None)
        if item.default_factory is not None:
            return _Source(item.name, bind, lambda: bind(item.new_default()), None)
        return _Source(item.name, bind, None, bind(item.new_default()))

    def _refuse_missing(self, name: str) -> None:
        raise missing_parameter(self.type, name)

    def _without_managed(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        given = resolve(self.spec, inputs)
        stripped = self._managed & given.keys()
        warn_stripped(self.binding, stripped, "create")
        return {name: value for name, value in given.items() if name not in stripped}

    def _plan(self, has_key: bool, returning: bool) -> Plan:
        names = [name for name in self.binding.spec.names if has_key or name != self._key.name]
        return insert_row(self.binding.rows, names, returning=returning)
