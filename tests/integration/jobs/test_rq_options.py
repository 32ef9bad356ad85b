"""Every option that a stock RQ producer can set is honoured, or the job fails with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from rq import Queue, Repeat, Retry
from rq.job import Callback, Dependency
from rq.job import Job as RQJob
from rq.rate_limit import RateLimit
from rq.webhook import Webhook

from dataflow.jobs import Broker, Job, JobStatus
from dataflow.jobs.serializer import RQSerializer
from tests.integration.jobs.conftest import Burst, Working, until
from tests.integration.jobs.test_broker_worker import leftovers
from tests.toys import ToyApp, chain

ENTRY = "dataflow.jobs.entry.run"


@pytest.fixture
async def broker(broker_url: str) -> Any:
    """Real servers only: RQ needs a connection of its own."""
    made = Broker(broker_url)
    yield made
    await made.close()


@pytest.fixture
def stock(broker_url: str) -> Iterator[Queue]:
    with redis.Redis.from_url(broker_url) as connection:
        yield Queue("default", connection=connection, serializer=RQSerializer)


@pytest.fixture
def app() -> ToyApp:
    made = ToyApp()
    made.workflows["flaky"] = chain("fail", times=1, name="flaky")
    made.workflows["broken"] = chain("fail", name="broken")
    made.workflows["slow"] = chain("gate", name="slow")
    return made


def enqueue(stock: Queue, name: str = "hello", **options: Any) -> RQJob:
    return stock.enqueue(ENTRY, kwargs={"v": 1, "name": name, "inputs": {}}, **options)


async def test_retry_with_intervals(stock: Queue, burst: Burst) -> None:
    at_once = enqueue(stock, "flaky", retry=Retry(max=1))
    later = enqueue(stock, "flaky", retry=Retry(max=2, interval=[60, 1]))
    assert await burst() == {"done": 1, "failed": 0, "stopped": 0, "retry": 2, "back": 0}
    assert at_once.get_status() == "finished"
    assert later.get_status() == "scheduled"
    due = stock.scheduled_job_registry.get_scheduled_time(later)
    later.refresh()
    assert later.ended_at is not None
    assert 55 < due.timestamp() - later.ended_at.timestamp() < 65
    assert later.retries_left == 1


async def test_repeat_runs_as_often_as_told(stock: Queue, burst: Burst, broker: Broker) -> None:
    job = enqueue(stock, repeat=Repeat(times=3), result_ttl=100)
    assert (await burst())["done"] == 4
    job.refresh()
    assert (job.get_status(), job.repeats_left) == ("finished", 0)
    assert len(job.results()) == 4
    assert stock.connection.ttl(job.key) > 0
    assert stock.connection.ttl(f"rq:results:{job.id}") > 0
    assert await leftovers(broker) == set()


async def test_repeat_waits_for_its_intervals(stock: Queue, burst: Burst, working: Working) -> None:
    job = enqueue(stock, repeat=Repeat(times=3, interval=[1, 60]))
    assert (await burst())["done"] == 1
    assert job.get_status(refresh=True) == "scheduled"
    job.refresh()
    assert (job.repeats_left, job.repeat_intervals) == (2, [60]), "as RQ's own worker leaves it"
    async with working() as worker, asyncio.timeout(20):
        while worker.counts["done"] < 1:
            await asyncio.sleep(0.02)
    due = stock.scheduled_job_registry.get_scheduled_time(job)
    job.refresh()
    assert job.ended_at is not None
    assert 55 < due.timestamp() - job.ended_at.timestamp() < 65
    assert job.repeats_left == 1


async def test_a_job_that_fails_does_not_repeat(stock: Queue, burst: Burst) -> None:
    job = enqueue(stock, "broken", repeat=Repeat(times=3))
    assert await burst() == {"done": 0, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    assert job.get_status() == "failed"


async def test_a_job_that_waited_longer_than_its_ttl_is_not_run(stock: Queue, burst: Burst, app: ToyApp) -> None:
    expired, patient = enqueue(stock, ttl=1), enqueue(stock, ttl=60)
    async with asyncio.timeout(20):
        while stock.connection.exists(expired.key):
            await asyncio.sleep(0.05)
    assert (await burst())["done"] == 1
    assert patient.get_status() == "finished"
    assert stock.count == 0


async def test_a_running_job_does_not_expire(stock: Queue, working: Working, app: ToyApp, broker: Broker) -> None:
    job = enqueue(stock, "slow", ttl=60)
    async with working():
        await app.gate.reached.get()
        assert stock.connection.ttl(job.key) == -1
        app.gate.opened.set()
        await until(Job(job.id, broker), JobStatus.FINISHED)


async def test_lifetimes_meta_and_place_in_the_queue(stock: Queue, burst: Burst) -> None:
    last = enqueue(stock, meta={"by": "stock"}, result_ttl=50, description="second")
    first = enqueue(stock, at_front=True, result_ttl=-1)
    failed = enqueue(stock, "broken", failure_ttl=70)
    await burst(concurrency=1)
    first.refresh()
    last.refresh()
    assert first.started_at is not None
    assert last.started_at is not None
    assert first.started_at < last.started_at
    assert (last.meta, last.description) == ({"by": "stock"}, "second")
    ttl = stock.connection.ttl
    assert ttl(first.key) == -1
    assert 40 < ttl(last.key) <= 50
    assert 60 < ttl(failed.key) <= 70


async def test_enqueue_in_waits_for_its_time(stock: Queue, burst: Burst) -> None:
    due = stock.enqueue_in(timedelta(0), ENTRY, kwargs={"v": 1, "name": "hello", "inputs": {}})
    later = stock.enqueue_in(timedelta(minutes=1), ENTRY, kwargs={"v": 1, "name": "hello", "inputs": {}})
    assert (await burst())["done"] == 1
    assert [job.get_status() for job in (due, later)] == ["finished", "scheduled"]


async def test_a_dependent_may_go_to_the_front(stock: Queue, burst: Burst) -> None:
    parent = enqueue(stock)
    others = [enqueue(stock) for _ in range(3)]
    child = enqueue(stock, depends_on=Dependency([parent], enqueue_at_front=True))
    await burst(concurrency=1)
    for job in (child, *others):
        job.refresh()
    assert child.started_at is not None
    assert all(job.started_at is not None and child.started_at < job.started_at for job in others[1:])


async def test_dependencies_with_and_without_allowed_failures(stock: Queue, burst: Burst) -> None:
    good, bad = enqueue(stock), enqueue(stock, "broken")
    met = enqueue(stock, depends_on=[good])
    allowed = enqueue(stock, depends_on=Dependency([good, bad], allow_failure=True))
    unmet = enqueue(stock, depends_on=[good, bad])
    await burst()
    assert [job.get_status() for job in (met, allowed, unmet)] == ["finished", "finished", "deferred"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"on_success": Callback("os.getcwd")}, "callbacks (success_callback_name)"),
        ({"on_failure": Callback("os.getcwd")}, "callbacks (failure_callback_name)"),
        ({"on_stopped": Callback("os.getcwd")}, "callbacks (stopped_callback_name)"),
    ],
)
async def test_what_would_need_an_import_is_refused(
    stock: Queue, burst: Burst, fields: dict[str, Any], words: str
) -> None:
    job = enqueue(stock, **fields, retry=Retry(max=3))
    assert await burst() == {"done": 0, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    assert words in job.latest_result().exc_string


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"webhooks": [Webhook("http://localhost/", "finished")]}, "webhooks"),
        ({"rate_limit": RateLimit("printer", 1)}, "rate limits"),
    ],
)
async def test_what_this_version_does_not_do_is_refused(
    stock: Queue, burst: Burst, fields: dict[str, Any], words: str
) -> None:
    job = enqueue(stock, **fields)
    assert (await burst())["failed"] == 1
    assert words in job.latest_result().exc_string
