"""BulkUpsert: many rows that are created, or updated where they are there."""

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
from dataflow.queries.conflict import check_update_fields, conflict_key


class BulkUpsertNode(BulkNode):
    """Creates rows, and updates or skips those that are there: all or none.

    A row is recognised by ``conflict_on``. An update sets the fields that the row gives, never its defaults. A key that
    comes twice counts as created once and updated after that; the last row wins, field by field. A row that was
    soft-deleted is there: an update brings it back.
    """

    operation = "BulkUpsert"
    action = "bulk upsert"

    def describe(self) -> NodeSpec:
        return NodeSpec(
            type=self.type,
            description=f"Creates or updates many {self.binding.spec.name} rows.",
            parameters=(
                data_parameter(required=True, description="Rows: a list, an iterator or an async iterator of dicts."),
                Parameter(
                    "conflict_on",
                    list[str],
                    default=["id"],
                    description="Fields by which a row that is there is recognised; a unique index must cover them.",
                    coerce=lambda names: conflict_key(self.binding.spec, names),
                ),
                choice(
                    "conflict_resolution",
                    "update",
                    ("update", "upsert", "skip", "ignore"),
                    "What to do with a row that is there: 'update' (or 'upsert'), or 'skip' (or 'ignore').",
                ),
                Parameter(
                    "update_fields", list[str] | None, description="Fields that an update sets; default those given."
                ),
                BATCH_SIZE,
                RETURN_IDS,
            ),
            outputs=(
                *counts("upserted", "inserted", "updated", "skipped"),
                Output("ids", list[Any], "With return_ids: one id per row."),
            ),
        )

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        super().check(params, later)
        if params.get("update_fields") is not None and "conflict_on" not in later:
            self._conflict(params)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        work = BulkImport(
            self.binding,
            self.reader,
            self.full_writer,
            self._conflict(bound),
            context,
            batch_size=bound["batch_size"],
            want_ids=bound["return_ids"],
        )
        tally = await work.all_rows(bound["data"])
        result = {
            "processed": tally.processed,
            "upserted": tally.inserted + tally.updated,
            "inserted": tally.inserted,
            "updated": tally.updated,
            "skipped": tally.skipped,
            "batch_size": bound["batch_size"],
            "operation": "bulk_upsert",
            "success": True,
        }
        if bound["return_ids"]:
            result["ids"] = ids_of(self, tally)
        return result

    def _conflict(self, given: Mapping[str, Any]) -> Conflict:
        spec = self.binding.spec
        key = conflict_key(spec, given.get("conflict_on", ["id"]))
        names = given.get("update_fields")
        update = given.get("conflict_resolution", "update") in ("update", "upsert")
        return Conflict(key, update, None if names is None else check_update_fields(spec, names, key))
