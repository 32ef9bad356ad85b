"""JobRecord: what Redis knows of a job at one moment."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from dataflow.errors import InputError, JobNotFoundError
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.packing import inflate
from dataflow.jobs.serializer import read
from dataflow.jobs.times import parse_time

_FIELDS = (
    "status", "origin", "created_at", "enqueued_at", "started_at", "ended_at", "worker_name", "meta", "retries_left",
    "x_deliveries", "x_error", "x_progress", "x_ordering_key",
)  # fmt: skip


#: Bytes of a traceback that are shown.
MAX_TRACEBACK = 1024 * 1024


class JobStatus(StrEnum):
    """RQ's statuses."""

    CREATED = "created"
    QUEUED = "queued"
    FINISHED = "finished"
    FAILED = "failed"
    STARTED = "started"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"
    STOPPED = "stopped"
    CANCELED = "canceled"
    RATE_LIMITED = "rate_limited"
    READY_TO_ENQUEUE = "ready_to_enqueue"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in _FINAL


_FINAL = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED})


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed last.

    Attributes:
        message: What went wrong.
        type: Class of the error.
        code: Its code where it is one of ours (``DF-511``), else its class.
        node_id: The node that failed, where one did.
        node_type: Its type.
        traceback: Where it was raised, as text; empty while the job is to be tried again.
    """

    message: str
    type: str
    code: str
    node_id: str | None = None
    node_type: str | None = None
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What Redis knows of a job at one moment.

    Attributes:
        status: Where it is.
        queue: Name of its queue.
        created_at: When it was made; ``enqueued_at``, ``started_at``, ``ended_at`` likewise, None until then.
        worker_name: The worker that runs or ran it.
        meta: The producer's own data.
        retries_left: Times it may still be tried again.
        deliveries: Times that a worker died with it.
        ordering_key: Jobs with the same one run one at a time; None where it has none.
        failure: Why it failed last.
        progress: Node id → [state, started, ended], and [done, total, note, told] after them where the node's code said
            so; None before the job was started.
        result_id: Id of the newest entry of its result stream.
        results: Node id → output, once finished.
    """

    status: JobStatus
    queue: str
    created_at: datetime | None
    enqueued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    worker_name: str | None
    meta: Mapping[str, Any]
    retries_left: int
    deliveries: int
    ordering_key: str | None
    failure: JobFailure | None
    progress: Mapping[str, Sequence[Any]] | None
    result_id: str
    results: Mapping[str, Any] | None

    @property
    def result(self) -> Any:
        """What the only node, an actor, returned; None until the job has finished.

        Raises:
            InputError: The workflow has several nodes, or one that is no actor.
        """
        if self.results is None:
            return None
        output = next(iter(self.results.values())) if len(self.results) == 1 else None
        if not isinstance(output, dict) or output.keys() != {"result"}:
            raise InputError("The job ran no actor.", hint="Read job.results, which has the output of each node.")
        return output["result"]


async def read_record(broker: Broker, job_id: str) -> JobRecord:
    """A job as it is now, in one round trip.

    Raises:
        JobNotFoundError: There is none (any more).
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    async with broker.errors(), client.pipeline(transaction=True) as pipeline:
        pipeline.hmget(keys.job(job_id), list(_FIELDS))
        pipeline.xrevrange(keys.results(job_id), count=1)
        values, entries = await pipeline.execute()
    found: dict[str, bytes | None] = dict(zip(_FIELDS, values, strict=True))
    if not found["status"]:
        raise JobNotFoundError(
            f"There is no job {job_id!r} at {broker.masked_url}.",
            hint="Jobs go when their result_ttl (500 s unless set) or failure_ttl is over; result_ttl=0 keeps nothing.",
            job_id=job_id,
        )
    status = JobStatus(found["status"].decode())
    result_id, entry = entries[0] if entries else (b"0-0", {})
    return JobRecord(
        status=status,
        queue=_text(found["origin"]),
        created_at=parse_time(found["created_at"]),
        enqueued_at=parse_time(found["enqueued_at"]),
        started_at=parse_time(found["started_at"]),
        ended_at=parse_time(found["ended_at"]),
        worker_name=_text(found["worker_name"]) or None,
        meta=read(found["meta"]) if found["meta"] else {},
        retries_left=int(found["retries_left"] or 0),
        deliveries=int(found["x_deliveries"] or 0),
        ordering_key=_text(found["x_ordering_key"]) or None,
        failure=_failure(found["x_error"], entry, status),
        progress=msgspec.json.decode(found["x_progress"]) if found["x_progress"] else None,
        result_id=result_id.decode(),
        results=_results(entry) if status is JobStatus.FINISHED else None,
    )


def _text(value: bytes | None) -> str:
    return value.decode() if value else ""


def _results(entry: Mapping[bytes, bytes]) -> Mapping[str, Any] | None:
    value = entry.get(b"return_value")
    results: Mapping[str, Any] | None = read(base64.b64decode(value)) if value else None
    return results


def _failure(error: bytes | None, entry: Mapping[bytes, bytes], status: JobStatus) -> JobFailure | None:
    if status is JobStatus.FINISHED:
        return None
    text = ""
    if status in (JobStatus.FAILED, JobStatus.STOPPED) and entry.get(b"exc_string"):
        text = inflate(base64.b64decode(entry[b"exc_string"]), MAX_TRACEBACK).decode(errors="replace")
    if error:
        return JobFailure(**msgspec.json.decode(error), traceback=text)
    if text:  # failed by RQ's own tools, which know nothing of our fields
        last = text.strip().splitlines()[-1]
        return JobFailure(message=last, type="rq", code="rq", traceback=text)
    return None


def moment(seconds: float | None) -> datetime | None:
    """A Unix time as an aware datetime."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
