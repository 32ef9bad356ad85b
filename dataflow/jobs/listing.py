"""Looking through jobs: by queue and status, a page at a time. Only lists and registries are read, never all keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from dataflow.errors import InputError, did_you_mean
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.times import parse_time

#: What can be listed → the registry that holds it, in the order of the list. ``queued`` jobs are in the queue itself;
#: ``failed`` has those that were stopped, too.
REGISTRIES: Mapping[str, str] = {
    "started": "wip",
    "queued": "",
    "scheduled": "scheduled",
    "deferred": "deferred",
    "ready_to_enqueue": "ready",
    "failed": "failed",
    "canceled": "canceled",
    "finished": "finished",
}
_FIELDS = (
    "status", "origin", "description", "created_at", "enqueued_at", "started_at", "ended_at", "worker_name", "x_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One line about a job.

    Attributes:
        id: Its id.
        queue: Name of its queue.
        status: Where it is.
        description: What it runs.
        created_at: When it was made; the other times likewise, None until then.
        worker: Name of the worker that runs or ran it.
        error: Why it failed last.
    """

    id: str
    queue: str
    status: str
    description: str
    created_at: datetime | None
    enqueued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    worker: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the jobs that were asked for.

    Attributes:
        jobs: Those of this page; ones that expired meanwhile are left out.
        offset: How many come before them.
        total: How many there are in all.
        next_offset: Where the next page begins; None after the last.
    """

    jobs: Sequence[JobSummary]
    offset: int
    total: int
    next_offset: int | None


async def queue_names(broker: Broker) -> list[str]:
    """Names of all queues that were ever used.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    async with broker.errors():
        members: Iterable[bytes] = await client.smembers(keys.QUEUES)  # type: ignore[assignment]
    return sorted(member.decode().removeprefix(keys.queue("")) for member in members)


async def count_jobs(broker: Broker, queues: Iterable[str]) -> dict[str, dict[str, int]]:
    """Queue → status → jobs, by the statuses of ``REGISTRIES``.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    names = list(queues)
    client = await broker.client()
    async with broker.errors(), client.pipeline(transaction=False) as pipeline:
        for name in names:
            for registry in REGISTRIES.values():
                if registry:
                    pipeline.zcard(keys.registry(registry, name))
                else:
                    pipeline.llen(keys.queue(name))
        numbers = iter(await pipeline.execute())
    return {name: {status: next(numbers) for status in REGISTRIES} for name in names}


async def list_jobs(
    broker: Broker,
    *,
    queue: str | None = None,
    status: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """Jobs of one queue or all, of one status or all; per queue and status in the order of the list or registry.

    Args:
        broker: Where they live.
        queue: Name of a queue.
        status: One of ``REGISTRIES``.
        offset: Jobs to leave out.
        limit: Jobs to return, at most.

    Raises:
        InputError: There is no such status, or a number is negative.
        BrokerUnavailableError: The broker cannot be reached.
    """
    if status is not None and status not in REGISTRIES:
        raise InputError(f"Jobs cannot be listed by the status {status!r}.", hint=did_you_mean(status, REGISTRIES))
    if offset < 0 or limit < 1:
        raise InputError(f"offset is from 0 and limit from 1, got {offset} and {limit}.")
    counts = await count_jobs(broker, [queue] if queue is not None else await queue_names(broker))
    total = position = 0
    parts: list[tuple[str, str, int, int]] = []
    for name, by_status in counts.items():
        for kind in REGISTRIES if status is None else (status,):
            first = max(offset - position, 0)
            last = min(offset + limit - position, by_status[kind]) - 1
            if first <= last:
                parts.append((name, kind, first, last))
            position += by_status[kind]
    total = position
    end = offset + limit
    return Page(await _read(broker, parts), offset, total, end if end < total else None)


async def _read(broker: Broker, parts: Sequence[tuple[str, str, int, int]]) -> list[JobSummary]:
    client = await broker.client()
    async with broker.errors(), client.pipeline(transaction=False) as pipeline:
        for name, status, first, last in parts:
            registry = REGISTRIES[status]
            if registry:
                pipeline.zrange(keys.registry(registry, name), first, last)
            else:
                pipeline.lrange(keys.queue(name), first, last)
        answers = await pipeline.execute()
    # Members of the registry of running jobs name the execution, too.
    ids = [member.decode().partition(":")[0] for members in answers for member in members]
    return await summaries(broker, ids)


async def summaries(broker: Broker, job_ids: Iterable[str]) -> list[JobSummary]:
    """A line about each of these jobs, without those that are gone.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    ids = list(job_ids)
    client = await broker.client()
    async with broker.errors(), client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hmget(keys.job(job_id), list(_FIELDS))
        rows = await pipeline.execute()
    return [
        _summary(job_id, dict(zip(_FIELDS, row, strict=True))) for job_id, row in zip(ids, rows, strict=True) if row[0]
    ]


def _summary(job_id: str, row: Mapping[str, bytes | None]) -> JobSummary:
    def text(name: str) -> str:
        return (row[name] or b"").decode()

    error: Any = msgspec.json.decode(row["x_error"]) if row["x_error"] else {}
    return JobSummary(
        id=job_id,
        queue=text("origin"),
        status=text("status"),
        description=text("description"),
        created_at=parse_time(row["created_at"]),
        enqueued_at=parse_time(row["enqueued_at"]),
        started_at=parse_time(row["started_at"]),
        ended_at=parse_time(row["ended_at"]),
        worker=text("worker_name") or None,
        error=error.get("message"),
    )
