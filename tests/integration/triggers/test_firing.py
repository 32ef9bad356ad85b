"""One event starts one job: what fires, what does not, and what becomes of events that cannot."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
import redis

from dataflow import DataFlow, WorkflowBuilder
from dataflow.errors import TriggerError, TriggerNotFoundError
from dataflow.events.envelope import Op
from dataflow.jobs import keys
from dataflow.jobs.wire import read_payload
from scheduler.scripts import FIRE
from tests.integration.triggers.conftest import (
    LIMIT,
    NewApp,
    Scheduling,
    at,
    event_of_order,
    order,
    queued,
    tell,
    until,
)
from worker.options import WorkerOptions
from worker.worker import Worker

COMPLETED = {"status": "completed"}
ORDER_ID = {"order_id": "after.id"}


def declared(app: DataFlow) -> DataFlow:
    app.on("Order", "update", filter=COMPLETED, transition=True, inputs=ORDER_ID)(app._actors["fulfil"])
    return app


async def payload(app: DataFlow, job: str) -> dict[str, object]:
    data = await (await app.broker.client()).hget(keys.job(job), "data")  # type: ignore[misc]
    assert isinstance(data, bytes)
    return dict(read_payload(data).inputs)


async def dead_letters(app: DataFlow) -> list[dict[str, str]]:
    found = await (await app.broker.client()).xrange(keys.events_dead(app.name))
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]


async def test_an_order_that_becomes_completed_is_fulfilled(db: DataFlow, scheduling: Scheduling) -> None:
    declared(db)
    async with scheduling(db):
        done = order(7, "completed")
        events = [
            event_of_order(db, Op.CREATE, None, order(7)),
            event_of_order(db, Op.UPDATE, order(7), done),
            event_of_order(db, Op.UPDATE, done, done | {"total": Decimal(2)}),
            event_of_order(db, Op.DELETE, done, None),
        ]
        await tell(db, *events)
        completing, last = events[1], events[-1]
        assert await queued(db, 1) == [f"shop-fulfil-orders-{completing.id}"]
        await at(db, "fulfil", last.id)
        worker = Worker([db], db.broker, WorkerOptions(burst=True))
        async with asyncio.timeout(LIMIT):
            assert dict(await worker.run())["done"] == 1
        info = await db.triggers.get_async("fulfil")
        assert (info.fired, info.dead, info.last_event, info.is_declared) == (1, 0, completing.id, True)
    assert (await db.job(f"shop-fulfil-orders-{completing.id}").wait_async(5))["fulfil"] == {"result": 7}


async def test_an_event_that_is_read_again_starts_no_second_job(db: DataFlow, scheduling: Scheduling) -> None:
    """Two schedulers that both lead read the same events; the script lets one of them act."""
    declared(db)
    seen: list[int] = []
    async with scheduling(db, name="a") as first, scheduling(db, name="b") as second:
        for scheduler in (first, second):
            scheduler._leaders[0].leads.set()  # type: ignore[attr-defined]
        events = [event_of_order(db, Op.UPDATE, order(n), order(n, "completed")) for n in range(300)]
        for begin in range(0, 300, 10):
            await tell(db, *events[begin : begin + 10])
            for scheduler in (first, second):
                scheduler._leaders[0].leads.set()  # type: ignore[attr-defined]
        jobs = await queued(db, 300)
        await at(db, "fulfil", events[-1].id)
        # The ids of jobs alone would hold a second one back only while the first is known.
        assert (await db.triggers.get_async("fulfil")).fired == 300
        firings = [service for each in (first, second) for service in each._workers if hasattr(service, "_known")]
        seen = [firing.enqueued for firing in firings if type(firing).__name__ == "Firing"]
    assert len(set(jobs)) == 300
    assert sum(seen) == 300


async def test_a_script_whose_reply_is_lost_may_be_sent_again(db: DataFlow) -> None:
    await db.triggers.add_async("t", "fulfil", "Order", inputs=ORDER_ID)
    entry = await db.triggers.store().read("t")
    trigger = db.triggers.store().trigger_of(entry)
    event = event_of_order(db, Op.CREATE, None, order(1))
    _, job = db.triggers.jobs.arguments(trigger, event, "orders", "now")
    arguments = ["shop", "now", 10, "t", entry.text("revision"), "orders", "0-0", event.id, 1, event.id, "job", *job]
    assert await db.broker.run(FIRE, arguments) == [[1, b"queued"]]
    assert await db.broker.run(FIRE, arguments) == [[0]]
    assert len(await queued(db, 1)) == 1


async def test_what_is_there_before_a_trigger_does_not_fire_it(db: DataFlow, scheduling: Scheduling) -> None:
    await tell(db, event_of_order(db, Op.UPDATE, order(1), order(1, "completed")))
    declared(db)
    await db.triggers.add_async("all", "fulfil", "Order", inputs=ORDER_ID, queue="old", since="start")
    async with scheduling(db):
        await queued(db, 1, "old")
        new = event_of_order(db, Op.UPDATE, order(2), order(2, "completed"))
        await tell(db, new)
        assert await queued(db, 1) == [f"shop-fulfil-orders-{new.id}"]


async def test_a_restart_a_changed_declaration_and_a_pause_lose_nothing(
    new_app: NewApp, scheduling: Scheduling
) -> None:
    first = declared(new_app())
    async with scheduling(first):
        await tell(first, event_of_order(first, Op.UPDATE, order(1), order(1, "completed")))
        await queued(first, 1)
    await tell(first, event_of_order(first, Op.UPDATE, order(2), order(2, "completed")))
    second = new_app()
    second.on("orders", filter=COMPLETED, inputs={"order_id": "row.id"})(second._actors["fulfil"])
    async with scheduling(second):
        await queued(second, 2)
        await second.triggers.pause_async("fulfil", "inventory")
        await tell(second, event_of_order(second, Op.CREATE, None, order(3, "completed")))
        await second.triggers.add_async("other", "fulfil", "Order", inputs={"order_id": "row.id"}, queue="other")
        deleted = event_of_order(second, Op.DELETE, order(4, "completed"), None)
        await tell(second, deleted)
        await queued(second, 1, "other")
        info = await second.triggers.get_async("fulfil")
        assert (info.state, info.reason, info.fired) == ("paused", "inventory", 2)
        await second.triggers.resume_async("fulfil")
        await queued(second, 4)
        await second.triggers.pause_async("fulfil")
        await tell(second, event_of_order(second, Op.CREATE, None, order(5, "completed")))
        await second.triggers.resume_async("fulfil", skip=True)
        last = event_of_order(second, Op.CREATE, None, order(6, "completed"))
        await tell(second, last)
        jobs = await queued(second, 5)
        assert last.id in jobs[-1]
    third = new_app()
    async with scheduling(third):
        assert [info.name for info in await third.triggers.list_async()] == ["other"]
        cursors = await (await third.broker.client()).hkeys(keys.event_cursors("shop", "orders"))  # type: ignore[misc]
        assert cursors == [b"trigger:other"]


async def test_an_event_that_cannot_become_a_job_is_a_dead_letter_and_the_others_go_on(
    db: DataFlow, scheduling: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    await db.triggers.add_async("t", "fulfil", "Order", inputs=ORDER_ID, ordering_key="order:{after.id}")
    async with scheduling(db):
        deleted = event_of_order(db, Op.DELETE, order(1), None)
        good = event_of_order(db, Op.CREATE, None, order(2))
        client = await db.broker.client()
        await tell(db, deleted)
        broken = f"{int(deleted.id.split('-')[0])}-1"
        await client.xadd(keys.events("shop", "orders"), {"event": "{"}, broken)
        await tell(db, good)
        (job,) = await queued(db, 1)
        assert job.endswith(good.id)
        assert await client.hget(keys.job(job), "x_ordering_key") == b"order:2"  # type: ignore[misc]
    found = await dead_letters(db)
    assert [(item["id"], item["reader"], item["stream"]) for item in found] == [
        (deleted.id, "trigger:t", "orders"),
        (broken, "trigger:t", "orders"),
    ]
    assert "has no 'after.id'" in found[0]["reason"]
    assert "no event" in found[1]["reason"]
    assert (await db.triggers.get_async("t")).dead == 2
    assert "is a dead letter now" in caplog.text
    # Tried again by hand, once its trigger can.
    await db.triggers.add_async("t", "fulfil", "Order", inputs={"order_id": "row.id"}, replace=True)
    once, again = [await db.triggers.fire_async("t", deleted) for _ in range(2)]
    assert once.id == again.id
    await queued(db, 2)


async def test_the_whole_event_reaches_a_workflow_with_its_types_and_tenant(
    db: DataFlow, scheduling: Scheduling
) -> None:
    workflow = WorkflowBuilder("own")
    workflow.add_node("PythonCodeNode", "look", {"code": "result = str(event['after']['total'])"})
    workflow.add_workflow_inputs("look", ["event"])
    await db.triggers.add_async("own", workflow, "Order", retry=3, meta={"why": "test"})
    async with scheduling(db):
        event = event_of_order(db, Op.CREATE, None, order(1), tenant="acme")
        await tell(db, event)
        (job,) = await queued(db, 1)
    inputs = await payload(db, job)
    told = inputs["event"]
    assert isinstance(told, dict)
    assert told["after"] == {"id": 1, "status": "open", "total": Decimal("1.50")}
    assert (told["op"], told["id"], told["source"]["table"]) == ("c", event.id, "orders")
    data = await (await db.broker.client()).hget(keys.job(job), "data")  # type: ignore[misc]
    assert isinstance(data, bytes)
    assert read_payload(data).tenant_id == "acme"


async def test_a_trigger_that_cannot_be_used_keeps_its_place_and_stops_no_other(
    new_app: NewApp, scheduling: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    keys_of = {"k": "a secret of the test's own"}
    db = new_app(signing_keys=keys_of)
    await db.triggers.add_async("forged", "fulfil", "Order", inputs=ORDER_ID)
    await db.triggers.add_async("good", "fulfil", "Order", inputs=ORDER_ID)
    client = await db.broker.client()
    await client.hset(keys.trigger("shop", "forged"), "sig", "k.00")  # type: ignore[misc]
    async with scheduling(db):
        event = event_of_order(db, Op.CREATE, None, order(1))
        await tell(db, event)
        (job,) = await queued(db, 1)
        assert job == f"shop-good-orders-{event.id}"
        states = {info.name: (info.state, info.places["orders"]) for info in await db.triggers.list_async()}
    assert states == {"forged": ("broken", "0-0"), "good": ("active", event.id)}
    assert "Trigger forged cannot fire" in caplog.text


async def test_a_redis_that_lost_its_data_gets_the_declared_triggers_again(
    db: DataFlow, scheduling: Scheduling
) -> None:
    declared(db)
    async with scheduling(db):
        client = await db.broker.client()
        await client.flushdb()
        await client.client_kill_filter(_type="normal", skipme=True)

        async def there() -> bool:
            try:
                return [info.name for info in await db.triggers.list_async()] == ["fulfil"]
            except redis.RedisError:
                return False

        await until(there)
        await tell(db, event_of_order(db, Op.UPDATE, order(1), order(1, "completed")))
        await queued(db, 1)


async def test_what_cannot_be_meant_is_refused(db: DataFlow) -> None:
    for wrong, problem in (
        ({"subjects": "Ordr"}, "no model 'Ordr'"),
        ({"operations": ["upsert"]}, "no operation 'upsert'"),
        ({"filter": {"stats": 1}}, "stats"),
        ({"inputs": {"order_id": "aftr.id"}}, "no path into an event"),
        ({"inputs": {"id": "after.id"}}, "no parameter 'id'"),
        ({"inputs": {}}, "'order_id'"),
        ({"workflow": "fulfl"}, "Did you mean 'fulfil'"),
        ({"ordering_key": "o:{order}"}, "no path into an event"),
        ({"name": "a b"}, "letters, digits"),
        ({"queu": "x"}, "no option 'queu'"),
        ({"retry": {"backoff": "linear"}}, "backoff"),
        ({"timeout": "x"}, "wrong type"),
        ({"since": "yesterday"}, "since"),
    ):
        given = {"name": "t", "workflow": "fulfil", "subjects": "Order", "inputs": ORDER_ID} | wrong
        with pytest.raises(TriggerError, match=problem):
            await db.triggers.add_async(**given)
    with pytest.raises(TriggerNotFoundError, match="no trigger 'x'"):
        await db.triggers.pause_async("x")
    await db.triggers.add_async("t", "fulfil", "Order", inputs=ORDER_ID)
    await db.triggers.add_async("t", "fulfil", "Order", inputs=ORDER_ID)
    with pytest.raises(TriggerError, match="another trigger"):
        await db.triggers.add_async("t", "fulfil", "Order", operations=["create"], inputs=ORDER_ID)
    declared(db)
    with pytest.raises(TriggerError, match="declared already"):
        declared(db)
    with pytest.raises(TriggerError, match=r"Put @db\.actor"):
        db.on("Order")(lambda: None)
