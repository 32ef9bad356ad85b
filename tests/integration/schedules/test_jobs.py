"""The jobs of schedules: what they carry, what they are allowed, and what their ends tell."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import pytest

from dataflow import DataFlow, WorkflowBuilder, current_job
from dataflow.jobs import JobStatus, keys
from tests.integration.schedules.conftest import NewApp, Scheduling, decided, put_back, reached, with_report, work

HOUR = 3600
KEYS = {"2026": "a secret of the test's own"}


async def tick(app: DataFlow, scheduling: Scheduling, name: str) -> Any:
    """Let a schedule tick once; returns what is known of it then."""
    await put_back(app, name, HOUR - 0.001)
    async with scheduling(app):
        return await decided(app, name)


async def test_an_actor_gets_its_inputs_and_knows_schedule_and_tick(db: DataFlow, scheduling: Scheduling) -> None:
    seen: list[tuple[str | None, datetime | None]] = []

    @db.actor(queue="mail", retry=2, timeout=77, ordering_key="customer:{customer}")
    async def remind(customer: int, text: str = "Please pay.") -> str:
        job = current_job()
        assert job is not None
        seen.append((job.schedule, job.due))
        return f"{customer}: {text}"

    await db.schedules.add_async(
        "reminder", remind, every=HOUR, inputs={"customer": 7}, timeout=99, meta={"team": "blue"}
    )
    info = await tick(db, scheduling, "reminder")
    job = await db.job(info.last_job).refresh_async()
    assert (job.queue, job.retries_left, job.ordering_key) == ("mail", 2, "customer:7")
    assert job.meta == {"team": "blue", "schedule": "reminder", "due": info.last_due}
    client = await db.broker.client()
    assert await client.hget(keys.job(job.id), "timeout") == b"99"  # type: ignore[misc]
    assert (await work(db, queues=("mail",)))["done"] == 1
    assert (await job.refresh_async()).result == "7: Please pay."
    assert seen == [("reminder", info.last_due)]


async def test_a_workflow_gets_its_inputs(new_app: NewApp, scheduling: Scheduling) -> None:
    app = new_app()

    @app.model
    class Note:
        text: str

    @app.workflow
    def jot() -> WorkflowBuilder:
        flow = WorkflowBuilder()
        flow.add_node("NoteCreateNode", "jot", {})
        flow.add_workflow_inputs("jot", ["text"])
        return flow

    await app.schedules.add_async("notes", jot, every=HOUR, inputs={"jot": {"text": "hello"}})
    info = await tick(app, scheduling, "notes")
    assert (await work(app))["done"] == 1
    assert (await app.job(info.last_job).wait_async(10))["jot"]["text"] == "hello"


async def test_a_tenant_s_schedule_writes_the_tenant_s_rows(new_app: NewApp, scheduling: Scheduling) -> None:
    app = new_app(multi_tenant=True)

    @app.model
    class Note:
        text: str

    @app.workflow
    def jot() -> WorkflowBuilder:
        flow = WorkflowBuilder()
        flow.add_node("NoteCreateNode", "jot", {"text": "hello"})
        return flow

    for tenant in ("acme", "zeta"):
        await app.schedules.add_async(f"notes-{tenant}", jot, every=HOUR, tenant_id=tenant)
        info = await tick(app, scheduling, f"notes-{tenant}")
        assert (await work(app))["done"] == 1
        await app.job(info.last_job).wait_async(10)
    rows = {tenant: [row async for row in app.stream("Note", tenant_id=tenant)] for tenant in ("acme", "zeta")}
    assert {tenant: len(found) for tenant, found in rows.items()} == {"acme": 1, "zeta": 1}


async def test_ends_are_noted_at_the_schedule(db: DataFlow, scheduling: Scheduling) -> None:
    @db.actor
    def fail() -> None:
        raise ValueError("no")

    await db.schedules.add_async("failing", fail, every=HOUR, retry=1)
    info = await tick(db, scheduling, "failing")
    assert await work(db) == {"done": 0, "failed": 1, "stopped": 0, "retry": 1, "back": 0}
    info = await db.schedules.get_async("failing")
    assert (info.failed, info.finished, info.last_outcome) == (1, 0, "failed")
    assert info.last_ended is not None

    info = await tick(db, scheduling, "failing")
    assert info.queued == 2
    assert await db.job(info.last_job).cancel_async()
    info = await db.schedules.get_async("failing")
    assert (info.failed, info.canceled, info.last_outcome) == (1, 1, "canceled")
    # A job of no schedule, and one of a schedule that is gone, leave no trace.
    client = await db.broker.client()
    await db.queue().enqueue_async("report")
    await db.schedules.run_now_async("failing")
    await db.schedules.remove_async("failing")
    await work(db)
    assert await client.keys("rq:dataflow:schedule:*") == [keys.ticks("shop", "failing").encode()]


async def test_signed_schedules_make_signed_jobs(new_app: NewApp, scheduling: Scheduling) -> None:
    app = with_report(new_app(signing_keys=KEYS))
    await app.schedules.add_async("nightly", "report", every=HOUR)
    info = await tick(app, scheduling, "nightly")
    await app.schedules.run_now_async("nightly")
    assert (await work(app))["done"] == 2
    assert (await app.job(info.last_job).refresh_async()).status is JobStatus.FINISHED


@pytest.mark.parametrize("forgery", ["unsigned", "changed", "another's", "other key"])
async def test_what_is_not_signed_does_not_run(new_app: NewApp, scheduling: Scheduling, forgery: str) -> None:
    app = with_report(new_app(signing_keys=KEYS))
    client = await app.broker.client()
    hash_key = keys.schedule("shop", "nightly")
    if forgery == "unsigned":
        await with_report(new_app()).schedules.add_async("nightly", "report", every=HOUR)
    elif forgery == "other key":
        stranger = with_report(new_app(signing_keys={"2026": "another secret than ours"}))
        await stranger.schedules.add_async("nightly", "report", every=HOUR)
    else:
        await app.schedules.add_async("nightly", "report", every=HOUR)
        await app.schedules.add_async("other", "report", every=HOUR, inputs={"days": 3})
        if forgery == "changed":
            document: bytes = await client.hget(hash_key, "document")  # type: ignore[assignment,misc]
            await client.hset(hash_key, "document", document.replace(b"3600", b"0060"))  # type: ignore[misc]
        else:
            other: dict[Any, Any] = await client.hgetall(keys.schedule("shop", "other"))  # type: ignore[misc]
            await client.hset(hash_key, mapping=other)  # type: ignore[misc]
    await put_back(app, "nightly", HOUR)
    async with scheduling(app):
        info = await reached(app, "nightly", state="broken")
    assert "sign" in info.reason
    assert info.schedule is None
    assert info.queued == 0
    assert await app.queue().count_async() == 0
    for change in (app.schedules.update_async("nightly", every=5), app.schedules.resume_async("nightly")):
        with pytest.raises(Exception, match="sign"):
            await change
    assert (await app.schedules.get_async("nightly")).state == "broken"
    await app.schedules.remove_async("nightly")


async def test_a_job_of_something_else_is_not_taken_for_a_tick(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("hourly", "report", every=HOUR)
    due = await put_back(db, "hourly", HOUR)
    await db.queue("elsewhere").enqueue_async("report", job_id=f"shop-hourly-{due:%Y%m%dT%H%M%S}Z")
    async with scheduling(db):
        info = await decided(db, "hourly")
    assert info.queued == 0
    assert [item.what for item in await db.schedules.history_async("hourly")] == ["taken"]


async def test_a_large_backlog_is_sent_in_pieces(db: DataFlow, scheduling: Scheduling) -> None:
    @db.actor
    def store(data: bytes) -> int:
        return len(data)

    data = os.urandom(700_000)
    await db.schedules.add_async(
        "large", store, every=60, inputs={"data": data}, misfire="run_all", overlap="allow", result_ttl=0
    )
    await put_back(db, "large", 60 * 20)
    async with scheduling(db):
        assert (await decided(db, "large")).queued == 20


async def test_damaged_entries_do_not_stop_the_others(db: DataFlow, scheduling: Scheduling) -> None:
    for name in ("good", "torn", "gone", "odd", "when"):
        await db.schedules.add_async(name, "report", every=HOUR)
        await put_back(db, name, HOUR)
    client = await db.broker.client()
    await client.hset(keys.schedule("shop", "torn"), "document", "{")  # type: ignore[misc]
    await client.hset(keys.schedule("shop", "when"), mapping={"next_due": "soon", "anchor": "x", "missed": "-"})  # type: ignore[misc]
    await client.delete(keys.schedule("shop", "gone"), keys.schedule("shop", "odd"))
    await client.rpush(keys.schedule("shop", "odd"), "a list")  # type: ignore[misc]
    async with scheduling(db):
        await reached(db, "good", queued=1)
        assert "damaged" in (await reached(db, "torn", state="broken")).reason
        await reached(db, "when", queued=1)
        assert await client.zscore(keys.schedules("shop"), "odd") == float("inf")
