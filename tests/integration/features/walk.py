"""Random operations of two tenants on one table, each compared with what it should do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from dataflow.databases.interface import Database
from dataflow.errors import DataFlowError
from dataflow.models import Field
from tests.integration.bench import Bench
from tests.integration.features.tenants import context
from tests.integration.features.world import Matches, Row, World, filled, new_ids, only, plain, shown

TENANTS = ("t1", "t2")
EMAILS = [f"{letter}@x" for letter in "abcdefgh"]
TEAMS = ["a", "b", "c"]
FEATURES = {"multi_tenant": True, "soft_delete": True, "versioned": True}


class Note:
    """Ids of the user's own, of which both tenants take the same."""

    __tablename__ = "note"
    __dataflow__ = FEATURES

    id: str
    email: str = Field(unique=True)
    team: str = "a"
    number: int = 0


class Item:
    """Ids that the database makes."""

    __tablename__ = "item"
    __dataflow__ = FEATURES

    email: str = Field(unique=True)
    team: str = "a"
    number: int = 0


class WalledNote(Note):
    __dataflow__ = {**FEATURES, "row_level_security": True}  # noqa: RUF012


class WalledItem(Item):
    __dataflow__ = {**FEATURES, "row_level_security": True}  # noqa: RUF012


#: An operation: the node's inputs, and what it does to the world and returns, given the ids that the database made.
Expect = Callable[[World, list[Any]], Row]
Step = tuple[Row, Expect]


