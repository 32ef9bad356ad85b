"""BulkDelete: all rows that match, or those with given ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from dataflow.errors import ConstraintError, MissingParameterError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import INCLUDE_DELETED, deletes_softly
from dataflow.nodes.generated.bulk_filter import CONFIRMED, FilterNode
from dataflow.nodes.generated.bulk_node import BATCH_SIZE, counts, data_parameter
from dataflow.nodes.generated.bulk_rows import batches, check_data, rows_at_once
from dataflow.nodes.generated.bulk_writer import BulkWriter
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Parameter, RunContext
from dataflow.queries.bulk_block import Block
from dataflow.queries.bulk_values import at_row
from dataflow.queries.filters import parse_filter
from dataflow.queries.updates import Updates, deletion


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
                Parameter(
                    "soft_delete",
                    bool | None,
                    description="Mark the rows instead of removing them; default the model's own way.",
                    coerce=lambda value: deletes_softly(self.binding, self.type, value),
                ),
                Parameter(
                    "confirmation_required",
                    bool,
                    default=True,
                    description="Refuse a filter that matches everything unless confirmed.",
                ),
                CONFIRMED,
                INCLUDE_DELETED,
            ),
            outputs=counts("deleted"),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        way = self.one_way(bound, ("filter", "ids", "data"))
        softly = deletes_softly(self.binding, self.type, bound["soft_delete"])
        if way == "filter":
            processed = deleted = await self._delete_matching(bound, context, softly=softly)
        else:
            processed, deleted = await self._delete_ids(bound, way, context, softly=softly)
        return {
            "processed": processed,
            "deleted": deleted,
            "batch_size": bound["batch_size"],
            "operation": "bulk_delete",
            "success": True,
        }

    async def _delete_matching(self, bound: Mapping[str, Any], context: RunContext, *, softly: bool) -> int:
        writer = self.seen_writer(bound)
        where = parse_filter(writer.rows, bound["filter"])
        access = await self.binding.access(context)
        confirmed = bound["confirmed"] or not bound["confirmation_required"]
        await self.confirm(access, writer, where, confirmed=confirmed)
        limited = bound["limit"] is not None
        values = [*where.values, bound["limit"]] if limited else where.values
        if softly:
            marks = self._marks()
            plan = writer.plan(
                "bulk update where",
                (where.shape, marks.shape, limited),
                lambda: writer.makes.update_where(where, marks, limited=limited),
            )
            values = [*marks.values, *values]
        else:
            plan = writer.plan(
                "bulk delete where", (where.shape, limited), lambda: writer.makes.delete_where(where, limited=limited)
            )
        try:
            return (await access.execute(plan, values)).rows
        except ConstraintError as error:
            raise explain(error, self.binding, {}, deleting=True) from error

    async def _delete_ids(
        self, bound: Mapping[str, Any], way: str, context: RunContext, *, softly: bool
    ) -> tuple[int, int]:
        writer, data = self.seen_writer(bound), bound[way]
        processed = deleted = 0
        size = rows_at_once(data, bound["batch_size"])
        async with self.binding.transaction(context) as access, aclosing(batches(data, size)) as left:
            async for start, rows in left:
                positions = range(start, start + len(rows))
                ids = rows if way == "ids" else self._ids_of(rows, positions, access.tenant)
                values = self.reader.bind(self.binding.spec.primary_key.name, list(ids), positions)
                try:
                    deleted += await self._delete(writer, access, values, positions, softly=softly)
                except ConstraintError as error:
                    raise explain(error, self.binding, {}, deleting=True) from error
                processed += len(rows)
        return processed, deleted

    async def _delete(
        self, writer: BulkWriter, access: Access, ids: list[Any], positions: Sequence[int], *, softly: bool
    ) -> int:
        if not softly:
            return await writer.delete(access, ids)
        marks = self._marks()
        ids = list(dict.fromkeys(ids))
        names = (writer.id_name, *(name for _, name in marks.shape))
        columns = (ids, *([value] * len(ids) for value in marks.values))
        return await writer.update(access, Block(names, columns, positions[: len(ids)], frozenset()))

    def _marks(self) -> Updates:
        return deletion(self.binding.codec, self.binding.database.dialect)

    def _ids_of(self, rows: Sequence[Any], positions: Sequence[int], tenant: str | None) -> list[Any]:
        self.reader.check_rows(rows, positions, tenant)
        name = self.binding.spec.primary_key.name
        for row, position in zip(rows, positions, strict=True):
            if name not in row:
                raise at_row(MissingParameterError(f"{self.type}: the row gives no '{name}'."), position)
        return [row[name] for row in rows]
