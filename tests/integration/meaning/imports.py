"""The oracle's upserts and bulk creates: rows that are created, or found by a key and updated or skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.errors import InputError, MissingParameterError
from tests.integration.meaning.changes import Change, parse_changes, touch
from tests.integration.meaning.coercion import Refused, Undecided
from tests.integration.meaning.conditions import plain
from tests.integration.meaning.table import Inputs, Result, Table


@dataclass(eq=False)
class Candidate:
    """A row of the input, or several that have the same key."""

    given: dict[str, Any]
    positions: list[int]
    row: dict[str, Any] = field(default_factory=dict)

    def values(self, names: Sequence[str]) -> list[Any]:
        """What it has in these fields."""
        return [self.row.get(name) for name in names]


class Imports(Table):
    """Upsert, BulkCreate and BulkUpsert."""

    def upsert(self, inputs: Inputs) -> Result:
        """One row, found by ``conflict_on`` or the fields of ``where``."""
        where = inputs["where"]
        key = self._key(inputs.get("conflict_on") or list(where))
        row = self.new_row({**inputs.get("create", {}), **where})
        changes = parse_changes(self.spec, inputs.get("update", {}), self.now)
        if any(row.get(name) is None for name in key):
            raise Refused(MissingParameterError)
        there = self.holder(key, row)
        if there is None:
            record = self.rows[self.insert(row)]
            return {"created": True, "action": "created", "record": dict(record)}
        self._restore_and_change(there, changes)
        return {"created": False, "action": "updated", "record": dict(self.rows[there])}

    def _restore_and_change(self, row_id: Any, changes: Mapping[str, Change]) -> None:
        row = self.rows[row_id]
        if row.get("deleted_at") is not None:
            changes = {**changes, "deleted_at": lambda _: None}
        if changes:
            self.change({row_id: touch(self.spec, row, changes, self.now)})

    def _key(self, names: Sequence[str]) -> tuple[str, ...]:
        for key in self.spec.unique_keys:
            if set(key) == set(names):
                return key
        raise Refused(InputError)

    def bulk_create(self, inputs: Inputs) -> Result:
        """Rows that are new; with ``conflict_resolution`` those that are there are skipped or updated."""
        resolution = inputs.get("conflict_resolution", "error")
        go_on = inputs.get("on_error") == "continue"
        if resolution == "error":
            tally = self._insert_all(inputs["data"], go_on=go_on)
        else:
            named = inputs.get("conflict_on")
            key = self._key(named) if named else self._default_key()
            tally = self._put_all(inputs["data"], key, update=resolution == "upsert", only=None, go_on=go_on)
        result = {name: tally[name] for name in ("inserted", "updated", "skipped")}
        result |= {"processed": len(inputs["data"]), "failed": len(tally["failures"])}
        result["success"] = not tally["failures"]
        if inputs.get("return_ids"):
            result["ids"] = tally["ids"]
        if go_on:
            result["errors"] = [{"row": position} for position in sorted(tally["failures"])]
        return result

    def _default_key(self) -> tuple[str, ...]:
        primary, *others = self.spec.unique_keys
        if not self.spec.primary_key.generated or not others:
            return primary
        if len(others) > 1:
            raise Refused(MissingParameterError)
        return others[0]

    def bulk_upsert(self, inputs: Inputs) -> Result:
        """Rows that are created, or updated (or skipped) where they are there."""
        key = self._key(inputs.get("conflict_on", ["id"]))
        update = inputs.get("conflict_resolution", "update") in ("update", "upsert")
        only = inputs.get("update_fields")
        tally = self._put_all(inputs["data"], key, update=update, only=only, go_on=False)
        result = {name: tally[name] for name in ("inserted", "updated", "skipped")}
        result |= {"processed": len(inputs["data"]), "upserted": tally["inserted"] + tally["updated"], "success": True}
        return {**result, "ids": tally["ids"]} if inputs.get("return_ids") else result

    def _insert_all(self, data: Sequence[Inputs], *, go_on: bool) -> dict[str, Any]:
        tally = _tally(len(data))
        for position, given in enumerate(data):
            try:
                tally["ids"][position] = self.insert(self.new_row(given))
                tally["inserted"] += 1
            except Refused:
                if not go_on:
                    self._refuse_first_wrong(data)
                    raise
                tally["failures"].append(position)
        return tally

    def _refuse_first_wrong(self, data: Sequence[Inputs]) -> None:
        """All rows are checked before any is written."""
        for given in data:
            self.new_row(given)

    def _put_all(
        self, data: Sequence[Inputs], key: Sequence[str], *, update: bool, only: Sequence[str] | None, go_on: bool
    ) -> dict[str, Any]:
        tally = _tally(len(data))
        candidates = self._merged(data, key, tally, update=update, only=only, go_on=go_on)
        changed: dict[Any, dict[str, Any]] = {}
        new: list[Candidate] = []
        for candidate in candidates:
            there = self.holder(key, candidate.row)
            repeats = len(candidate.positions) - 1
            if there is None:
                new.append(candidate)
                continue
            tally["updated" if update else "skipped"] += repeats + 1
            _note(tally, candidate, there)
            if update:
                changed[there] = self._updated(there, candidate, key, only)
        ordered = self._in_writing_order(candidates, key, apart=update)
        new = [candidate for candidate in ordered if candidate in new]
        self._write(new, changed, tally, update=update, go_on=go_on)
        return tally

    def _in_writing_order(self, rows: Sequence[Candidate], key: Sequence[str], *, apart: bool) -> list[Candidate]:
        """The order in which new rows get their ids: rows that give the same fields together, by their keys. A None in
        a key is like no other value, and has no place in an order: such rows come last.
        """
        kinds: dict[frozenset[str], list[Candidate]] = {}
        for row in rows:
            kinds.setdefault(frozenset([*row.given, *key]) if apart else frozenset(), []).append(row)
        ordered: list[Candidate] = []
        for kind in kinds.values():
            keyed = [row for row in kind if None not in row.values(key)]
            ordered += sorted(keyed, key=lambda row: [plain(value) for value in row.values(key)])
            ordered += [row for row in kind if None in row.values(key)]
        return ordered

    def _write(
        self,
        new: Sequence[Candidate],
        changed: Mapping[Any, dict[str, Any]],
        tally: dict[str, Any],
        *,
        update: bool,
        go_on: bool,
    ) -> None:
        before = dict(self.rows)
        try:
            self.change(changed)
            for candidate in new:
                row_id = self.insert(candidate.row)
                tally["inserted"] += 1
                tally["updated" if update else "skipped"] += len(candidate.positions) - 1
                _note(tally, candidate, row_id)
        except Refused:
            if go_on:
                raise Undecided from None  # which of the rows is to blame depends on which is written first
            raise
        for candidate in new:
            for unique in self.spec.unique_keys:
                old = self._held_before(before, unique, candidate.row)
                if old is not None and old in changed:
                    raise Undecided  # a value passes from a row that is there to a new one

    @staticmethod
    def _held_before(rows: Mapping[Any, Inputs], key: Sequence[str], row: Inputs) -> Any | None:
        wanted = [row[name] for name in key]
        if None in wanted:
            return None
        return next((row_id for row_id, old in rows.items() if [old[name] for name in key] == wanted), None)

    def _updated(
        self, row_id: Any, candidate: Candidate, key: Sequence[str], only: Sequence[str] | None
    ) -> dict[str, Any]:
        values = {name: candidate.row[name] for name in candidate.given if self._sets(name, key, only)}
        changes: dict[str, Change] = {name: lambda _, value=value: value for name, value in values.items()}
        if self.spec.features.soft_delete:
            changes["deleted_at"] = lambda _: None
        return touch(self.spec, self.rows[row_id], changes, self.now)

    def _sets(self, name: str, key: Sequence[str], only: Sequence[str] | None) -> bool:
        return name not in key and name != self.spec.primary_key.name and (only is None or name in only)

    def _merged(
        self,
        data: Sequence[Inputs],
        key: Sequence[str],
        tally: dict[str, Any],
        *,
        update: bool,
        only: Sequence[str] | None,
        go_on: bool,
    ) -> list[Candidate]:
        """The rows of the input; of those with the same key the last wins, or the first where rows are skipped."""
        found: dict[Any, Candidate] = {}
        for position, given in enumerate(data):
            try:
                row = self.new_row(given)
            except Refused:
                if not go_on:
                    raise
                tally["failures"].append(position)
                continue
            value = tuple(row.get(name) for name in key)
            # A None is like no other value.
            same = ("new", position) if None in value else ("key", value)
            first = found.get(same)
            if first is None:
                found[same] = Candidate(dict(given), [position], row)
                continue
            first.positions.append(position)
            if update:
                first.given |= {name: item for name, item in given.items() if self._sets(name, key, only)}
                first.row = self.new_row(first.given)
        return list(found.values())


def _tally(count: int) -> dict[str, Any]:
    return {"inserted": 0, "updated": 0, "skipped": 0, "failures": [], "ids": [None] * count}


def _note(tally: dict[str, Any], candidate: Candidate, row_id: Any) -> None:
    for position in candidate.positions:
        tally["ids"][position] = row_id
