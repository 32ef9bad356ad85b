"""The oracle: a model's table as Python dicts, and what its nodes do to it.

Written from the documentation and the meaning it promises, not from the code that is tested: no SQL, no shapes, no
batches.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dataflow.errors import (
    ConfirmationRequiredError,
    InputError,
    MissingParameterError,
    MultipleRecordsError,
    NotNullViolationError,
    RecordNotFoundError,
    UniqueViolationError,
    UnknownFieldError,
    UnknownParameterError,
    UpdateParameterError,
    VersionConflictError,
)
from tests.integration.meaning.aggregation import aggregate
from tests.integration.meaning.changes import Change, parse_changes, touch
from tests.integration.meaning.coercion import Refused, Undecided, coerce
from tests.integration.meaning.conditions import in_order, matches, matches_everything, row_order
from tests.integration.meaning.imports import Imports
from tests.integration.meaning.table import Inputs, Result


class Oracle(Imports):
    """A table and its nodes."""

    #: Node → the method that is its meaning.
    OPERATIONS: ClassVar[Mapping[str, str]] = {
        "List": "list_rows",
        "Count": "count",
        "Aggregate": "aggregate",
        "Read": "read",
        "Create": "create",
        "Update": "update",
        "Delete": "delete",
        "Upsert": "upsert",
        "BulkCreate": "bulk_create",
        "BulkUpdate": "bulk_update",
        "BulkDelete": "bulk_delete",
        "BulkUpsert": "bulk_upsert",
    }

    def run(self, operation: str, inputs: Inputs) -> Result:
        """The result of a node; what it refuses changes nothing.

        Raises:
            Refused: With the classes of error that the node may raise.
            Undecided: The databases may differ here.
        """
        before, next_id = copy.deepcopy(self.rows), self.next_id
        try:
            result: Result = getattr(self, self.OPERATIONS[operation])(inputs)
        except (Refused, Undecided):
            self.rows, self.next_id = before, next_id
            raise
        return result

    # Reading

    def _found(self, inputs: Inputs) -> list[dict[str, Any]]:
        conditions = inputs.get("filter", {})
        matches_everything(self.fields, conditions)  # refuses what is wrong, also where there are no rows
        return [row for row in self.seen(inputs) if matches(self.fields, conditions, row)]

    def list_rows(self, inputs: Inputs) -> Result:
        order = row_order(self.fields, self.key, inputs.get("sort"))
        found = in_order(self._found(inputs), order)
        names = inputs.get("fields") or list(self.fields)
        if not set(names) <= set(self.fields):
            raise Refused(UnknownFieldError)
        limit, offset = inputs.get("limit", 100), inputs.get("offset", 0)
        if limit < 0 or offset < 0:
            raise Refused(InputError)
        if inputs.get("count_only"):
            return {"count": len(found)}
        page = found[offset : offset + limit]
        records = [{name: row[name] for name in names} for row in page]
        result: Result = {"records": records, "count": len(page), "limit": limit, "offset": offset}
        result["has_more"] = len(found) > offset + limit
        return {**result, "total": len(found)} if inputs.get("with_total") else result

    def count(self, inputs: Inputs) -> Result:
        return {"count": len(self._found(inputs))}

    def aggregate(self, inputs: Inputs) -> Result:
        records = aggregate(self.fields, self._found(inputs), inputs)
        return {"records": records, "count": len(records)}

    def read(self, inputs: Inputs) -> Result:
        row = self._one(inputs)
        if row is not None:
            return {**row, "found": True}
        if inputs.get("raise_on_not_found", True):
            raise Refused(RecordNotFoundError)
        return {"found": False}

    def _one(self, inputs: Inputs) -> dict[str, Any] | None:
        """The one row that ``id`` or ``filter`` means."""
        if self.key in inputs:
            wanted = coerce(self.spec.primary_key, inputs[self.key])
            return next((row for row in self.seen(inputs) if row[self.key] == wanted), None)
        if matches_everything(self.fields, inputs["filter"]):
            raise Refused(InputError)
        found = self._found(inputs)
        if len(found) > 1:
            raise Refused(MultipleRecordsError)
        return found[0] if found else None

    # Writing

    def create(self, inputs: Inputs) -> Result:
        try:
            row = self.new_row(inputs)
        except Refused as refused:
            unknown = refused.errors == (UnknownFieldError,)
            raise Refused(UnknownParameterError) if unknown else refused from None
        self.insert(row)
        return dict(row)

    def update(self, inputs: Inputs) -> Result:
        own = {self.key, "filter", "fields", "version", "raise_on_not_found", "include_deleted"}
        if not self.spec.features.versioned:
            own.discard("version")
        flat = {name: value for name, value in inputs.items() if name not in own}
        changes = parse_changes(self.spec, {**inputs.get("fields", {}), **flat}, self.now)
        if not changes:
            raise Refused(UpdateParameterError)
        row = self._one(inputs)
        if row is None:
            if inputs.get("raise_on_not_found"):
                raise Refused(RecordNotFoundError)
            return {"updated": False}
        self._check_version(row, inputs)
        self.change({row[self.key]: touch(self.spec, row, changes, self.now)})
        return {**self.rows[row[self.key]], "updated": True}

    def _check_version(self, row: Inputs, inputs: Inputs) -> None:
        if self.spec.features.versioned and inputs.get("version") not in (None, row["version"]):
            raise Refused(VersionConflictError)

    def delete(self, inputs: Inputs) -> Result:
        soft = self._is_soft(inputs)
        row = self._one(inputs)
        if row is not None:
            self._check_version(row, inputs)
            self.remove([row], soft=soft)
        return {"deleted": row is not None, "soft": soft}

    def _is_soft(self, inputs: Inputs) -> bool:
        own = self.spec.features.soft_delete
        wanted = inputs.get("soft_delete")
        if wanted and not own:
            raise Refused(InputError)
        return own if wanted is None else bool(wanted)

    def remove(self, rows: Sequence[dict[str, Any]], *, soft: bool) -> None:
        """Delete rows, or mark them as deleted."""
        for row in rows:
            if soft:
                marked = touch(self.spec, row, {"deleted_at": lambda _: self.now}, self.now)
                self.rows[row[self.key]] = marked
            else:
                del self.rows[row[self.key]]

    def bulk_update(self, inputs: Inputs) -> Result:
        changed: dict[Any, dict[str, Any]] = {}
        if "data" in inputs:
            asked: dict[Any, dict[str, Change]] = {}
            for row in inputs["data"]:
                row_id, values = self._named(row)
                asked[row_id] = {**asked.get(row_id, {}), **values}
            targets = [row for row in self.seen(inputs) if row[self.key] in asked]
            changed = {row[self.key]: touch(self.spec, row, asked[row[self.key]], self.now) for row in targets}
        else:
            changes = parse_changes(self.spec, inputs["fields"], self.now)
            if not changes:
                raise Refused(MissingParameterError)
            changed = self._touched(self._confirmed(inputs), changes)
        self.change(changed)
        processed = len(inputs["data"]) if "data" in inputs else len(changed)
        return {"processed": processed, "updated": len(changed), "success": True}

    def _touched(self, rows: Sequence[dict[str, Any]], changes: Mapping[str, Change]) -> dict[Any, dict[str, Any]]:
        try:
            return {row[self.key]: touch(self.spec, row, changes, self.now) for row in rows}
        except Refused as refused:
            if len(rows) > 1 and any(name in changes for key in self.spec.unique_keys for name in key):
                # Before it comes to the row that cannot be changed, a database may come to two that meet.
                raise Refused(*refused.errors, UniqueViolationError) from None
            raise

    def _named(self, row: Inputs) -> tuple[Any, dict[str, Change]]:
        """The id that a row of ``data`` gives, and its new values."""
        if row.get(self.key) is None:
            raise Refused(MissingParameterError)
        unknown = row.keys() - self.fields.keys()
        if unknown:
            raise Refused(UnknownFieldError)
        values = {name: coerce(self.fields[name], value) for name, value in row.items() if name != self.key}
        changes: dict[str, Change] = {name: lambda _, value=value: value for name, value in values.items()}
        return coerce(self.spec.primary_key, row[self.key]), changes

    def _confirmed(self, inputs: Inputs) -> list[dict[str, Any]]:
        """The rows of a bulk node's filter, lowest ids first, up to its limit."""
        found = self._found(inputs)
        is_confirmed = inputs.get("confirmed") or not inputs.get("confirmation_required", True)
        if matches_everything(self.fields, inputs["filter"]) and not is_confirmed:
            raise Refused(ConfirmationRequiredError)
        limit = inputs.get("limit")
        return found if limit is None else found[:limit]

    def bulk_delete(self, inputs: Inputs) -> Result:
        soft = self._is_soft(inputs)
        if "filter" in inputs:
            found = self._confirmed(inputs)
            processed = len(found)
        else:
            given = inputs["ids"] if "ids" in inputs else [row.get(self.key) for row in inputs["data"]]
            if None in given:
                raise Refused(NotNullViolationError if "ids" in inputs else MissingParameterError)
            ids = [coerce(self.spec.primary_key, row_id) for row_id in given]
            found = [row for row in self.seen(inputs) if row[self.key] in ids]
            processed = len(ids)
        self.remove(found, soft=soft)
        return {"processed": processed, "deleted": len(found), "success": True}
