"""How far a job is: asked once (Progress), or told as it happens (JobEvent)."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.record import JobRecord, JobStatus, moment, read_record

#: Seconds after which one who waits looks whether the job went on without telling: canceled, deleted, expired, retried.
WAIT_SLICE = 2.0


class NodeProgress(TypedDict):
    """One node: ``pending``, ``running``, ``done``, ``failed`` or ``skipped``."""

    state: str
    started_at: datetime | None
    ended_at: datetime | None


class Progress(TypedDict):
    """How far a job is. ``done`` counts nodes that ended, ``total`` all of them (0 while that is unknown)."""

    status: str
    nodes: dict[str, NodeProgress]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A job went on.

    Attributes:
        status: The job's status.
        node_id: The node that began or ended; None where the job itself has another status than before.
        state: The node's state: ``running``, ``done``, ``failed`` or ``skipped``; None for the job itself.
        at: When; None where nobody noted it.
    """

    status: JobStatus
    node_id: str | None = None
    state: str | None = None
    at: datetime | None = None


def nodes_of(record: JobRecord) -> dict[str, NodeProgress]:
    """The nodes of a job that was started; empty before."""
    return {
        node: NodeProgress(state=state, started_at=moment(started), ended_at=moment(ended))
        for node, (state, started, ended) in (record.progress or {}).items()
    }


async def follow(broker: Broker, job_id: str, timeout: float | None) -> AsyncGenerator[JobEvent, None]:
    """What ``Job.events_async`` gives."""
    deadline = None if timeout is None else time.monotonic() + timeout
    client = await broker.client()
    told: dict[str, str] = {}
    status: JobStatus | None = None
    progress_id: str | bytes = "0-0"
    while True:
        record = await read_record(broker, job_id)
        for event in _news(record, status, told):
            yield event
        status = record.status
        if status.is_final:
            return
        left = WAIT_SLICE if deadline is None else min(WAIT_SLICE, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError(f"Job {job_id} has not ended within {timeout:g} s; it is {status}.")
        # What was written after the record was read has newer ids, so nothing falls between.
        streams: Any = {keys.results(job_id): record.result_id, keys.progress(job_id): progress_id}
        async with broker.errors():
            answer: Any = await client.xread(streams, block=math.ceil(left * 1000))
        for name, entries in answer or ():
            if name.decode() == keys.progress(job_id):
                progress_id = entries[-1][0]


def _news(record: JobRecord, before: JobStatus | None, told: dict[str, str]) -> Iterator[JobEvent]:
    """What is new in a record; ``told`` holds the state of each node as it was last told."""
    if record.status is not before and not record.status.is_final:
        at = record.started_at if record.status is JobStatus.STARTED else record.enqueued_at
        yield JobEvent(record.status, at=at)
    changed = []
    for node_id, node in nodes_of(record).items():
        if node["state"] == "pending":
            told.pop(node_id, None)  # the job runs again
        elif told.get(node_id) != node["state"]:
            told[node_id] = node["state"]
            changed.append((node["ended_at"] or node["started_at"], node_id, node["state"]))
    for at, node_id, state in sorted(changed, key=_when):
        yield JobEvent(record.status, node_id, state, at)
    if record.status is not before and record.status.is_final:
        yield JobEvent(record.status, at=record.ended_at)


def _when(change: tuple[datetime | None, str, str]) -> float:
    return change[0].timestamp() if change[0] is not None else 0.0


def count_nodes(status: JobStatus, nodes: Mapping[str, NodeProgress]) -> Progress:
    """Progress of these nodes."""
    done = sum(node["state"] in ("done", "failed", "skipped") for node in nodes.values())
    return Progress(status=status, nodes=dict(nodes), done=done, total=len(nodes))
