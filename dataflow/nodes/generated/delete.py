"""Delete: removes one row, by its id or a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import ConstraintError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import (
    INCLUDE_DELETED,
    as_given,
    deletes_softly,
    filter_parameter,
    given_version,
    id_parameter,
    pick_row,
    resolve,
    seen_rows,
    version_parameter,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.lookups import check_version, find_one
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import delete_row, update_row
from dataflow.queries.updates import deletion


class DeleteNode(GeneratedNode):
    """Returns ``{"id", "deleted", "soft"}``; a row that is not there is no error."""

    operation = "Delete"
    writes = True

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        self._key = binding.spec.primary_key.name
        self._bind_key = binding.codec.fields[self._key].bind
        self._softly = binding.spec.features.soft_delete

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            f"Removes one {self.binding.spec.name}.",
            (
                id_parameter(self.binding),
                filter_parameter(self.binding, "conditions"),
                Parameter(
                    "soft_delete",
                    bool | None,
                    description="Mark the row instead of removing it; default the model's own way.",
                    coerce=lambda value: deletes_softly(self.binding, self.type, value),
                ),
                *version_parameter(self.binding),
                INCLUDE_DELETED,
            ),
            (
                Output("id", self.binding.spec.primary_key.type.python, "Which row."),
                Output("deleted", bool, "Whether there was such a row."),
                Output("soft", bool, "Whether it was marked instead of removed."),
            ),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        binding = self.binding
        rows, soft, version = binding.rows, self._softly, []
        if len(inputs) == 1 and self._key in inputs:
            key, where = self._bind_key(inputs[self._key]), None
        else:
            given = resolve(self.spec, inputs)
            key, where = pick_row(binding, self.type, given)
            soft = deletes_softly(binding, self.type, given.get("soft_delete"))
            rows = seen_rows(binding, self.type, given)
            version = given_version(binding, given)
        try:
            if where is None:
                deleted = await self._delete(rows, await binding.access(context), key, version, soft=soft)
            else:
                async with binding.transaction(context) as access:
                    key = await find_one(rows, self.type, where, access, "BulkDelete")
                    deleted = key is not None and await self._delete(rows, access, key, version, soft=soft)
        except ConstraintError as error:
            raise explain(error, binding, {}, deleting=True) from error
        return {"id": as_given(binding, key), "deleted": deleted, "soft": soft}

    async def _delete(self, rows: ModelRows, access: Access, key: Any, version: list[Any], *, soft: bool) -> bool:
        versioned = bool(version)
        if soft:
            marks = deletion(rows.codec, rows.dialect)
            plan = rows.plans.get(
                ("soft delete", versioned), lambda: update_row(rows, marks, returning=False, versioned=versioned)
            )
            values = [*marks.values, key, *version]
        else:
            plan = rows.plans.get(("delete", versioned), lambda: delete_row(rows, versioned=versioned))
            values = [key, *version]
        deleted = (await access.execute(plan, values)).rows > 0
        if versioned and not deleted:
            await check_version(rows, self.type, access, key, version[0])
        return deleted
