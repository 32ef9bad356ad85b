"""Why a job waits, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.record import JobRecord, JobStatus, moment


async def read_links(broker: Broker, job_id: str) -> tuple[dict[str, str | None], list[str]]:
    """The jobs that a job still waits for, with their statuses (None: gone), and those that wait for it.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client: Any = await broker.client()
    async with broker.errors():
        parents = sorted(member.decode() for member in await client.smembers(keys.dependencies(job_id)))
        dependents = sorted(member.decode() for member in await client.smembers(keys.dependents(job_id)))
        statuses = [await client.hget(keys.job(parent), "status") for parent in parents]
    found = zip(parents, statuses, strict=True)
    return {parent: status.decode() if status else None for parent, status in found}, dependents


async def why_waiting(broker: Broker, job_id: str, record: JobRecord, parents: dict[str, str | None]) -> str | None:
    """Why a job has not begun to run; None for one that runs or has ended.

    Args:
        broker: Where it lives.
        job_id: Its id.
        record: What Redis knows of it.
        parents: The jobs that it waits for, with their statuses.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client: Any = await broker.client()
    async with broker.errors():
        if record.status is JobStatus.DEFERRED:
            line = await client.lrange(keys.order(record.ordering_key), 0, 0) if record.ordering_key else []
            first = line[0].decode() if line else job_id
            return _deferred(parents.items(), record.ordering_key if first != job_id else None, first)
        if record.status is JobStatus.SCHEDULED:
            due = await client.zscore(keys.registry("scheduled", record.queue), job_id)
            return f"It is due at {moment(due):%Y-%m-%d %H:%M:%S} UTC." if due is not None else None
        if record.status is JobStatus.QUEUED:
            if await client.exists(keys.SUSPENDED):
                return "All workers are suspended; `rq resume` wakes them."
            if not await client.scard(f"{keys.WORKERS}:{record.queue}"):
                return f"No worker serves the queue {record.queue}: dataflow worker APP --queues {record.queue}"
            before = await client.lpos(keys.queue(record.queue), job_id)
            return None if before is None else f"{before} job(s) are before it in the queue {record.queue}."
    if record.status in (JobStatus.RATE_LIMITED, JobStatus.READY_TO_ENQUEUE):
        return "It has a rate limit of RQ's, and RQ's own workers queue it."
    return None


def _deferred(parents: Iterable[tuple[str, str | None]], ordering_key: str | None, first: str) -> str:
    waits = [f"{parent} ({status})" for parent, status in parents if status not in (None, "finished")]
    if ordering_key is not None:
        waits.append(f"job {first} of its ordering key {ordering_key}")
    text = f"It waits for {', '.join(waits)}."
    if any(status in ("failed", "stopped", "canceled") for _, status in parents):
        text += " One that failed, was stopped or canceled is run again with `dataflow jobs requeue`."
    return text
