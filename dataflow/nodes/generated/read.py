"""Read: one row, by its id or a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import MultipleRecordsError, RecordNotFoundError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    READ_LATER,
    as_given,
    filter_parameter,
    flag,
    id_parameter,
    pick_row,
    resolve,
    seen_rows,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.filters import Filter
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import select_row
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
                INCLUDE_DELETED,
                *READ_LATER,
            ),
            (*self.field_outputs(), Output("found", bool, "Whether there is such a row.")),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        must_exist, rows = True, self.binding.rows
        if len(inputs) == 1 and self._key in inputs:
            key, where = self._bind_key(inputs[self._key]), None
        else:
            given = resolve(self.spec, inputs)
            must_exist = flag(self.type, "raise_on_not_found", given.get("raise_on_not_found", True))
            rows = seen_rows(self.binding, self.type, given)
            key, where = pick_row(self.binding, self.type, given)
        access = await self.binding.access(context)
        record = await _by_key(rows, key, access) if where is None else await self._by_filter(rows, where, access)
        if record is not None:
            record["found"] = True
            return record
        if must_exist:
            raise self._not_found(key)
        return {"id": as_given(self.binding, key), "found": False}

    async def _by_filter(self, rows: ModelRows, where: Filter, access: Access) -> dict[str, Any] | None:
        sort = ((self._key, True),)
        plan = rows.plans.get(
            ("list", where.shape, sort, None, None), lambda: select_rows(rows, where, sort, rows.spec.names)
        )
        found = await access.fetch_all(plan, [*where.values, 2, 0])
        if len(found) > 1:
            raise MultipleRecordsError(
                f"{self.type}: the filter matches several rows.",
                hint=f"Narrow it, or use {rows.spec.name}ListNode.",
                model=rows.spec.name,
            )
        return rows.codec.row(found[0]) if found else None

    def _not_found(self, key: Any) -> RecordNotFoundError:
        name = self.binding.spec.name
        shown = as_given(self.binding, key)
        which = f"no {name} matches the filter" if key is None else f"there is no {name} with {self._key} {shown!r}"
        return RecordNotFoundError(
            f"{self.type}: {which}.", hint="Use raise_on_not_found=False to go on.", model=name, id=shown
        )


async def _by_key(rows: ModelRows, key: Any, access: Access) -> dict[str, Any] | None:
    plan = rows.plans.get("read", lambda: select_row(rows))
    row = await access.fetch_one(plan, (key,))
    return None if row is None else rows.codec.row(row)
