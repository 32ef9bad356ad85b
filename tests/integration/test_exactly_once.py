"""Runs that are started again: what their nodes have committed is not done again, on each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from dataflow import BaseDataFlowNode, DataFlow, WorkflowBuilder
from dataflow.errors import MissingTableError, WorkflowExecutionError
from dataflow.nodes.generated.ledger import TABLE
from dataflow.nodes.interface import RunContext
from dataflow.nodes.registry import process_catalog
from dataflow.runtime import execute
from dataflow.runtime.ledger import MAX_OUTPUT, CodecRecord
from dataflow.workflows import Workflow

LOOK = RunContext("look", "look")


class Colour(Enum):
    RED = "red"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[DataFlow]:
    async with DataFlow(database_url) as made:

        @made.model
        class Account:
            owner: str
            balance: int = 0
            __indexes__ = [{"name": "owner", "fields": ["owner"], "unique": True}]  # noqa: RUF012

        @made.model
        class Note:
            text: str
            number: int = 0

        @made.model
        class Everything:
            flag: bool
            amount: Decimal
            ratio: float
            at: datetime
            day: date
            moment: time
            key: UUID
            raw: bytes
            data: dict
            words: list
            span: timedelta
            colour: Colour
            remark: str | None = None

        await made.create_tables_async()
        yield made


def one(node: str, params: Mapping[str, Any]) -> Workflow:
    builder = WorkflowBuilder()
    builder.add_node(node, "it", params)
    return builder.build()


async def start(workflow: Workflow, run: str = "run", *, again: bool, inputs: Any = None) -> Any:
    record = CodecRecord(run, again=again)
    return await execute(workflow, inputs, catalog=process_catalog, run_id=run, record=record)


async def count(db: DataFlow, table: str) -> int:
    row = await db.database.fetch_one(f"SELECT count(*) FROM {table}")
    assert row is not None
    return int(row[0])


async def balance(db: DataFlow, owner: str) -> Any:
    rows = await db.nodes["AccountListNode"].run({"filter": {"owner": owner}}, LOOK)
    return rows["records"][0]["balance"] if rows["records"] else None


#: Each writing node, on an account of Ada with 10, and what that is afterwards (None: gone).
WRITES = {
    "create": ("AccountCreateNode", {"owner": "Grace", "balance": 1}, 10),
    "update by id": ("AccountUpdateNode", {"id": 1, "fields": {"balance": {"$inc": 5}}}, 15),
    "update without effect": ("AccountUpdateNode", {"id": 99, "fields": {"balance": 5}}, 10),
    "update by filter": ("AccountUpdateNode", {"filter": {"owner": "Ada"}, "fields": {"balance": {"$inc": 5}}}, 15),
    "delete": ("AccountDeleteNode", {"id": 1}, None),
    "delete by filter": ("AccountDeleteNode", {"filter": {"owner": "Ada"}}, None),
    "upsert, there": ("AccountUpsertNode", {"where": {"owner": "Ada"}, "update": {"balance": {"$inc": 5}}}, 15),
    "upsert, new": ("AccountUpsertNode", {"where": {"owner": "Grace"}, "create": {"balance": 3}}, 10),
    "bulk create": ("AccountBulkCreateNode", {"data": [{"owner": "Grace"}, {"owner": "Alan"}], "return_ids": True}, 10),
    "bulk create, good rows": (
        "AccountBulkCreateNode",
        {"data": [{"owner": "Grace"}, {"owner": "Ada"}, {"owner": "Alan"}], "on_error": "continue", "batch_size": 1},
        10,
    ),
    "bulk update": ("AccountBulkUpdateNode", {"filter": {"owner": "Ada"}, "fields": {"balance": {"$inc": 5}}}, 15),
    "bulk update by rows": ("AccountBulkUpdateNode", {"data": [{"id": 1, "balance": 7}]}, 7),
    "bulk delete": ("AccountBulkDeleteNode", {"ids": [1]}, None),
    "bulk upsert": (
        "AccountBulkUpsertNode",
        {"data": [{"owner": "Ada", "balance": 4}, {"owner": "Alan"}], "conflict_on": ["owner"]},
        4,
    ),
}


@pytest.mark.parametrize("again", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_node_that_committed_is_not_run_again(db: DataFlow, name: str, again: bool) -> None:
    node, params, expected = WRITES[name]
    await db.nodes["AccountCreateNode"].run({"owner": "Ada", "balance": 10}, LOOK)
    workflow = one(node, params)
    first = await start(workflow, again=False)
    accounts = await count(db, "accounts")
    second = await start(workflow, again=again)
    assert second == first
    assert await balance(db, "Ada") == expected
    assert await count(db, "accounts") == accounts
    assert await count(db, TABLE) == 1


async def test_another_run_does_it_again(db: DataFlow) -> None:
    workflow = one("NoteCreateNode", {"text": "hello"})
    await start(workflow, "first", again=False)
    await start(workflow, "second", again=True)
    assert await count(db, "notes") == 2


async def test_a_recorded_row_has_its_values_and_types(db: DataFlow) -> None:
    values = {
        "flag": True,
        "amount": Decimal("-12345678901234567890.0123456789"),
        "ratio": 0.1,
        "at": datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        "day": date(1999, 12, 31),
        "moment": time(23, 59, 59, 1),
        "key": UUID(int=7),
        "raw": bytes(range(256)),
        "data": {"a": [1, None, {"b": 0.5}], "é": "漢😀\n\"'\\"},
        "words": ["x", 1],
        "span": timedelta(days=-3, microseconds=7),
        "colour": Colour.RED,
    }
    builder = WorkflowBuilder()
    builder.add_node("EverythingCreateNode", "create", values)
    builder.add_node("EverythingUpdateNode", "update", {"fields": {"flag": False}})
    builder.add_node("EverythingUpsertNode", "upsert", {"where": {"id": 1}, "create": values, "update": {"flag": True}})
    builder.add_connection("create", "id", "update", "id")
    builder.add_connection("update", "updated", "upsert", "input")
    workflow = builder.build()
    first = await start(workflow, again=False)
    second = await start(workflow, again=True)
    assert second == first
    rows = [(results["create"], results["update"], results["upsert"]["record"]) for results in (first, second)]
    assert [[type(value) for value in row.values()] for row in rows[0]] == [
        [type(value) for value in row.values()] for row in rows[1]
    ]


async def test_many_runs_started_twice_at_once(db: DataFlow) -> None:
    builder = WorkflowBuilder()
    builder.add_node("NoteCreateNode", "create", {"text": "x"})
    builder.add_node("NoteUpdateNode", "update", {"fields": {"number": {"$inc": 1}}})
    builder.add_node("NoteBulkCreateNode", "many", {"data": [{"text": "y"}, {"text": "z"}], "return_ids": True})
    builder.add_connection("create", "id", "update", "id")
    workflow = builder.build()
    firsts = [start(workflow, f"run {number}", again=False) for number in range(30)]
    seconds = [start(workflow, f"run {number}", again=True) for number in range(30)]
    results = await asyncio.gather(*firsts, *seconds)
    assert results[:30] == results[30:]
    rows = await db.database.fetch_all("SELECT text, number FROM notes ORDER BY id")
    assert sorted((text, number) for text, number in rows) == [("x", 1)] * 30 + [("y", 0)] * 30 + [("z", 0)] * 30


async def test_upserts_of_one_row_by_many_runs_create_it_once(db: DataFlow) -> None:
    put = {"where": {"owner": "Ada"}, "create": {"balance": 1}, "update": {"balance": {"$inc": 1}}}
    workflow = one("AccountUpsertNode", put)
    results = await asyncio.gather(*(start(workflow, f"run {number}", again=False) for number in range(20)))
    assert sorted(result["it"]["action"] for result in results) == ["created"] + ["updated"] * 19
    assert await balance(db, "Ada") == 20


async def test_bulk_upserts_of_the_same_rows_by_many_runs_all_succeed(db: DataFlow) -> None:
    rows = [{"owner": f"owner {number}", "balance": 1} for number in range(200)]

    def put(backwards: bool) -> Workflow:
        return one("AccountBulkUpsertNode", {"data": rows[::-1] if backwards else rows, "conflict_on": ["owner"]})

    flows = [put(backwards=False), put(backwards=True)]
    results = await asyncio.gather(*(start(flows[number % 2], f"run {number}", again=False) for number in range(8)))
    assert sum(result["it"]["inserted"] for result in results) == 200
    assert await count(db, "accounts") == 200


async def test_a_failed_node_leaves_neither_effect_nor_entry(db: DataFlow) -> None:
    await start(one("AccountCreateNode", {"owner": "Ada"}), "before", again=False)
    await db.database.execute(f"DELETE FROM {TABLE}")
    rows = {"data": [{"owner": "Grace"}, {"owner": "Ada"}]}
    for node, params in (("AccountCreateNode", {"owner": "Ada"}), ("AccountBulkCreateNode", rows)):
        with pytest.raises(WorkflowExecutionError) as caught:
            await start(one(node, params), again=False)
        assert caught.value.error_code == "DF-511"
    assert await count(db, "accounts") == 1
    assert await count(db, TABLE) == 0


async def test_an_effect_whose_output_cannot_be_kept_is_undone(db: DataFlow) -> None:
    builder = WorkflowBuilder()
    builder.add_node("NoteCreateNode", "create", {"text": "x"})
    builder.add_node(
        "NoteUpsertNode", "put", {"where": {"id": 1}, "create": {"text": "z"}, "update": {"text": "y" * MAX_OUTPUT}}
    )
    builder.add_connection("create", "id", "put", "input")
    with pytest.raises(WorkflowExecutionError, match="exactly_once=False") as caught:
        await start(builder.build(), again=False)
    assert caught.value.node_id == "put"
    assert await db.database.fetch_all("SELECT text FROM notes") == [("x",)]


async def test_large_outputs_come_back(db: DataFlow) -> None:
    rows = [{"text": f"row {number}"} for number in range(20_000)]
    workflow = one("NoteBulkCreateNode", {"data": rows, "return_ids": True})
    first = await start(workflow, again=False)
    assert await start(workflow, again=True) == first
    assert len(first["it"]["ids"]) == len(set(first["it"]["ids"])) == 20_000


async def test_rows_of_an_iterator_are_all_or_none(db: DataFlow) -> None:
    def rows(good: int) -> Any:
        yield from ({"owner": f"owner {number}"} for number in range(good))
        raise ValueError("the source is gone")

    builder = WorkflowBuilder()
    builder.add_node("AccountBulkCreateNode", "it", {"batch_size": 2, "on_error": "continue"})
    builder.add_workflow_inputs("it", ["data"])
    workflow = builder.build()
    with pytest.raises(WorkflowExecutionError, match="the source is gone"):
        await start(workflow, again=False, inputs={"it": {"data": rows(5)}})
    assert await count(db, "accounts") == 0
    good = ({"owner": owner} for owner in ("Ada", "Ada", "Alan"))
    result = await start(workflow, again=True, inputs={"it": {"data": good}})
    assert (result["it"]["inserted"], result["it"]["failed"]) == (2, 1)


async def test_long_node_ids_and_ids_that_differ_in_case(db: DataFlow) -> None:
    builder = WorkflowBuilder()
    names = ["a", "A", "é", "x" * 500, "x" * 501, "a "]
    for name in names:
        builder.add_node("NoteCreateNode", name, {"text": name})
    workflow = builder.build()
    first = await start(workflow, again=False)
    assert await start(workflow, again=True) == first
    assert await count(db, "notes") == len(names)


async def test_without_the_right_to_create_tables_the_error_shows_the_ddl(db: DataFlow, database_url: str) -> None:
    async with DataFlow(database_url, existing_schema_mode=True, name="strict") as strict:

        @strict.model
        class Note:
            text: str
            number: int = 0

        builder = WorkflowBuilder()
        builder.add_node("NoteCreateNode", "it", {"text": "x", "database": "strict"})
        workflow = builder.build()
        with pytest.raises(WorkflowExecutionError) as caught:
            await start(workflow, again=False)
        cause = caught.value.__cause__
        assert isinstance(cause, MissingTableError)
        assert cause.hint is not None
        ddl = cause.hint.partition("\n")[2]
        await strict.database.execute(ddl)
        first = await start(workflow, again=False)
        assert await start(workflow, again=True) == first
        assert await count(db, "notes") == 1


async def test_entries_are_forgotten_and_swept(db: DataFlow) -> None:
    workflow = one("NoteCreateNode", {"text": "x"})
    records = [CodecRecord(f"run {number}") for number in range(1_200)]
    await execute(workflow, catalog=process_catalog, run_id="r", record=records[0])
    ledger, entry = records[0].written[0]
    insert = [(record.run, "it", b"\x01\x80", 0) for record in records[1:]]
    await db.database.copy_rows(TABLE, ("run_id", "node_id", "output", "created_at"), insert)
    await ledger.forget([entry, *(record.entry("it") for record in records[1:1_101])])
    assert await count(db, TABLE) == 99
    await execute(workflow, catalog=process_catalog, run_id="r", record=CodecRecord("young"))
    assert await ledger.sweep(60.0) == 99
    assert await db.database.fetch_all(f"SELECT run_id FROM {TABLE}") == [("young",)]


async def test_custom_nodes_are_given_a_key_that_stays(db: DataFlow) -> None:
    seen: list[str] = []

    @db.register_node
    class Charge(BaseDataFlowNode):
        def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
            seen.append(self.idempotency_key)
            return {}

    builder = WorkflowBuilder()
    builder.add_node("Charge", "first")
    builder.add_node("Charge", "second")
    workflow = builder.build()
    for run, again in (("one", False), ("one", True), ("two", False)):
        await start(workflow, run, again=again)
    assert sorted(seen) == sorted(["one:first", "one:second"] * 2 + ["two:first", "two:second"])
