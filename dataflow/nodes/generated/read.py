"""Read: one row, by its id or a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import MultipleRecordsError, RecordNotFoundError
from dataflow.nodes.generated.arguments import (
    READ_LATER,
    as_given,
    filter_parameter,
    flag,
    id_parameter,
    pick_row,
    resolve,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.filters import Filter
from dataflow.queries.rows import select_row
from dataflow.queries.select import select_rows


class ReadNode(GeneratedNode):
    """Returns a row, and ``found: True``."""

    operation = "Read"

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        self._key = binding.spec.primary_key.name
        self._bind_key = binding.codec.fields[self._key].bind

    def describe(self) -> NodeSpec:
        name = self.binding.spec.name
        return NodeSpec(
            self.type,
            f"Returns one {name} by its id, or by a filter that matches one.",
            (
                id_parameter(self.binding),
                filter_parameter(self.binding, "conditions"),
                Parameter("raise_on_not_found", bool, default=True, description="Fail where there is no such row."),
                *READ_LATER,
            ),
            (*self.field_outputs(), Output("found", bool, "Whether there is such a row.")),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        must_exist = True
        if len(inputs) == 1 and self._key in inputs:
            key, where = self._bind_key(inputs[self._key]), None
        else:
            given = resolve(self.spec, inputs)
            must_exist = flag(self.type, "raise_on_not_found", given.get("raise_on_not_found", True))
            key, where = pick_row(self.binding, self.type, given)
        record = await self._by_key(key, context) if where is None else await self._by_filter(where, context)
        if record is not None:
            record["found"] = True
            return record
        if must_exist:
            raise self._not_found(key)
        return {"id": as_given(self.binding, key), "found": False}

    async def _by_key(self, key: Any, context: RunContext) -> dict[str, Any] | None:
        binding = self.binding
        executor = await binding.executor(context)
        plan = binding.plans.get("read", lambda: select_row(binding.table, binding.codec, binding.database.dialect))
        row = await executor.fetch_one(plan.sql, (key,))
        return None if row is None else binding.codec.row(row)

    async def _by_filter(self, where: Filter, context: RunContext) -> dict[str, Any] | None:
        binding = self.binding
        executor = await binding.executor(context)
        sort = ((self._key, True),)
        plan = binding.plans.get(
            ("list", where.shape, sort, None),
            lambda: select_rows(
                binding.table, binding.codec, binding.database.dialect, where, sort, binding.spec.names
            ),
        )
        rows = await executor.fetch_all(plan.sql, plan.arguments([*where.values, 2, 0]))
        if len(rows) > 1:
            raise MultipleRecordsError(
                f"{self.type}: the filter matches several rows.",
                hint=f"Narrow it, or use {binding.spec.name}ListNode.",
                model=binding.spec.name,
            )
        return binding.codec.row(rows[0]) if rows else None

    def _not_found(self, key: Any) -> RecordNotFoundError:
        name = self.binding.spec.name
        shown = as_given(self.binding, key)
        which = f"no {name} matches the filter" if key is None else f"there is no {name} with {self._key} {shown!r}"
        return RecordNotFoundError(
            f"{self.type}: {which}.", hint="Use raise_on_not_found=False to go on.", model=name, id=shown
        )
