"""WebhookNode and CDCListenerNode: from an event to a server of others, through real jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflow import DataFlow, WorkflowBuilder
from dataflow.errors import ConfigurationError, JobFailedError, WebhookError, WorkflowExecutionError
from dataflow.events.envelope import Event, Op, Source, event_inputs
from dataflow.events.nodes.listener import RETRY
from dataflow.events.service import CaptureService
from dataflow.jobs import Job, keys
from dataflow.nodes.registry import Catalog
from dataflow.runtime import execute
from scheduler.scheduler import Scheduler
from tests.integration.events.receivers import SECRET, Receiver, receiving
from worker.options import WorkerOptions
from worker.worker import Worker

MOMENT = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def db(tmp_path: Path, redis_url: str) -> AsyncIterator[DataFlow]:
    settings = {"webhook_secrets": SECRET, "webhook_allow": ("127.0.0.1",), "redis_url": redis_url}
    async with DataFlow(f"sqlite:///{tmp_path}/shop.db", name="shop", **settings) as made:

        @made.model
        class Order:
            status: str = "open"
            total: Decimal = Decimal(0)

        client = await made.broker.client()
        await client.flushdb()
        yield made


def event(op: Op = Op.UPDATE, table: str = "orders", **after: Any) -> dict[str, Any]:
    source = Source(db="shop", kind="sqlite", table=table, model="Order" if table == "orders" else None)
    moments = {"ts": MOMENT, "read_at": MOMENT}
    return event_inputs(Event(id="72057594060718864-0", op=op, before=None, after=after, source=source, **moments))


async def send(db: DataFlow, params: dict[str, Any], node: str = "WebhookNode") -> Any:
    builder = WorkflowBuilder()
    builder.add_node(node, "it", params)
    workflow = builder.build()
    return (await execute(workflow, None, catalog=Catalog({}, [db]), run_id="run"))["it"]


async def dead_letters(db: DataFlow) -> list[dict[bytes, bytes]]:
    client = await db.broker.client()
    return [fields for _, fields in await client.xrange(keys.events_dead("shop"))]


async def test_an_event_is_posted(db: DataFlow, receiver: Receiver) -> None:
    output = await send(db, {"url": receiver.url, "event": event(id=7, total=Decimal("1.50"), made=MOMENT)})
    assert output == {"delivered": True, "status": 200, "webhook_id": "shop:orders:72057594060718864-0"}
    body = receiver.verified()
    assert (body["type"], body["timestamp"]) == ("orders.updated", "2026-11-22T03:00:00.000000Z")
    assert body["data"]["after"] == {"id": 7, "total": "1.50", "made": "2026-11-22T03:00:00.000000Z"}
    assert body["data"]["source"]["db"] == "shop"
    await send(db, {"url": receiver.url, "event": event(Op.MESSAGE, "order.created", id=7)})
    assert receiver.verified()["type"] == "order.created"
    assert receiver.requests[-1][1]["webhook-id"] == "shop:@order%2Ecreated:72057594060718864-0"
    await send(db, {"url": receiver.url, "event": {"any": "thing"}, "event_type": "greeting"})
    assert receiver.verified()["data"] == {"any": "thing"}
    assert receiver.requests[-1][1]["webhook-id"] == "run:it"


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"event": {"any": "thing"}}, "needs an event_type"),
        ({"event": {}, "event_type": "a\r\nb"}, "type of a webhook"),
        ({"event": {"a": {1: 2}}, "event_type": "a"}, "keys are text"),
        ({"event": {}, "event_type": "a", "url": "https://10.0.0.1/"}, "no public address"),
        ({"event": {}, "event_type": "a", "url": "http://user@127.0.0.1/"}, "no user and password"),
    ],
)
async def test_what_cannot_be_posted(db: DataFlow, receiver: Receiver, params: dict[str, Any], problem: str) -> None:
    with pytest.raises(WorkflowExecutionError, match=problem):
        await send(db, {"url": receiver.url, **params})
    assert not receiver.requests


async def test_what_was_not_taken_is_a_dead_letter(db: DataFlow, receiver: Receiver) -> None:
    receiver.answers = [500]
    with pytest.raises(WorkflowExecutionError) as raised:
        await send(db, {"url": receiver.url, "event": event(id=7)})
    assert isinstance(raised.value.__cause__, WebhookError)
    (letter,) = await dead_letters(db)
    assert (letter[b"stream"], letter[b"id"], letter[b"reader"]) == (b"orders", b"72057594060718864-0", b"webhook:")
    assert json.loads(letter[b"event"])["after"] == {"id": 7}
    assert b"answered 500" in letter[b"reason"]


async def test_without_a_secret_nothing_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    async with DataFlow(f"sqlite:///{tmp_path}/other.db", name="other", webhook_allow=("127.0.0.1",)) as other:
        with pytest.raises(WorkflowExecutionError, match="no secret to sign"):
            await send(other, {"url": receiver.url, "event": {}, "event_type": "a"})
    assert not receiver.connections


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="A webhook secret is whsec_") as raised:
        DataFlow(":memory:", webhook_secrets="plain")
    assert "plain" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="webhook_allow"):
        DataFlow(":memory:", webhook_allow=("a b",))


LISTENER = {"table": "orders", "operations": ["INSERT", "UPDATE"], "filter": {"status": "completed"}}


async def test_a_listener_is_a_trigger_that_stays(db: DataFlow, receiver: Receiver) -> None:
    params = {**LISTENER, "webhook_url": receiver.url, "name": "order_changes"}
    for _ in range(2):
        output = await send(db, params, "CDCListenerNode")
        assert output == {"listener": "order_changes", "registered": True, "state": "active"}
    (info,) = await db.triggers.list_async()
    assert (info.name, info.workflow) == ("order_changes", "webhook")
    await send(db, {**params, "transition": True}, "CDCListenerNode")
    (changed,) = await db.triggers.list_async()
    assert changed.trigger is not None
    assert changed.trigger.transition
    await send(db, {"event_type": "order_created", "webhook_url": receiver.url}, "CDCListenerNode")
    assert [found.name for found in await db.triggers.list_async()] == ["it", "order_changes"]


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"webhook_url": "ftp://a"}, "begins with https"),
        ({"filter": {"colour": 1}}, "no field 'colour'"),
        ({"operations": ["INSRET"]}, "INSRET"),
        ({"name": "a b"}, "name of a trigger"),
        ({"table": "ordres"}, "ordres"),
    ],
)
async def test_listeners_that_are_refused(db: DataFlow, params: dict[str, Any], problem: str) -> None:
    with pytest.raises(WorkflowExecutionError, match=problem):
        await send(db, {**LISTENER, "webhook_url": "http://127.0.0.1/", **params}, "CDCListenerNode")
    assert not await db.triggers.list_async()


async def work(db: DataFlow, job: Job) -> None:
    """A worker until this job has ended."""
    worker = Worker([db], db.broker, WorkerOptions(grace=0.0))
    task = asyncio.create_task(worker.run())
    try:
        with contextlib.suppress(JobFailedError):
            await job.wait_async(timeout=20)
    finally:
        worker.stop()
        await task


async def test_a_job_delivers_until_it_is_taken(
    db: DataFlow, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RETRY, "base_delay", 0.02)  # type: ignore[index]
    await send(db, {**LISTENER, "webhook_url": receiver.url, "name": "orders"}, "CDCListenerNode")
    receiver.answers = [500, b"", 200]
    found = _event(7)
    job = await db.triggers.fire_async("orders", found)
    await work(db, job)
    assert len(receiver.requests) == 3
    assert len({request[1]["webhook-id"] for request in receiver.requests}) == 1
    assert receiver.verified()["data"]["after"]["status"] == "completed"
    assert not await dead_letters(db)


async def test_what_is_never_taken_is_one_failed_job_and_one_dead_letter(
    db: DataFlow, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RETRY, "base_delay", 0.02)  # type: ignore[index]
    monkeypatch.setitem(RETRY, "max", 2)  # type: ignore[index]
    await send(db, {**LISTENER, "webhook_url": receiver.url, "name": "orders"}, "CDCListenerNode")
    receiver.answers = [503]
    job = await db.triggers.fire_async("orders", _event(7))
    await work(db, job)
    assert len(receiver.requests) == 3
    assert len(await dead_letters(db)) == 1
    assert (await db.triggers.get_async("orders")).state == "active"


async def test_gone_pauses_the_listener(db: DataFlow, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "dataflow.worker")
    await send(db, {**LISTENER, "webhook_url": receiver.url, "name": "orders"}, "CDCListenerNode")
    receiver.answers = [410]
    job = await db.triggers.fire_async("orders", _event(7))
    await work(db, job)
    assert len(receiver.requests) == 1  # no other try
    info = await db.triggers.get_async("orders")
    assert (info.state, "gone" in info.reason) == ("paused", True)
    (letter,) = await dead_letters(db)
    assert letter[b"reader"] == b"webhook:orders"
    assert f"requeue {job.id}".encode() in letter[b"reason"]
    receiver.answers = [200]
    (found,) = await db.dead_events.list()
    await db.dead_events.retry(found.key)
    await work(db, job)
    assert len(receiver.requests) == 2
    assert not await dead_letters(db)


def _event(number: int) -> Event:
    source = Source(db="shop", kind="sqlite", table="orders", model="Order")
    row = {"id": number, "status": "completed", "total": Decimal("1.50")}
    return Event(id=f"{number}-0", op=Op.UPDATE, before=None, after=row, source=source, ts=MOMENT, read_at=MOMENT)


@contextlib.asynccontextmanager
async def running(*services: Worker | Scheduler) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        yield
    finally:
        for service in services:
            service.stop()
        await asyncio.gather(*tasks)


async def test_from_a_change_of_a_row_to_the_server_of_others(db: DataFlow, receiver: Receiver) -> None:
    await db.create_tables_async()
    capture = CaptureService(db)
    await capture.start()
    try:
        async with running(Scheduler([db], db.broker, lock_time=1.0), Worker([db], db.broker)), asyncio.timeout(20):
            while capture.capture is None or not capture.capture.working.is_set():
                await asyncio.sleep(0.01)
            params = {**LISTENER, "webhook_url": receiver.url, "name": "completed", "transition": True}
            await send(db, params, "CDCListenerNode")
            url = {"webhook_url": receiver.url, "event_type": "order.paid", "name": "paid"}
            await send(db, url, "CDCListenerNode")
            async with db.transaction() as transaction:
                order = await transaction.run("OrderCreateNode", {"total": Decimal("9.90")})
                await transaction.run("OrderUpdateNode", {"id": order["id"], "fields": {"status": "completed"}})
                await transaction.run("OrderUpdateNode", {"id": order["id"], "fields": {"total": Decimal("9.80")}})
                await transaction.run("EventPublishNode", {"event_type": "order.paid", "payload": {"id": order["id"]}})
            while len(receiver.requests) < 2:
                await asyncio.sleep(0.01)
    finally:
        await capture.stop()
    bodies = sorted((receiver.verified(number) for number in range(2)), key=lambda body: str(body["type"]))
    assert [body["type"] for body in bodies] == ["order.paid", "orders.updated"]
    assert bodies[0]["data"]["after"] == {"id": order["id"]}
    assert Decimal(bodies[1]["data"]["after"]["total"]) == Decimal("9.90")
    assert bodies[1]["data"]["changed"] == ["status", "updated_at"]
