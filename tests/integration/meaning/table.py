"""The oracle's table: a model's rows as Python dicts, with its defaults and its unique keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dataflow.errors import MissingParameterError, UniqueViolationError, UnknownFieldError
from tests.integration.meaning.coercion import Refused, Undecided, coerce
from tests.integration.meaning.conditions import in_order
from tests.integration.meaning.models import Model

#: What a node is given, and what it returns.
Inputs = Mapping[str, Any]
Result = dict[str, Any]


class Table:
    """A model's rows.

    Attributes:
        key: Name of the primary key.
        rows: Stored rows by id, those that were soft-deleted too.
        next_id: The id that the database makes next.
        now: The time.
    """

    def __init__(self, model: Model) -> None:
        self.spec = model.spec
        self.fields = model.spec.by_name
        self.key = model.spec.primary_key.name
        self.rows: dict[Any, dict[str, Any]] = {}
        self.next_id = 1
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def seen(self, inputs: Inputs) -> list[dict[str, Any]]:
        """The rows that a node sees, lowest id first."""
        rows = in_order(list(self.rows.values()), [(self.key, False)])
        return [dict(row) for row in rows if inputs.get("include_deleted") or row.get("deleted_at") is None]

    def new_row(self, given: Inputs) -> dict[str, Any]:
        """A row to insert, with defaults and without its id where the database makes it."""
        unknown = given.keys() - {item.name for item in self.spec.writable}
        if unknown:
            raise Refused(UnknownFieldError)
        row: dict[str, Any] = {}
        for item in self.spec.fields:
            if item.managed or (item.generated and given.get(item.name) is None):
                continue
            if item.name in given:
                row[item.name] = coerce(item, given[item.name])
            elif item.required:
                raise Refused(MissingParameterError)
            else:
                row[item.name] = coerce(item, item.new_default())
        managed = {"version": 1, "deleted_at": None, "created_at": self.now, "updated_at": self.now}
        return {**row, **{name: managed[name] for name in self.spec.features.managed}}

    def insert(self, row: dict[str, Any]) -> Any:
        """Store a new row; its id."""
        for key in self.spec.unique_keys:
            if self.holder(key, row) is not None:
                raise Refused(UniqueViolationError)
        if self.key not in row:
            row[self.key] = self.next_id
            self.next_id += 1
        self.rows[row[self.key]] = row
        return row[self.key]

    def holder(self, key: Sequence[str], row: Inputs) -> Any | None:
        """Id of the row that has the same values of a unique key; one of None is like no other."""
        wanted = [row.get(name) for name in key]
        if None in wanted:
            return None
        held = (row_id for row_id, row in self.rows.items() if [row[name] for name in key] == wanted)
        return next(held, None)

    def change(self, changed: Mapping[Any, dict[str, Any]]) -> None:
        """Store rows that are there with other values, all at once."""
        before = self.rows
        self.rows = {**before, **changed}
        for key in self.spec.unique_keys:
            held: dict[tuple[Any, ...], Any] = {}
            for row_id, row in self.rows.items():
                value = tuple(row[name] for name in key)
                if None in value:
                    continue
                if value in held:
                    raise Refused(UniqueViolationError)
                held[value] = row_id
            for row_id in changed:
                old = before.get(row_id)
                taker = held.get(tuple(old[name] for name in key)) if old else None
                if taker is not None and taker != row_id:
                    raise Undecided  # a value passes from one row to another
