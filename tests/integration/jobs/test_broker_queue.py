"""What a producer writes, on every broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from dataflow.errors import DuplicateJobError, InputError, JobNotFoundError
from dataflow.jobs import Broker, EnqueueRequest, Job, JobQueue, JobStatus, keys
from dataflow.jobs.wire import read_payload
from dataflow.workflows.codec import decode
from tests.integration.jobs.conftest import Burst
from tests.toys import chain, ids


async def waiting(broker: Broker, name: str = "default") -> list[str]:
    return [item.decode() for item in await (await broker.client()).lrange(keys.queue(name), 0, -1)]


async def test_jobs_wait_in_order_and_one_at_the_front(queue: JobQueue, broker: Broker) -> None:
    first = await queue.enqueue_async(chain("echo"))
    second = await queue.enqueue_async(chain("echo"))
    urgent = await queue.enqueue_async(chain("echo"), at_front=True)

    assert await waiting(broker) == ids([urgent, first, second])
    assert await queue.count_async() == 3
    assert await (await broker.client()).smembers(keys.QUEUES) == {b"rq:queue:default"}


async def test_a_job_tells_what_was_enqueued(queue: JobQueue, broker: Broker) -> None:
    before = datetime.now(UTC)
    job = await queue.enqueue_async(chain("echo"), {"n0": {"a": 1}}, meta={"user": 7, "at": before}, retry=2)
    job = await Job(job.id, broker).refresh_async()

    assert job.status is JobStatus.QUEUED
    assert job.queue == "default"
    assert job.meta == {"user": 7, "at": before}
    assert job.retries_left == 2
    assert job.created_at is not None
    assert before - timedelta(milliseconds=1) <= job.created_at <= datetime.now(UTC)
    assert job.enqueued_at == job.created_at
    assert (job.started_at, job.ended_at, job.results, job.error) == (None, None, None, None)


async def test_values_keep_their_types(queue: JobQueue, broker: Broker) -> None:
    inputs = {
        "price": Decimal("19.90"),
        "id": UUID(int=5),
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "day": datetime(2026, 1, 2, tzinfo=UTC).date(),
        "raw": b"\x00\xff" * 2_000,
        "text": "naïve ☃",
        "nested": {"list": [1, 2.5, None, True]},
    }
    job = await queue.enqueue_async(chain("echo"), {"n0": inputs})

    data = await (await broker.client()).hget(keys.job(job.id), "data")
    payload = read_payload(data)
    assert payload.inputs == {"n0": inputs}
    assert payload.document is not None
    assert decode(payload.document)["nodes"][0]["type"] == "EchoNode"


async def test_unique_refuses_a_second_job_and_leaves_the_first(queue: JobQueue, broker: Broker) -> None:
    await queue.enqueue_async(chain("echo"), job_id="report-1", unique=True, meta={"n": 1})
    with pytest.raises(DuplicateJobError, match="report-1"):
        await queue.enqueue_async(chain("echo"), job_id="report-1", unique=True, meta={"n": 2})

    assert await waiting(broker) == ["report-1"]
    assert (await Job("report-1", broker).refresh_async()).meta == {"n": 1}


async def test_the_same_id_again_replaces_what_waits(queue: JobQueue, broker: Broker) -> None:
    await queue.enqueue_async(chain("echo"), job_id="report-1", meta={"n": 1})
    await queue.enqueue_async(chain("echo"), job_id="report-1", delay=60)
    assert await waiting(broker) == []
    await queue.enqueue_async(chain("echo"), job_id="report-1", meta={"n": 3})

    assert await waiting(broker) == ["report-1"]
    assert await (await broker.client()).zcard("rq:scheduled:default") == 0
    assert (await Job("report-1", broker).refresh_async()).meta == {"n": 3}


async def test_a_call_that_is_sent_twice_enqueues_once(queue: JobQueue, broker: Broker) -> None:
    """As the client does when the reply to the first was lost."""
    from dataflow.jobs import queue as module
    from dataflow.jobs.wire import payload_of

    request = EnqueueRequest(workflow="hello", job_id="once", unique=True)
    _, arguments = request.arguments(
        "default", payload_of("hello", {}), "workflow hello", 300, "2026-01-01T00:00:00.0Z"
    )
    sent = ["2026-01-01T00:00:00.0Z", *arguments]

    assert await broker.run(module._ENQUEUE, sent) == [b"queued"]
    assert await broker.run(module._ENQUEUE, sent) == [b"queued"]
    assert await waiting(broker) == ["once"]


async def test_many_jobs_of_all_kinds_in_order(queue: JobQueue, broker: Broker) -> None:
    workflow = chain("echo")
    jobs = await queue.enqueue_many_async(
        [EnqueueRequest(workflow=workflow, inputs={"n0": {"i": i}}) for i in range(1_200)]
        + [{"workflow": workflow, "delay": 60, "job_id": "later"}, {"workflow": "hello", "at_front": True}]
    )

    assert len(set(ids(jobs))) == 1_202
    assert await waiting(broker) == [jobs[-1].id, *ids(jobs[:1_200])]
    assert [job.status for job in jobs[-3:]] == ["queued", "scheduled", "queued"]


async def test_duplicates_among_many_are_named_and_the_rest_enqueued(queue: JobQueue, broker: Broker) -> None:
    requests = [{"workflow": "hello", "job_id": name, "unique": True} for name in ("a", "b", "a")]
    with pytest.raises(DuplicateJobError) as caught:
        await queue.enqueue_many_async(requests)
    assert caught.value.context["duplicates"] == ["a"]
    assert caught.value.context["jobs"] == ["a", "b"]
    assert await waiting(broker) == ["a", "b"]


async def test_delayed_jobs_are_scheduled_by_the_clock_of_the_server(queue: JobQueue, broker: Broker) -> None:
    client = await broker.client()
    seconds, _ = await client.time()
    delayed = await queue.enqueue_async(chain("echo"), delay=timedelta(minutes=1))
    at = datetime(2030, 1, 1, tzinfo=UTC)
    timed = await queue.enqueue_async(chain("echo"), at=at)

    scores = dict(await client.zrange("rq:scheduled:default", 0, -1, withscores=True))
    assert scores[timed.id.encode()] == at.timestamp()
    assert 60 <= scores[delayed.id.encode()] - seconds <= 65
    assert await waiting(broker) == []
    assert delayed.status is JobStatus.SCHEDULED


async def test_a_dependent_waits_for_parents_that_have_not_finished(
    queue: JobQueue, broker: Broker, burst: Burst
) -> None:
    one, two = await queue.enqueue_async(chain("echo")), await queue.enqueue_async(chain("echo"))
    child = await queue.enqueue_async(chain("echo"), depends_on=[one, two.id])
    grandchild = await queue.enqueue_async(chain("echo"), depends_on=child)
    assert child.status is JobStatus.DEFERRED
    assert await waiting(broker) == ids([one, two])

    assert (await burst())["done"] == 4
    for job in (one, two, child, grandchild):
        assert (await job.refresh_async()).status is JobStatus.FINISHED
    late = await queue.enqueue_async(chain("echo"), depends_on=[one, "gone"])
    assert late.status is JobStatus.QUEUED
    assert await (await broker.client()).zcard("rq:deferred:default") == 0


async def test_a_failed_parent_keeps_its_dependents_waiting_unless_they_allow_it(
    queue: JobQueue, broker: Broker, burst: Burst
) -> None:
    parent = await queue.enqueue_async(chain("fail"))
    strict = await queue.enqueue_async(chain("echo"), depends_on=parent)
    tolerant = await queue.enqueue_async(chain("echo"), depends_on=parent, allow_dependency_failures=True)
    await burst()

    assert (await strict.refresh_async()).status is JobStatus.DEFERRED
    assert (await tolerant.refresh_async()).status is JobStatus.FINISHED


async def test_cancel_takes_a_job_from_wherever_it_waits(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    queued = await queue.enqueue_async(chain("echo"))
    scheduled = await queue.enqueue_async(chain("echo"), delay=60)
    deferred = await queue.enqueue_async(chain("echo"), depends_on=scheduled)
    for job in (queued, deferred, scheduled):
        assert await job.cancel_async() is True
        assert (await job.refresh_async()).status is JobStatus.CANCELED

    assert await burst() == {"done": 0, "failed": 0, "stopped": 0, "retry": 0, "back": 0}
    client = await broker.client()
    assert await client.zcard("rq:canceled:default") == 3
    assert await client.exists("rq:scheduled:default", "rq:deferred:default", f"rq:job:{scheduled.id}:dependents") == 0
    assert await client.ttl(keys.job(queued.id)) > 0


async def test_a_job_that_has_ended_cannot_be_canceled(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("echo"))
    await burst()
    assert await job.cancel_async() is False
    assert (await job.refresh_async()).status is JobStatus.FINISHED
    with pytest.raises(JobNotFoundError):
        await Job("no-such-job", broker).cancel_async()
    with pytest.raises(JobNotFoundError, match="no-such-job"):
        await Job("no-such-job", broker).refresh_async()


async def test_a_request_that_cannot_be_used_enqueues_nothing(queue: JobQueue, broker: Broker) -> None:
    with pytest.raises(InputError, match=r"n0\.a|a cannot be sent"):
        await queue.enqueue_async(chain("echo"), {"n0": {"a": object()}})
    with pytest.raises(InputError, match="unique"):
        await queue.enqueue_async(chain("echo"), unique=True)
    assert await (await broker.client()).keys("*") == []
