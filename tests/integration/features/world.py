"""What two tenants' rows should be: the meaning of a multi-tenant, versioned, soft-deleted model in plain dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

from dataflow.errors import DataFlowError, MultipleRecordsError, UniqueViolationError, VersionConflictError

Row = dict[str, Any]
Matches = Callable[[Row], bool]

#: An id that the database makes for nobody.
NOBODY = 10**12


class World:
    """Rows of all tenants. Ids are unique over all of them, emails within each."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, Row]] = {}

    def copy(self) -> World:
        return deepcopy(self)

    def ids(self) -> list[Any]:
        """Everybody's ids."""
        return sorted(key for rows in self.rows.values() for key in rows)

    def seen(self, tenant: str, matches: Matches = lambda row: True, *, deleted: bool = False) -> list[Row]:
        """A tenant's rows by id."""
        rows = self.rows[tenant]
        return [rows[key] for key in sorted(rows) if (deleted or not rows[key]["deleted"]) and matches(rows[key])]

    def by_email(self, tenant: str, email: str) -> Row | None:
        return next(iter(self.seen(tenant, lambda row: row["email"] == email, deleted=True)), None)

    def insert(self, tenant: str, fields: Row, new_id: Any) -> Row:
        """Insert a row; ``new_id`` is the id that the database made, where the fields give none."""
        row = {"number": 0, "team": "a", "id": new_id, **fields}
        if row["id"] in self.ids() or self.by_email(tenant, row["email"]):
            raise UniqueViolationError("exists already")
        self.rows[tenant][row["id"]] = row | {"tenant_id": tenant, "version": 1, "deleted": False}
        return self.rows[tenant][row["id"]]

    def change(self, row: Row, fields: Row, *, version: int | None = None) -> None:
        """Change a row."""
        if version not in (None, row["version"]):
            raise VersionConflictError("changed meanwhile")
        same = self.by_email(row["tenant_id"], fields.get("email", row["email"]))
        if same is not None and same is not row:
            raise UniqueViolationError("exists already")
        for name, value in fields.items():
            row[name] = row[name] + value["$inc"] if isinstance(value, dict) else value
        row["version"] += 1

    def delete(self, row: Row, *, soft: bool, version: int | None = None) -> None:
        """Delete a row, or mark it."""
        self.change(row, {"deleted": True}, version=version)
        if not soft:
            del self.rows[row["tenant_id"]][row["id"]]

    def put(self, tenant: str, key: str, create: Row, update: Row | None, new_id: Any) -> tuple[Row, bool]:
        """Insert a row, or change the one that has its key; returns it, and whether it is new.

        With ``update`` None it stays as it is, with an empty one it stays as it is unless it was soft-deleted.
        """
        there = self.by_email(tenant, create["email"]) if key == "email" else self.rows[tenant].get(create["id"])
        if there is None:
            return self.insert(tenant, create, new_id), True
        if update or (update is not None and there["deleted"]):
            self.change(there, {**update, "deleted": False})
        return there, False

    def attempt(self, work: Iterable[Callable[[World], Any]]) -> int:
        """Do each of these or leave it out where it fails; returns how many failed."""
        failed = 0
        for one in work:
            after = self.copy()
            try:
                one(after)
            except DataFlowError:
                failed += 1
            else:
                self.rows = after.rows
        return failed


def new_ids(result: Mapping[str, Any]) -> list[Any]:
    """Ids of the rows of the input, as far as the result tells."""
    if "ids" in result:
        return list(result["ids"])
    return [result.get("record", result).get("id", NOBODY)]


def filled(ids: list[Any], count: int) -> list[Any]:
    """One id per row. Where the operation has failed there are none, and any will do that nobody has."""
    return ids if len(ids) == count else [NOBODY + index for index in range(count)]


def only(rows: list[Row]) -> Row | None:
    if len(rows) > 1:
        raise MultipleRecordsError("several")
    return rows[0] if rows else None


def shown(row: Row) -> Row:
    """A row as results show it: what its deletion was is said by whether it has a moment."""
    return {name: value for name, value in row.items() if name != "deleted"} | {"deleted_at": row["deleted"]}


def plain(value: Any) -> Any:
    """A result without its moments."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        kept = {name: plain(item) for name, item in value.items() if name not in ("created_at", "updated_at")}
        return kept | {"deleted_at": kept["deleted_at"] is not None} if "deleted_at" in kept else kept
    return value