class Walk:
    """Two tenants at work.

    Args:
        bench: With the model.
        model: Name of the model.
        table: Its table.
        admin: Sees the rows of all tenants.
        seed: Of the random choices.
    """

    def __init__(self, bench: Bench, model: str, table: str, admin: Database, seed: int) -> None:
        self.bench, self.model, self.table, self.admin = bench, model, table, admin
        self.own_ids = model.endswith("Note")
        self.random = random.Random(seed)
        self.world = World()
        self.world.rows = {tenant: {} for tenant in TENANTS}
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._fresh = 0

    async def step(self) -> None:
        """One operation of one tenant; then the table holds what both should have."""
        operations = (
            self.create, self.read, self.update, self.delete, self.list, self.count, self.upsert, self.aggregate,
            self.bulk_create, self.bulk_update, self.bulk_delete, self.bulk_upsert,
        )  # fmt: skip
        tenant, operation = self.random.choice(TENANTS), self.random.choice(operations)
        name = operation.__name__.title().replace("_", "")
        inputs, expect = operation(tenant)
        told = f"{name} of {tenant} with {inputs}"
        result: Mapping[str, Any] = {}
        failure = refusal = None
        try:
            result = await self.bench.run(f"{self.model}{name}Node", context=context(tenant), **inputs)
        except DataFlowError as error:
            failure = error
        world, expected = self.world.copy(), {}
        try:
            expected = expect(world, new_ids(result))
        except DataFlowError as error:
            refusal = error
        assert type(failure) is type(refusal), f"{told}: {failure!r} is not {refusal!r}"
        if refusal is None:
            found = plain(result)
            assert {key: found[key] for key in expected} == expected, told
            self.world = world
            self.done[name] += 1
        else:
            self.refused[name] += 1
        await self._compare(told)

    async def _compare(self, told: str) -> None:
        """The table holds each tenant's rows, and no others."""
        names = "id, tenant_id, email, team, number, version, deleted_at"
        stored = await self.admin.fetch_all(f"SELECT {names} FROM {self.table}")
        found = {(row[1], row[0]): (row[2], row[3], row[4], row[5], row[6] is not None) for row in stored}
        expected = {
            (tenant, key): (row["email"], row["team"], row["number"], row["version"], row["deleted"])
            for tenant, rows in self.world.rows.items()
            for key, row in rows.items()
        }
        assert found == expected, told

    # Choices

    def some_id(self) -> Any:
        """An id of anybody's, or of nobody."""
        ids = [f"n{number}" for number in range(1, 13)] if self.own_ids else [*self.world.ids(), 10**6 + self.fresh()]
        return self.random.choice(ids)

    def fresh(self) -> int:
        self._fresh += 1
        return self._fresh

    def yes(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance

    def filter(self, tenant: str, depth: int = 0) -> tuple[Row, Matches]:
        """A filter that may try to see the other tenant's rows, and its meaning."""
        other = next(name for name in TENANTS if name != tenant)
        email, team, number, row_id = (
            self.random.choice(EMAILS), self.random.choice(TEAMS), self.random.randint(0, 9), self.some_id(),
        )  # fmt: skip
        leaves: list[tuple[Row, Matches]] = [
            ({}, lambda row: True),
            ({"email": email}, lambda row: row["email"] == email),
            ({"team": {"$in": [team, "zz"]}}, lambda row: row["team"] == team),
            ({"number": {"$gte": number}}, lambda row: row["number"] >= number),
            ({"id": row_id}, lambda row: row["id"] == row_id),
            ({"id": {"$ne": row_id}}, lambda row: row["id"] != row_id),
            ({"tenant_id": other}, lambda row: False),
            ({"tenant_id": {"$ne": tenant}}, lambda row: False),
            ({"tenant_id": {"$in": list(TENANTS)}}, lambda row: True),
            ({"deleted_at": {"$null": False}}, lambda row: row["deleted"]),
        ]
        if depth == 2 or self.yes():
            return self.random.choice(leaves)
        parts = [self.filter(tenant, depth + 1) for _ in range(self.random.randint(1, 3))]
        filters, meanings = [part[0] for part in parts], [part[1] for part in parts]
        return self.random.choice([
            ({"$or": filters}, lambda row: any(matches(row) for matches in meanings)),
            ({"$and": filters}, lambda row: all(matches(row) for matches in meanings)),
            ({"$nor": filters}, lambda row: not any(matches(row) for matches in meanings)),
            ({"$not": filters[0]}, lambda row: not meanings[0](row)),
        ])  # fmt: skip

    def one(self, tenant: str) -> tuple[Row, Matches]:
        """Inputs that say which row a node is for, and their meaning."""
        if self.yes():
            row_id = self.some_id()
            return {"id": row_id}, lambda row: row["id"] == row_id
        narrow, (wide, matches) = self.random.choice(EMAILS + TEAMS), self.filter(tenant)
        name = "email" if "@" in narrow else "team"
        return {"filter": {"$and": [{name: narrow}, wide]}}, lambda row: row[name] == narrow and matches(row)

    def version(self, tenant: str) -> int | None:
        return self.random.randint(1, 4) if self.yes(0.3) else None

    def new_row(self) -> Row:
        row: Row = {"email": self.random.choice(EMAILS), "number": self.random.randint(0, 9)}
        if self.own_ids or (self.world.ids() and self.yes(0.1)):
            row["id"] = self.some_id()
        if self.yes():
            row["team"] = self.random.choice(TEAMS)
        return row

    def changes(self) -> Row:
        """New values that break no unique key."""
        if self.yes():
            return {"number": self.random.randint(0, 9)}
        return {"number": {"$inc": 1}, "team": self.random.choice(TEAMS)}

    # Operations on one row

    def create(self, tenant: str) -> Step:
        row = self.new_row()
        return row, lambda world, ids: shown(world.insert(tenant, row, ids[0]))

    def read(self, tenant: str) -> Step:
        which, matches = self.one(tenant)
        deleted = self.yes()

        def expect(world: World, ids: list[Any]) -> Row:
            row = only(world.seen(tenant, matches, deleted=deleted))
            return {"found": False} if row is None else {**shown(row), "found": True}

        return {**which, "include_deleted": deleted, "raise_on_not_found": False}, expect

    def update(self, tenant: str) -> Step:
        which, matches = self.one(tenant)
        deleted, version = self.yes(), self.version(tenant)
        fields = {"email": self.random.choice(EMAILS)} if self.yes(0.3) else self.changes()
        restored = {"deleted_at": None} if self.yes(0.3) else {}

        def expect(world: World, ids: list[Any]) -> Row:
            row = only(world.seen(tenant, matches, deleted=deleted))
            if row is None:
                return {"updated": False}
            world.change(row, {**fields, **({"deleted": False} if restored else {})}, version=version)
            return {**shown(row), "updated": True}

        asked = {} if version is None else {"version": version}
        return {**which, **asked, "fields": {**fields, **restored}, "include_deleted": deleted}, expect

    def delete(self, tenant: str) -> Step:
        which, matches = self.one(tenant)
        deleted, soft, version = self.yes(), self.yes(0.7), self.version(tenant)

        def expect(world: World, ids: list[Any]) -> Row:
            row = only(world.seen(tenant, matches, deleted=deleted))
            if row is not None:
                world.delete(row, soft=soft, version=version)
            return {"deleted": row is not None, "soft": soft}

        asked = {} if version is None else {"version": version}
        return {**which, **asked, "soft_delete": None if soft else False, "include_deleted": deleted}, expect

    def upsert(self, tenant: str) -> Step:
        row = self.new_row()
        key = "id" if "id" in row and self.yes() else "email"
        update = {} if self.yes(0.3) else self.changes()

        def expect(world: World, ids: list[Any]) -> Row:
            stored, created = world.put(tenant, key, row, update, ids[0])
            return {"created": created, "record": shown(stored), "action": "created" if created else "updated"}

        create = {name: value for name, value in row.items() if name != key}
        return {"where": {key: row[key]}, "create": create, "update": update}, expect

    # Reading many

    def list(self, tenant: str) -> Step:
        (asked, matches), deleted, limit = self.filter(tenant), self.yes(), self.random.choice([1, 3, 100])

        def expect(world: World, ids: list[Any]) -> Row:
            rows = world.seen(tenant, matches, deleted=deleted)
            return {"records": [shown(row) for row in rows[:limit]], "total": len(rows)}

        inputs = {"filter": asked, "limit": limit, "sort": "id", "with_total": True, "include_deleted": deleted}
        return inputs, expect

    def count(self, tenant: str) -> Step:
        (asked, matches), deleted = self.filter(tenant), self.yes()
        inputs = {"filter": asked, "include_deleted": deleted}
        return inputs, lambda world, ids: {"count": len(world.seen(tenant, matches, deleted=deleted))}

    def aggregate(self, tenant: str) -> Step:
        (asked, matches), deleted = self.filter(tenant), self.yes()

        def expect(world: World, ids: list[Any]) -> Row:
            groups: dict[str, list[int]] = {}
            for row in world.seen(tenant, matches, deleted=deleted):
                groups.setdefault(row["team"], []).append(row["number"])
            found = [{"team": team, "n": len(groups[team]), "sum": sum(groups[team])} for team in sorted(groups)]
            return {"records": found}

        aggregate = {"n": {"$count": "*"}, "sum": {"$sum": "number"}}
        return {"filter": asked, "include_deleted": deleted, "group_by": "team", "aggregate": aggregate}, expect

    # Writing many

    def new_rows(self, key: str = "email") -> list[Row]:
        """Rows no two of which have the same key."""
        rows = [self.new_row() for _ in range(self.random.randint(1, 5))]
        rows = [row for row in rows if key in row]
        if key == "id":
            # A free email, so that what an update sets depends on no other row of the batch.
            rows = [row | {"email": f"{self.fresh()}@y"} for row in rows]
        return list({row[key]: row for row in rows}.values())

    def bulk_create(self, tenant: str) -> Step:
        rule = self.random.choice(["error", "skip", "upsert"])
        go_on = rule == "error" and self.yes()
        rows = self.new_rows()
        update_names = ("number", "team")

        def put(world: World, row: Row, new_id: Any) -> bool:
            if rule == "error":
                world.insert(tenant, row, new_id)
                return True
            update = {name: row[name] for name in update_names if name in row} if rule == "upsert" else None
            return world.put(tenant, "email", row, update, new_id)[1]

        def expect(world: World, ids: list[Any]) -> Row:
            pairs = list(zip(rows, filled(ids, len(rows)), strict=True))
            if go_on:
                failed = world.attempt(lambda after, row=row, new=new: put(after, row, new) for row, new in pairs)
                return {"inserted": len(rows) - failed, "failed": failed}
            new = sum([put(world, row, new_id) for row, new_id in pairs])
            rest = len(rows) - new
            return {"inserted": new, "updated" if rule == "upsert" else "skipped": rest, "failed": 0}

        how = {"conflict_resolution": rule, "on_error": "continue" if go_on else "stop"}
        how |= {"conflict_on": ["email"]} if rule != "error" else {}
        return {"data": rows, "return_ids": not self.own_ids or self.yes(), **how}, expect

    def bulk_upsert(self, tenant: str) -> Step:
        key = "id" if self.yes() and self.world.ids() else "email"
        rows = self.new_rows(key)
        skip = self.yes(0.3)
        names = {"email", "team", "number"} - {key}

        def expect(world: World, ids: list[Any]) -> Row:
            new = 0
            for row, new_id in zip(rows, filled(ids, len(rows)), strict=True):
                update = None if skip else {name: row[name] for name in names if name in row}
                new += world.put(tenant, key, row, update, new_id)[1]
            rest = len(rows) - new
            return {"inserted": new, "updated": 0 if skip else rest, "skipped": rest if skip else 0}

        inputs = {"data": rows, "conflict_on": [key], "conflict_resolution": "skip" if skip else "update"}
        return {**inputs, "return_ids": not self.own_ids or self.yes()}, expect

    def bulk_update(self, tenant: str) -> Step:
        deleted = self.yes()
        if self.yes():
            ids_meant = list(dict.fromkeys(self.some_id() for _ in range(4)))
            rows = [{"id": row_id, "number": self.random.randint(0, 9)} for row_id in ids_meant]
            if self.yes(0.3):
                rows = [row | {"deleted_at": None, "tenant_id": tenant} for row in rows]

            def expect_rows(world: World, ids: list[Any]) -> Row:
                there = {row["id"]: row for row in world.seen(tenant, deleted=deleted)}
                found = [row for row in rows if row["id"] in there]
                for row in found:
                    restored = {"deleted": False} if "deleted_at" in row else {}
                    world.change(there[row["id"]], {"number": row["number"], **restored})
                return {"updated": len(found)}

            return {"data": rows, "include_deleted": deleted}, expect_rows
        (asked, matches), fields, limit = self.filter(tenant), self.changes(), self.random.choice([None, 1, 3])

        def expect(world: World, ids: list[Any]) -> Row:
            found = world.seen(tenant, matches, deleted=deleted)[:limit]
            for row in found:
                world.change(row, fields)
            return {"updated": len(found)}

        inputs = {"filter": asked, "fields": fields, "limit": limit, "include_deleted": deleted}
        return {**inputs, "confirmed": True}, expect

    def bulk_delete(self, tenant: str) -> Step:
        deleted, soft = self.yes(), self.yes(0.7)
        asked, matches = self.filter(tenant)
        limit = self.random.choice([1, 2])
        if self.yes():
            meant = [self.some_id() for _ in range(3)]
            which: Row = {"ids": meant} if self.yes() else {"data": [{"id": row_id} for row_id in meant]}
            matches, limit = (lambda row: row["id"] in meant), 3
        else:
            which = {"filter": asked, "limit": limit, "confirmed": True}

        def expect(world: World, ids: list[Any]) -> Row:
            found = world.seen(tenant, matches, deleted=deleted)[:limit]
            for row in found:
                world.delete(row, soft=soft)
            return {"deleted": len(found)}

        return {**which, "soft_delete": None if soft else False, "include_deleted": deleted}, expect
