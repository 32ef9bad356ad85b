"""Update: changes one row, by its id or a filter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Dialect, Row
from dataflow.errors import ConstraintError, RecordNotFoundError, UpdateParameterError
from dataflow.models import FieldSpec
from dataflow.models.spec import Managed
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    as_given,
    checked_by,
    filter_parameter,
    flag,
    given_version,
    id_parameter,
    managed_names,
    pick_row,
    resolve,
    seen_rows,
    version_parameter,
    warn_stripped,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.lookups import check_version, find_one
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import select_row, update_row
from dataflow.queries.updates import Updates, parse_updates

#: Old parameter → the one that took its place.
_OLD = {"conditions": "filter", "updates": "fields"}
_BY_FILTER = ("filter", "conditions")


class UpdateNode(GeneratedNode):
    """Returns the row after the update, and ``updated: True``.

    By id it is one statement. Where the database cannot return what it updated (MySQL), the row is read afterwards: in
    the same transaction if an expression such as ``$inc`` made the values, since others may change them too, else by
    itself, with the values that were set here.
    """

    operation = "Update"
    writes = True

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        own = {"filter", "fields", *_OLD, "record_id", "raise_on_not_found", "include_deleted"}
        features = binding.spec.features
        own |= {name for name in features.managed if name in (Managed.VERSION, Managed.TENANT_ID)}
        #: Fields that can be given flat. One that is called as a parameter of the node goes into ``fields``.
        self._flat = frozenset(
            item.name for item in binding.spec.fields if not item.primary_key and item.name not in own
        )
        self._returns_row = binding.database.dialect is not Dialect.MYSQL
        self._counts = features.versioned

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
                *version_parameter(binding),
                INCLUDE_DELETED,
                *flat,
            ),
            (*self.field_outputs(), Output("updated", bool, "Whether there was such a row.")),
        )

    def takes_one_statement(self, inputs: Mapping[str, Any]) -> bool:
        by_filter = not inputs.keys().isdisjoint(_BY_FILTER)
        return self._returns_row and not by_filter and not self._counts

    def rows_in(self, output: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return (output,)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
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
        rows = seen_rows(self.binding, self.type, given)
        version = given_version(self.binding, given)
        try:
            if where is None:
                row = await self._update(rows, key, version, updates, context)
            else:
                async with self.binding.transaction(context) as access:
                    key = await find_one(rows, self.type, where, access, "BulkUpdate")
                    row = None if key is None else await self._update_in(rows, access, key, version, updates)
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
        flat = {name: value for name, value in given.items() if name in self._flat}
        if "fields" not in given:
            return flat
        changes: Any = given["fields"]
        if not flat or not isinstance(changes, Mapping):
            # What is no dict is refused by who parses it.
            return changes  # type: ignore[no-any-return]
        both = flat.keys() & changes.keys()
        if both:
            raise UpdateParameterError(f"{self.type}: '{min(both)}' is given in 'fields' and beside it.")
        return {**changes, **flat}

    async def _update(
        self, rows: ModelRows, key: Any, version: list[Any], updates: Updates, context: RunContext
    ) -> Row | None:
        if self._returns_row:
            return await self._update_in(rows, await self.binding.access(context), key, version, updates)
        if self._counts or not updates.is_plain:
            async with self.binding.transaction(context) as access:
                return await self._update_in(rows, access, key, version, updates)
        row = await self._update_in(rows, await self.binding.access(context), key, version, updates)
        if row is None:
            return None
        values = list(row)
        for (_, name), value in zip(updates.shape, updates.values, strict=True):
            values[rows.spec.names.index(name)] = value
        return values

    async def _update_in(
        self, rows: ModelRows, access: Access, key: Any, version: list[Any], updates: Updates
    ) -> Row | None:
        versioned = bool(version)
        plan = rows.plans.get(
            ("update", updates.shape, versioned),
            lambda: update_row(rows, updates, returning=self._returns_row, versioned=versioned),
        )
        values = [*updates.values, key, *version]
        row: Row | None = None
        if self._returns_row:
            row = await access.fetch_one(plan, values)
        elif (await access.execute(plan, values)).rows:
            row = await access.fetch_one(rows.plans.get("read", lambda: select_row(rows)), (key,))
        if row is None and versioned:
            await check_version(rows, self.type, access, key, version[0])
        return row
