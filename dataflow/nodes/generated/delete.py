"""Delete: removes one row, by its id or a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Executor
from dataflow.errors import ConstraintError
from dataflow.nodes.generated.arguments import (
    TENANT_LATER,
    LaterParameter,
    as_given,
    filter_parameter,
    id_parameter,
    pick_row,
    resolve,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.lookups import find_one
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, RunContext
from dataflow.queries.rows import delete_row


class DeleteNode(GeneratedNode):
    """Returns ``{"id", "deleted", "soft"}``; a row that is not there is no error."""

    operation = "Delete"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            f"Removes one {self.binding.spec.name}.",
            (
                id_parameter(self.binding),
                filter_parameter(self.binding, "conditions"),
                LaterParameter("soft_delete", bool, default=False, description="Mark the row instead of removing it."),
                TENANT_LATER,
            ),
            (
                Output("id", self.binding.spec.primary_key.type.python, "Which row."),
                Output("deleted", bool, "Whether there was such a row."),
                Output("soft", bool, "Whether it was marked instead of removed."),
            ),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        key, where = pick_row(self.binding, self.type, resolve(self.spec, inputs))
        try:
            if where is None:
                deleted = await self._delete(await self.binding.executor(context), key)
            else:
                async with self.binding.transaction(context) as transaction:
                    key = await find_one(self.binding, self.type, where, transaction, "BulkDelete")
                    deleted = key is not None and await self._delete(transaction, key)
        except ConstraintError as error:
            raise explain(error, self.binding, {}, deleting=True) from error
        return {"id": as_given(self.binding, key), "deleted": deleted, "soft": False}

    async def _delete(self, executor: Executor, key: Any) -> bool:
        binding = self.binding
        plan = binding.plans.get("delete", lambda: delete_row(binding.table, binding.codec, binding.database.dialect))
        return (await executor.execute(plan.sql, (key,))).rows > 0
