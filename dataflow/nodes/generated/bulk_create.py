"""BulkCreate: many new rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dataflow.nodes.generated.bulk_import import BulkImport
from dataflow.nodes.generated.bulk_node import (
    BATCH_SIZE,
    RETURN_IDS,
    BulkNode,
    choice,
    counts,
    data_parameter,
    ids_of,
)
from dataflow.nodes.generated.bulk_writer import Conflict
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.conflict import conflict_key, default_conflict_key


class BulkCreateNode(BulkNode):
    """Creates rows, by default all of them or none.

    Row numbers in errors and in ``errors`` count from 0 in the order of the input. With ``on_error="continue"`` every
    batch is committed by itself and bad rows are left out of it.
    """

    operation = "BulkCreate"
    action = "bulk create"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            type=self.type,
            description=f"Creates many {self.binding.spec.name} rows.",
            parameters=(
                data_parameter(
                    "records",
                    "rows",
                    "documents",
                    required=True,
                    description="Rows: a list, an iterator or an async iterator of dicts.",
                ),
                BATCH_SIZE,
                choice(
                    "conflict_resolution",
                    "error",
                    ("error", "skip", "upsert"),
                    "What to do with a row that is there: 'error', 'skip' or 'upsert'.",
                ),
                Parameter(
                    "conflict_on",
                    list[str] | None,
                    description="Fields by which a row that is there is recognised; default the model's key.",
                    coerce=lambda names: None if names is None else conflict_key(self.binding.spec, names),
                ),
                RETURN_IDS,
                choice(
                    "on_error", "stop", ("stop", "continue"), "After a bad row: undo everything, or leave out the row."
                ),
            ),
            outputs=(
                *counts("inserted", "updated", "skipped", "failed"),
                Output("ids", list[Any], "With return_ids: one id per row, None where the row failed."),
                Output("errors", list[dict[str, Any]], "With on_error='continue': row number and error."),
            ),
        )

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        super().check(params, later)
        if "conflict_on" not in params and "conflict_on" not in later:
            self._conflict(params.get("conflict_resolution", "error"), None)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        work = BulkImport(
            self.binding,
            self.reader,
            self.full_writer,
            self._conflict(bound["conflict_resolution"], bound["conflict_on"]),
            context,
            batch_size=bound["batch_size"],
            want_ids=bound["return_ids"],
        )
        go_on = bound["on_error"] == "continue"
        tally = await (work.good_rows if go_on else work.all_rows)(bound["data"])
        result: dict[str, Any] = {
            "processed": tally.processed,
            "inserted": tally.inserted,
            "updated": tally.updated,
            "skipped": tally.skipped,
            "failed": len(tally.failures),
            "batch_size": bound["batch_size"],
            "operation": "bulk_create",
            "success": not tally.failures,
        }
        if bound["return_ids"]:
            result["ids"] = ids_of(self, tally)
        if go_on:
            result["errors"] = [{"row": row, "error": str(error)} for row, error in tally.failures]
        return result

    def _conflict(self, resolution: str, key: tuple[str, ...] | None) -> Conflict | None:
        if resolution == "error":
            return None
        return Conflict(key or default_conflict_key(self.binding.spec), update=resolution == "upsert")
