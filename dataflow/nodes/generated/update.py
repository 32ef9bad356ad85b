"""Update: changes one row, by its id or a filter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Dialect, Executor, Row
from dataflow.errors import ConstraintError, RecordNotFoundError, UpdateParameterError
from dataflow.models import FieldSpec
from dataflow.nodes.generated.arguments import (
    TENANT_LATER,
    LaterParameter,
    as_given,
    checked_by,
    filter_parameter,
    flag,
    id_parameter,
    managed_names,
    pick_row,
    resolve,
    warn_stripped,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.lookups import find_one
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.rows import select_row, update_row
from dataflow.queries.updates import Updates, parse_updates

#: Old parameter → the one that took its place.
_OLD = {"conditions": "filter", "updates": "fields"}


class UpdateNode(GeneratedNode):
    """Returns the row after the update, and ``updated: True``.

    By id it is one statement. Where the database cannot return what it updated (MySQL), the row is read afterwards: in
    the same transaction if an expression such as ``$inc`` made the values, since others may change them too, else by
    itself, with the values that were set here.
    """

    operation = "Update"

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        own = {"filter", "fields", *_OLD, "record_id", "raise_on_not_found", "version", "tenant_id"}
        #: Fields that can be given flat. One that is called as a parameter of the node goes into ``fields``.
        self._flat = frozenset(
            item.name for item in binding.spec.fields if not item.primary_key and item.name not in own
        )
        self._returns_row = binding.database.dialect is not Dialect.MYSQL

    def describe(self) -> NodeSpec:
        binding = self.binding
        name = binding.spec.name
        flat = [self._flat_parameter(item) for item in binding.spec.fields if item.name in self._flat]
        return NodeSpec(
            self.type,
            f"Changes one {name} and returns it as it is then.",
            (
                filter_parameter(binding),
                Parameter(
                    "fields",
                    dict[str, Any],
                    description="New values, or expressions such as {'$inc': 1}, by field.",
                    coerce=checked_by(self._parse),
                ),
                id_parameter(binding),
                Parameter(
                    "conditions",
                    dict[str, Any],
                    description="Old name of filter.",
                    coerce=filter_parameter(binding).coerce,
                ),
                Parameter("updates", dict[str, Any], description="Old name of fields.", coerce=checked_by(self._parse)),
                Parameter("raise_on_not_found", bool, default=False, description="Fail where there is no such row."),
                LaterParameter("version", int, description="The version that the row must have."),
                TENANT_LATER,
                *flat,
            ),
            (*self.field_outputs(), Output("updated", bool, "Whether there was such a row.")),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        given = self._renamed(resolve(self.spec, inputs))
        must_exist = flag(self.type, "raise_on_not_found", given.get("raise_on_not_found", False))
        changes = self._changes(given)
        updates = self._parse(changes)
        if updates.stripped:
            warn_stripped(self.binding, updates.stripped, "update")
        if updates.is_empty:
            raise UpdateParameterError(
                f"{self.type}: there is nothing to change.",
                hint="Write {'filter': {'id': …}, 'fields': {'name': 'new'}}.",
                node_type=self.type,
            )
        key, where = pick_row(self.binding, self.type, given)
        try:
            if where is None:
                row = await self._update(key, updates, context)
            else:
                async with self.binding.transaction(context) as transaction:
                    key = await find_one(self.binding, self.type, where, transaction, "BulkUpdate")
                    row = None if key is None else await self._update_in(transaction, key, updates)
        except ConstraintError as error:
            raise explain(error, self.binding, changes) from error
        if row is not None:
            record = self.binding.codec.row(row)
            record["updated"] = True
            return record
        shown = as_given(self.binding, key)
        if must_exist:
            raise RecordNotFoundError(
                f"{self.type}: there is no such {self.binding.spec.name}.", model=self.binding.spec.name, id=shown
            )
        return {"id": shown, "updated": False}

    def _flat_parameter(self, item: FieldSpec) -> Parameter:
        return Parameter(
            item.name,
            Any if item.name in managed_names(self.binding.spec) else item.type.python,
            description=f"New value of {self.binding.spec.name}.{item.name}, or an expression.",
            coerce=checked_by(lambda value: self._parse({item.name: value})),
        )

    def _parse(self, changes: Any) -> Updates:
        return parse_updates(self.binding.codec, self.binding.database.dialect, changes)

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        for old, new in _OLD.items():
            if old not in given:
                continue
            if new in given:
                raise UpdateParameterError(f"{self.type}: '{old}' is the old name of '{new}', give one of them.")
            warnings.warn(f"{self.type}: '{old}' is now called '{new}'.", DeprecationWarning, stacklevel=3)
            given[new] = given.pop(old)
        return given

    def _changes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """New values from ``fields`` and from flat parameters."""
        changes: Any = given.get("fields", {})
        flat = {name: given[name] for name in self._flat & given.keys()}
        if not flat or not isinstance(changes, Mapping):
            # What is no dict is refused by who parses it.
            return changes  # type: ignore[no-any-return]
        both = flat.keys() & changes.keys()
        if both:
            raise UpdateParameterError(f"{self.type}: '{min(both)}' is given in 'fields' and beside it.")
        return {**changes, **flat}

    async def _update(self, key: Any, updates: Updates, context: RunContext) -> Row | None:
        if self._returns_row:
            return await self._update_returning(await self.binding.executor(context), key, updates)
        if not updates.is_plain:
            async with self.binding.transaction(context) as transaction:
                return await self._update_in(transaction, key, updates)
        row = await self._update_in(await self.binding.executor(context), key, updates)
        if row is None:
            return None
        values = list(row)
        for (_, name), value in zip(updates.shape, updates.values, strict=True):
            values[self.binding.spec.names.index(name)] = value
        return values

    async def _update_in(self, executor: Executor, key: Any, updates: Updates) -> Row | None:
        if self._returns_row:
            return await self._update_returning(executor, key, updates)
        binding = self.binding
        plan = binding.plans.get(
            ("update", updates.shape),
            lambda: update_row(binding.table, binding.codec, binding.database.dialect, updates, returning=False),
        )
        outcome = await executor.execute(plan.sql, plan.arguments([*updates.values, key]))
        if outcome.rows == 0:
            return None
        read = binding.plans.get("read", lambda: select_row(binding.table, binding.codec, binding.database.dialect))
        return await executor.fetch_one(read.sql, (key,))

    async def _update_returning(self, executor: Executor, key: Any, updates: Updates) -> Row | None:
        binding = self.binding
        plan = binding.plans.get(
            ("update", updates.shape),
            lambda: update_row(binding.table, binding.codec, binding.database.dialect, updates, returning=True),
        )
        return await executor.fetch_one(plan.sql, plan.arguments([*updates.values, key]))
