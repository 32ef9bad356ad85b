"""Databases that go away, or are slow, beneath running workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, BaseDataFlowNode, DataFlow, WorkflowBuilder
from dataflow.errors import BreakerOpenError, DatabaseUnavailableError, JobFailedError
from dataflow.jobs import Broker, Job, JobStatus
from dataflow.resilience import CircuitBreakerConfig, CircuitState
from tests.conftest import database_of
from tests.integration.jobs.conftest import LIMIT
from tests.servers import MariaDBServer, PostgreSQLServer, Server
from worker import run
from worker.options import WorkerOptions
from worker.worker import Worker

Open = Callable[..., DataFlow]
NewServer = Callable[[type[Server]], Server]


@pytest.fixture
async def opened(valkey_url: str) -> AsyncIterator[Open]:
    """Opens applications with a model ``Event`` and a broker that is empty at first."""
    broker = Broker(valkey_url)
    await (await broker.client()).flushdb()
    await broker.close()
    apps: list[DataFlow] = []

    def make(url: str, name: str = "default", **settings: Any) -> DataFlow:
        app = DataFlow(url, name=name, redis_url=valkey_url, **settings)

        @app.model
        class Event:
            title: str
            note: str = ""

        apps.append(app)
        return app

    yield make
    for app in apps:
        await app.close_async()


@asynccontextmanager
async def working(*apps: DataFlow, **options: Any) -> AsyncIterator[Worker]:
    worker = Worker(apps, apps[0].broker, WorkerOptions(**{"grace": 0.0, **options}))
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    try:
        yield worker
    finally:
        worker.stop()
        async with asyncio.timeout(LIMIT):
            await task


def creates(title: str, database: str = "default") -> WorkflowBuilder:
    workflow = WorkflowBuilder("create")
    workflow.add_node("EventCreateNode", "create", {"title": title, "database": database})
    return workflow


def updates(number: int, database: str = "default", **params: Any) -> WorkflowBuilder:
    workflow = WorkflowBuilder("update")
    workflow.add_node(
        "EventUpdateNode", "update", {"id": 1, "fields": {"note": str(number)}, "database": database, **params}
    )
    return workflow


async def first_event(app: DataFlow) -> None:
    await AsyncLocalRuntime().execute_workflow_async(creates("first", app.name).build())


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


async def all_done(jobs: list[Job]) -> None:
    async with asyncio.timeout(2 * LIMIT):
        for job in jobs:
            await job.wait_async()


def row_locked(app: DataFlow) -> AbstractAsyncContextManager[None]:
    """Whoever updates the first event hangs while the block runs."""

    @asynccontextmanager
    async def hold() -> AsyncIterator[None]:
        other = DataFlow(app.settings.database_url, name="locker", breaker_failure_threshold=0)
        try:
            async with other.database.transaction() as transaction:
                await transaction.execute("UPDATE events SET note = 'locked' WHERE id = 1")
                yield
        finally:
            await other.close_async()

    return hold()


@pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer])
async def test_jobs_outlast_a_database_that_is_stopped_and_spend_no_retry(
    opened: Open, new_server: NewServer, kind: type[Server]
) -> None:
    server = new_server(kind)
    app = opened(server.url, breaker_timeout=0.3, pool_size=3, max_overflow=0)
    await app.create_tables_async()
    queue = app.queue()
    breaker = next(iter(app.breakers.values()))
    async with working(app, concurrency=8) as worker:
        await all_done([await queue.enqueue_async(creates("before")) for _ in range(10)])
        await asyncio.to_thread(server.stop)
        jobs = [await queue.enqueue_async(creates("during"), retry=2) for _ in range(20)]
        jobs += [await queue.enqueue_async(creates("during")) for _ in range(20)]
        await eventually(lambda: breaker.metrics()["rejected_requests"] + worker.counts["defer"] > 30)
        assert breaker.state is not CircuitState.CLOSED
        await asyncio.to_thread(server.start)
        await all_done(jobs)
        await eventually(lambda: breaker.state is CircuitState.CLOSED)
    assert {job.retries_left for job in [await job.refresh_async() for job in jobs[:20]]} == {2}
    assert worker.counts["failed"] == worker.counts["retry"] == 0
    assert [tuple(row) for row in await app.database.fetch_all("SELECT COUNT(*) FROM events")] == [(50,)]
    metrics = app.pool_metrics()
    assert (metrics["checked_out"], metrics["waiting"]) == (0, 0)
    assert metrics["total"] <= 3


@pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer])
async def test_a_job_that_is_the_probe_of_a_long_outage_is_not_burned(
    opened: Open, new_server: NewServer, kind: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OUTAGE_PAUSE", 0.01)
    server = new_server(kind)
    app = opened(server.url, breaker_timeout=0.05, breaker_failure_threshold=1)
    await first_event(app)
    await asyncio.to_thread(server.stop)
    breaker = next(iter(app.breakers.values()))
    async with working(app, max_outages=1) as worker:
        job = await app.queue().enqueue_async(updates(3))
        await eventually(lambda: breaker.metrics()["state_changes"] > 10)
        await asyncio.to_thread(server.start)
        assert (await job.wait_async(LIMIT))["update"]["updated"]
    assert worker.counts["failed"] == worker.counts["retry"] == 0


@pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer])
async def test_a_job_whose_statement_the_database_took_down_runs_again(
    opened: Open, new_server: NewServer, kind: type[Server]
) -> None:
    server = new_server(kind)
    app = opened(server.url, breaker_timeout=0.3)
    await first_event(app)
    async with working(app) as worker:
        with pytest.raises(Exception, match="lost|connection|closed"):  # noqa: PT012 - the lock's own connection dies
            async with row_locked(app):
                job = await app.queue().enqueue_async(updates(7))
                await eventually(lambda: app.pool_metrics()["checked_out"] == 1)
                await asyncio.to_thread(server.stop)
                await eventually(lambda: worker.counts["outage"] == 1)
                await asyncio.to_thread(server.start)
        assert (await job.wait_async(LIMIT))["update"]["note"] == "7"
    assert worker.counts["failed"] == worker.counts["retry"] == 0
    assert app.pool_metrics()["checked_out"] == 0


async def test_a_slow_database_leaves_slots_to_a_fast_one(
    opened: Open, postgresql_db_url: str, sqlite_url: str
) -> None:
    slow, fast = opened(postgresql_db_url, "slow"), opened(sqlite_url, "fast")
    await first_event(slow)
    await first_event(fast)
    queue = slow.queue()
    async with working(slow, fast, concurrency=8) as worker:
        async with row_locked(slow):
            hanging = [await queue.enqueue_async(updates(i, "slow")) for i in range(60)]
            await eventually(lambda: worker.counts["defer"] > 0)
            quick = [await queue.enqueue_async(updates(i, "fast")) for i in range(20)]
            await all_done(quick)
            await eventually(lambda: worker.counts["done"] >= 20)  # Redis knows of an end before the worker counts it
            assert worker.counts["done"] == 20, "no slow one has ended"
            assert slow.pool_metrics()["checked_out"] == 6, "three quarters of the slots"
        await all_done(hanging)
    assert worker.counts["failed"] == worker.counts["retry"] == 0


async def test_jobs_of_an_open_breaker_do_not_hold_up_others(
    opened: Open, new_server: NewServer, sqlite_url: str
) -> None:
    server = new_server(PostgreSQLServer)
    away, fast = opened(server.url, "away", breaker_timeout=60.0), opened(sqlite_url, "fast")
    await first_event(away)
    await first_event(fast)
    await asyncio.to_thread(server.stop)
    queue = away.queue()
    waiting = [await queue.enqueue_async(updates(i, "away")) for i in range(30)]
    quick = [await queue.enqueue_async(updates(i, "fast")) for i in range(10)]
    async with working(away, fast, concurrency=4) as worker:
        await all_done(quick)
        await eventually(lambda: worker.counts["defer"] + worker.counts["outage"] == 30)
    statuses = {(await job.refresh_async()).status for job in waiting}
    assert statuses == {JobStatus.SCHEDULED}
    assert worker.counts["failed"] == 0


async def test_workers_share_a_breaker_and_learn_from_each_other(opened: Open, new_server: NewServer) -> None:
    server = new_server(PostgreSQLServer)
    settings: dict[str, Any] = {"breaker_shared": True, "breaker_timeout": 0.5, "breaker_failure_threshold": 2}
    first, second = (opened(server.url, name, **settings) for name in ("first", "second"))
    await first.create_tables_async()
    await second.create_tables_async()
    (here,), (there,) = first.breakers.values(), second.breakers.values()
    await asyncio.to_thread(server.stop)
    async with working(second, queues=("other",)) as worker:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailableError):
                await first.database.execute("SELECT 1")
        assert here.state is CircuitState.OPEN
        await eventually(lambda: there.state is CircuitState.OPEN)
        assert there.metrics()["failure_count"] == 0, "it learned that from the other"
        jobs = [await second.queue("other").enqueue_async(creates("x", "second")) for _ in range(5)]
        await eventually(lambda: worker.counts["defer"] >= 5)
        await asyncio.to_thread(server.start)
        await all_done(jobs)
        await here.refresh()
        assert here.state is CircuitState.CLOSED
        assert worker.counts["failed"] == worker.counts["retry"] == 0


async def test_one_probe_for_all_processes(broker: Broker) -> None:
    from dataflow.jobs.breakers import BrokerStore
    from dataflow.resilience import CircuitBreaker

    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout=0.2)
    breakers = [CircuitBreaker(config, name="db", store=BrokerStore(lambda: broker)) for _ in range(5)]
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError("away")

    async def all_call() -> list[BaseException | None]:
        return await asyncio.gather(
            *(item.execute(fail) for item in breakers for _ in range(10)), return_exceptions=True
        )

    with pytest.raises(OSError, match="away"):
        await breakers[0].execute(fail)
    for item in breakers:
        await item.refresh()
    assert {type(error) for error in await all_call()} == {BreakerOpenError}
    for probes in (1, 2, 3):
        await asyncio.sleep(max(item.retry_after for item in breakers) + 0.01)
        errors = await all_call()
        assert calls == 1 + probes
        assert sum(isinstance(error, OSError) for error in errors) == 1


async def test_an_open_breaker_that_nobody_asks_for_is_forgotten(broker: Broker) -> None:
    from dataflow.jobs.breakers import KEPT, BrokerStore

    store = BrokerStore(lambda: broker)
    assert await store.look("db") is None
    assert await store.probe("db", 5) is None
    await store.open("db", 5)
    client = await broker.client()
    # Both the server and the script round up.
    assert 0 < await client.ttl("rq:dataflow:breaker:db") <= KEPT + 6
    assert 0 < (await store.look("db") or 0) <= 5.01
    await store.close("db")
    assert await client.keys("rq:dataflow:breaker:*") == []


async def test_a_job_waits_for_a_dependency_of_the_users_own(opened: Open, sqlite_url: str) -> None:
    app = opened(sqlite_url)
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout=0.3)
    answers = asyncio.Event()

    @app.register_node
    class Charge(BaseDataFlowNode):
        async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
            async def ask() -> dict[str, Any]:
                if not answers.is_set():
                    raise OSError("no answer")
                return {"receipt": 1}

            answer: dict[str, Any] = await app.breaker("payments", config).execute(ask)
            return answer

    workflow = WorkflowBuilder("charge")
    workflow.add_node("Charge", "charge", {})
    async with working(app) as worker:
        first = await app.queue().enqueue_async(workflow)
        with pytest.raises(JobFailedError, match="no answer"):
            await first.wait_async(LIMIT)
        second = await app.queue().enqueue_async(workflow, retry=1)
        await eventually(lambda: worker.counts["defer"] == 1)
        answers.set()
        assert await second.wait_async(LIMIT) == {"charge": {"receipt": 1}}
    assert second.retries_left == 1
    assert app.breakers["payments"].metrics()["state"] == "closed"


async def test_a_job_that_a_database_leaves_again_and_again_fails(
    opened: Open, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OUTAGE_PAUSE", 0.0)
    app = opened(sqlite_url)

    @app.register_node
    class Crash(BaseDataFlowNode):
        async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
            raise DatabaseUnavailableError("The connection was lost.")

    workflow = WorkflowBuilder("crash")
    workflow.add_node("Crash", "crash", {})
    async with working(app, max_outages=3) as worker:
        job = await app.queue().enqueue_async(workflow)
        with pytest.raises(JobFailedError, match="connection was lost"):
            await job.wait_async(LIMIT)
    assert (worker.counts["outage"], worker.counts["failed"]) == (3, 1)


async def test_a_violated_constraint_is_not_tried_again(opened: Open, sqlite_url: str) -> None:
    app = opened(sqlite_url)

    workflow = WorkflowBuilder("again")
    workflow.add_node("EventCreateNode", "note", {"title": "x", "id": 1})
    await first_event(app)
    async with working(app) as worker:
        job = await app.queue().enqueue_async(workflow, retry=3)
        with pytest.raises(JobFailedError) as caught:
            await job.wait_async(LIMIT)
    assert caught.value.context["error_type"] == "UniqueViolationError"
    assert job.retries_left == 3
    assert worker.counts["retry"] == 0


@pytest.fixture(params=["postgresql", "mysql+aiomysql", "mysql+asyncmy", "sqlite"])
def any_url(request: pytest.FixtureRequest) -> str:
    return database_of(request)


@pytest.mark.parametrize("limit", ["job", "queue", "worker", "node"])
async def test_a_statement_ends_with_the_time_of_its_job(opened: Open, any_url: str, limit: str) -> None:
    app = opened(any_url)
    await first_event(app)
    params: dict[str, Any] = {"timeout": 0.5, "retry": 3} if limit == "node" else {}
    async with working(app, default_timeout=1 if limit == "worker" else 300):
        async with row_locked(app):
            queue = app.queue(default_timeout=1 if limit == "queue" else None)
            job = await queue.enqueue_async(updates(1, **params), timeout=1 if limit == "job" else None)
            with pytest.raises(JobFailedError) as caught:
                await job.wait_async(LIMIT)
            assert caught.value.context["error_type"] == "TimeoutError"
            assert "exceeded its" in str(caught.value)
            assert job.started_at is not None
            assert job.ended_at is not None
            assert (job.ended_at - job.started_at).total_seconds() < 2.0
            async with asyncio.timeout(1.0):
                while await statements_running(app):
                    await asyncio.sleep(0.01)
            await eventually(lambda: app.pool_metrics()["checked_out"] == 0)
        again = await app.queue().enqueue_async(updates(2))
        assert (await again.wait_async(LIMIT))["update"]["note"] == "2"


async def statements_running(app: DataFlow) -> int:
    """Updates that the server works on for the application."""
    match app.database.dialect:
        case "postgresql":
            sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'UPDATE%'"
        case "mysql":
            sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE%%'"
        case _:
            return app.pool_metrics()["checked_out"]
    row = await app.database.fetch_one(sql)
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_the_victim_of_a_deadlock_runs_again_as_a_whole(
    opened: Open, request: pytest.FixtureRequest, kind: str
) -> None:
    app = opened(request.getfixturevalue(f"{kind}_db_url"))
    await first_event(app)
    rows = [{"title": str(number)} for number in range(2, 30)]
    runtime = AsyncLocalRuntime()
    fill = WorkflowBuilder("fill")
    fill.add_node("EventBulkCreateNode", "fill", {"data": rows})
    await runtime.execute_workflow_async(fill.build())
    change = WorkflowBuilder("change")
    data = [{"id": 1, "note": "changed"}, {"id": 2, "note": "changed"}]
    change.add_node("EventBulkUpdateNode", "change", {"data": data, "batch_size": 1, "retry": 5})
    settings = {}
    if kind == "postgresql":
        # A waiter looks for deadlocks once: the job's look must come after the other has begun to wait, and first.
        name = app.settings.database_url.rpartition("/")[2]
        await app.database.execute(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '3s'")
        await app.database.close()
        settings = {"deadlock_timeout": "60s"}
    async with working(app) as worker:
        async with app.database.transaction(settings) as other:
            # It has changed more than the job will have, so the server gives up the job.
            await other.execute("UPDATE events SET note = 'other' WHERE id >= 2")
            job = await app.queue().enqueue_async(change)
            await eventually(lambda: app.pool_metrics()["checked_out"] == 2)
            while not await statements_running(app):
                await asyncio.sleep(0.01)
            await other.execute("UPDATE events SET note = 'other' WHERE id = 1")
        assert (await job.wait_async(LIMIT))["change"]["updated"] == 2
    assert worker.counts["retry"] == 0, "the node was tried again, not the job"
    rows_now = await app.database.fetch_all("SELECT COUNT(*) FROM events WHERE note = 'changed'")
    assert [tuple(row) for row in rows_now] == [(2,)]
