"""Messages of the application: told once, by the transaction that causes them, whatever reads the database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from dataflow import DataFlow, WorkflowBuilder
from dataflow.errors import InputError, MissingTableError
from dataflow.events.tables import OUTBOX
from dataflow.nodes.registry import Catalog
from dataflow.runtime import execute
from dataflow.runtime.ledger import CodecRecord
from tests.integration.events.lines import Line


async def tell_and_undo(db: DataFlow) -> None:
    with contextlib.suppress(LookupError):
        async with db.transaction() as transaction:
            await db.publish_async("order_created", {"undone": True}, transaction=transaction)
            raise LookupError


async def test_a_message_comes_with_the_transaction_that_causes_it(line: Line) -> None:
    await line.start()
    db = line.app
    await db.publish_async("order_created", {"total": Decimal("12.50"), "text": "é\x00漢"})
    async with db.transaction(tenant_id="acme") as transaction:
        await transaction.run("ItemCreateNode", {"id": 1})
        await db.publish_async("order_created", {"id": 1}, transaction=transaction)
    await tell_and_undo(db)
    await db.publish_async("order.paid", {})
    await line.passed()
    first, second = await line.events("@order_created", 2)
    (row,) = await line.events("items", 1)
    (third,) = await line.events("@order.paid", 1)
    assert (first["op"], first["after"]) == ("m", {"total": "12.50", "text": "é\x00漢"})
    assert (second["after"], second["before"], second["changed"]) == ({"id": 1}, None, [])
    assert third["after"] == {}
    tenants = [event["source"]["tenant"] for event in (first, second, third)]
    assert tenants == [None, "acme", None]
    assert (second["source"]["table"], second["source"]["model"]) == ("order_created", None)
    if db.database.dialect == "postgresql" or line.mechanism == "binlog":
        assert second["tx"]["id"] == row["tx"]["id"]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[DataFlow]:
    async with DataFlow(database_url) as made:

        @made.model
        class Note:
            text: str

        yield made


async def told(db: DataFlow) -> list[tuple[str, Any]]:
    rows = await db.database.fetch_all(f"SELECT name, row_after FROM {OUTBOX} WHERE op = 'm' ORDER BY seq")
    return [(row[0], json.loads(row[1])) for row in rows]


async def test_a_run_that_is_started_again_tells_once(db: DataFlow) -> None:
    builder = WorkflowBuilder()
    builder.add_node("NoteCreateNode", "note", {"text": "new"})
    builder.add_node("EventPublishNode", "tell", {"event_type": "noted", "payload": {"id": "{{note.id}}"}})
    workflow = builder.build()
    outputs = [
        await execute(workflow, None, catalog=Catalog({}, [db]), run_id="run", record=CodecRecord("run", again=again))
        for again in (False, True)
    ]
    assert [output["tell"] for output in outputs] == [{"published": True}] * 2
    assert await told(db) == [("noted", {"id": 1})]
    both = CodecRecord("another", again=False), CodecRecord("another", again=False)
    catalog = Catalog({}, [db])
    await asyncio.gather(*(execute(workflow, None, catalog=catalog, run_id="x", record=one) for one in both))
    assert await told(db) == [("noted", {"id": 1}), ("noted", {"id": 2})]


async def test_the_first_message_may_be_part_of_a_transaction(db: DataFlow) -> None:
    await tell_and_undo(db)
    async with db.transaction() as transaction:
        await transaction.run("NoteCreateNode", {"text": "a"})
        await db.publish_async("noted", {}, transaction=transaction)
    assert await told(db) == [("noted", {})]


async def test_without_the_right_to_make_tables_their_ddl_is_told(database_url: str) -> None:
    async with DataFlow(database_url, auto_migrate=False) as db:
        with pytest.raises(MissingTableError, match=r"CREATE TABLE .dataflow_outbox"):
            await db.publish_async("noted", {})


async def test_sync_code_publishes_too(db: DataFlow) -> None:
    await asyncio.to_thread(db.publish, "noted", {"a": 1})
    with pytest.raises(InputError, match="cannot be a type of messages"):
        await asyncio.to_thread(db.publish, "@noted", {"a": 1})
    assert await told(db) == [("noted", {"a": 1})]
    explained = await db.explain_async("EventPublishNode", {"event_type": "noted", "payload": {}})
    assert OUTBOX in str(explained)


async def test_memory_too() -> None:
    async with DataFlow(":memory:") as db:
        async with db.transaction() as transaction:
            await db.publish_async("noted", {"a": 1}, transaction=transaction)
        assert await told(db) == [("noted", {"a": 1})]
