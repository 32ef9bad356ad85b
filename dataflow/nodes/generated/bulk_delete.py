"""BulkDelete: all rows that match, or those with given ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from dataflow.errors import ConstraintError, MissingParameterError
from dataflow.nodes.generated.arguments import TENANT_LATER, LaterParameter
from dataflow.nodes.generated.bulk_filter import CONFIRMED, FilterNode
from dataflow.nodes.generated.bulk_node import BATCH_SIZE, counts, data_parameter
from dataflow.nodes.generated.bulk_rows import batches, check_data, rows_at_once
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Parameter, RunContext
from dataflow.queries.bulk_values import at_row
from dataflow.queries.filters import parse_filter


class BulkDeleteNode(FilterNode):
    """Removes all rows that match ``filter``, or those whose ids ``ids`` or ``data`` name: all or none.

    ``deleted`` counts the rows that were there; ids that do not exist are no error.
    """

    operation = "BulkDelete"
    action = "bulk delete"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            type=self.type,
            description=f"Removes many {self.binding.spec.name} rows.",
            parameters=(
                self.filter_parameter("conditions"),
                Parameter("ids", Any, description="Ids of the rows: a list or an iterator.", coerce=check_data),
                data_parameter(required=False, description="Rows that name their 'id'."),
                self.limit_parameter(),
                BATCH_SIZE,
                LaterParameter("soft_delete", bool, default=False, description="Mark rows instead of removing them."),
                Parameter(
                    "confirmation_required",
                    bool,
                    default=True,
                    description="Refuse a filter that matches everything unless confirmed.",
                ),
                CONFIRMED,
                TENANT_LATER,
            ),
            outputs=counts("deleted"),
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        way = self.one_way(bound, ("filter", "ids", "data"))
        if way == "filter":
            processed = deleted = await self._delete_matching(bound, context)
        else:
            processed, deleted = await self._delete_ids(bound[way], way, bound["batch_size"], context)
        return {
            "processed": processed,
            "deleted": deleted,
            "batch_size": bound["batch_size"],
            "operation": "bulk_delete",
            "success": True,
        }

    async def _delete_matching(self, bound: Mapping[str, Any], context: RunContext) -> int:
        where = parse_filter(self.binding.codec, self.binding.database.dialect, bound["filter"])
        run = await self.binding.executor(context)
        await self.confirm(run, where, confirmed=bound["confirmed"] or not bound["confirmation_required"])
        limited = bound["limit"] is not None
        plan = self.binding.plans.get(
            ("bulk delete where", where.shape, limited),
            lambda: self.writer.makes.delete_where(where, limited=limited),
        )
        values = [*where.values, bound["limit"]] if limited else where.values
        try:
            return (await run.execute(plan.sql, plan.arguments(values))).rows
        except ConstraintError as error:
            raise explain(error, self.binding, {}) from error

    async def _delete_ids(self, data: Any, way: str, batch_size: int, context: RunContext) -> tuple[int, int]:
        processed = deleted = 0
        size = rows_at_once(data, batch_size)
        async with self.binding.transaction(context) as transaction, aclosing(batches(data, size)) as left:
            async for start, rows in left:
                positions = range(start, start + len(rows))
                ids = rows if way == "ids" else self._ids_of(rows, positions)
                values = self.reader.bind(self.binding.spec.primary_key.name, list(ids), positions)
                try:
                    deleted += await self.writer.delete(transaction, values)
                except ConstraintError as error:
                    raise explain(error, self.binding, {}) from error
                processed += len(rows)
        return processed, deleted

    def _ids_of(self, rows: Sequence[Any], positions: Sequence[int]) -> list[Any]:
        self.reader.check_rows(rows, positions)
        name = self.binding.spec.primary_key.name
        for row, position in zip(rows, positions, strict=True):
            if name not in row:
                raise at_row(MissingParameterError(f"{self.type}: the row gives no '{name}'."), position)
        return [row[name] for row in rows]
