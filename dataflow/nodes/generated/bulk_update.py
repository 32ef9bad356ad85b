"""BulkUpdate: the same change to all rows that match, or a change of its own to each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from dataflow.errors import ConstraintError, InputError, MissingParameterError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import INCLUDE_DELETED, checked_by, warn_stripped
from dataflow.nodes.generated.bulk_filter import CONFIRMED, FilterNode
from dataflow.nodes.generated.bulk_node import BATCH_SIZE, counts, data_parameter
from dataflow.nodes.generated.bulk_rows import batches, rows_at_once
from dataflow.nodes.generated.bulk_writer import BulkWriter
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Parameter, RunContext
from dataflow.queries.bulk_block import Block, InputRow, Stamp
from dataflow.queries.bulk_reader import column_of
from dataflow.queries.bulk_values import at_row
from dataflow.queries.filters import parse_filter
from dataflow.queries.updates import Updates, parse_updates


class BulkUpdateNode(FilterNode):
    """Updates all rows that match ``filter``, or each row that ``data`` names by its ``id``: all or none.

    ``updated`` counts the rows that were there. Ids that do not exist are no error and are not counted; an id that
    comes twice in a batch is one row, whose last values hold.
    """

    operation = "BulkUpdate"
    action = "bulk update"

    def describe(self) -> NodeSpec:
        name = self.binding.spec.name
        return NodeSpec(
            type=self.type,
            description=f"Changes many {name} rows.",
            parameters=(
                self.filter_parameter(),
                Parameter(
                    "fields",
                    dict[str, Any],
                    aliases=("update", "updates"),
                    description="New values, or expressions such as {'$inc': 1}, by field; goes with 'filter'.",
                    coerce=checked_by(self._parse),
                ),
                data_parameter(required=False, description="Rows to change: their 'id' and their new values."),
                self.limit_parameter(),
                BATCH_SIZE,
                CONFIRMED,
                INCLUDE_DELETED,
            ),
            outputs=counts("updated"),
        )

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        if self.one_way(bound, ("filter", "data")) == "filter":
            processed = updated = await self._update_matching(bound, context)
        elif bound["fields"] is not None:
            raise InputError(f"{self.type}: 'fields' goes with 'filter'; 'data' holds the new values of each row.")
        else:
            processed, updated = await self._update_rows(bound, context)
        return {
            "processed": processed,
            "updated": updated,
            "batch_size": bound["batch_size"],
            "operation": "bulk_update",
            "success": True,
        }

    async def _update_matching(self, bound: Mapping[str, Any], context: RunContext) -> int:
        if bound["fields"] is None:
            raise MissingParameterError(f"{self.type} needs the parameter 'fields'.", node_type=self.type)
        updates = self._parse(bound["fields"])
        if updates.stripped:
            warn_stripped(self.binding, updates.stripped, self.action)
        if updates.is_empty:
            raise MissingParameterError(
                f"{self.type}: 'fields' names nothing to change.",
                hint="Write {'fields': {'status': 'sold'}}.",
                node_type=self.type,
            )
        writer = self.seen_writer(bound)
        where = parse_filter(writer.rows, bound["filter"])
        access = await self.binding.access(context)
        await self.confirm(access, writer, where, confirmed=bound["confirmed"])
        limited = bound["limit"] is not None
        plan = writer.plan(
            "bulk update where",
            (where.shape, updates.shape, limited),
            lambda: writer.makes.update_where(where, updates, limited=limited),
        )
        values = [*updates.values, *where.values]
        if limited:
            values.append(bound["limit"])
        try:
            return (await access.execute(plan, values)).rows
        except ConstraintError as error:
            raise explain(error, self.binding, {}) from error

    async def _update_rows(self, bound: Mapping[str, Any], context: RunContext) -> tuple[int, int]:
        writer, data = self.seen_writer(bound), bound["data"]
        processed = updated = 0
        size = rows_at_once(data, bound["batch_size"])
        async with self.binding.transaction(context) as access, aclosing(batches(data, size)) as left:
            async for start, rows in left:
                for block in self._blocks(rows, range(start, start + len(rows)), Stamp.now(access.tenant)):
                    updated += await self._update_block(writer, access, block)
                processed += len(rows)
        return processed, updated

    async def _update_block(self, writer: BulkWriter, access: Access, block: Block) -> int:
        try:
            return await writer.update(access, block)
        except ConstraintError as error:
            explained = explain(error, self.binding, {})
            explained.message = f"Rows {min(block.positions)} to {max(block.positions)}: {explained.message}"
            raise explained from error

    def _blocks(self, rows: Sequence[InputRow], positions: Sequence[int], stamp: Stamp) -> list[Block]:
        """The rows by the fields they give, each id once."""
        reader, key = self.reader, self.binding.spec.primary_key.name
        reader.check_rows(rows, positions, stamp.tenant)
        given = column_of(rows, key)
        if None in given:
            raise at_row(
                MissingParameterError(
                    f"{self.type}: '{key}' says which row is meant.", hint=f"Add '{key}' to every row."
                ),
                positions[given.index(None)],
            )
        ids = reader.bind(key, given, positions)
        if len(set(ids)) < len(ids):
            merged: dict[Any, tuple[int, InputRow]] = {}
            for row_id, row, position in zip(ids, rows, positions, strict=True):
                reader.check_names(row, position)
                first, before = merged.get(row_id, (position, {}))
                merged[row_id] = (first, {**before, **row})
            positions = [position for position, _ in merged.values()]
            rows = [row for _, row in merged.values()]
        # Everybody locks rows in this order.
        return [block.sorted_by([block.column(key)]) for block in reader.changed_rows(rows, positions, stamp)]

    def _parse(self, fields: Any) -> Updates:
        return parse_updates(self.binding.codec, self.binding.database.dialect, fields)
