"""How far a job is: asked once (Progress), or told as it happens (JobEvent)."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NotRequired, TypedDict

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.record import JobRecord, JobStatus, moment, read_record

#: Seconds after which one who waits looks whether the job went on without telling: canceled, deleted, expired, retried.
WAIT_SLICE = 2.0


class NodeProgress(TypedDict):
    """One node: ``pending``, ``running``, ``done``, ``failed`` or ``skipped``.

    The others are there where its code has told how far it is (``current_job().progress(…)``): ``done`` of ``total``
    (None where that is not known), with a ``note``, at ``told_at``.
    """

    state: str
    started_at: datetime | None
    ended_at: datetime | None
    done: NotRequired[float]
    total: NotRequired[float | None]
    note: NotRequired[str]
    told_at: NotRequired[datetime | None]


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
        node_id: The node that began, ended, or told how far it is; None where the job itself has another status than
            before.
        state: The node's state: ``running``, ``done``, ``failed`` or ``skipped``; None for the job itself.
        at: When; None where nobody noted it.
        done: How far the node's code said it is; None where it said nothing.
        total: Of how much; None where that is not known.
        note: What it said besides.
    """

    status: JobStatus
    node_id: str | None = None
    state: str | None = None
    at: datetime | None = None
    done: float | None = None
    total: float | None = None
    note: str = ""


def nodes_of(record: JobRecord) -> dict[str, NodeProgress]:
    """The nodes of a job that was started; empty before."""
    return {node: _node(*facts) for node, facts in (record.progress or {}).items()}


def _node(state: str, started: float | None, ended: float | None, *report: Any) -> NodeProgress:
    node = NodeProgress(state=state, started_at=moment(started), ended_at=moment(ended))
    if report:
        done, total, note, told = report
        node.update({"done": done, "total": total, "note": note, "told_at": moment(told)})
    return node


async def follow(broker: Broker, job_id: str, timeout: float | None) -> AsyncGenerator[JobEvent, None]:
    """What ``Job.events_async`` gives."""
    deadline = None if timeout is None else time.monotonic() + timeout
    client = await broker.client()
    told: dict[str, tuple[str, datetime | None]] = {}
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


def _news(
    record: JobRecord, before: JobStatus | None, told: dict[str, tuple[str, datetime | None]]
) -> Iterator[JobEvent]:
    """What is new in a record; ``told`` holds of each node the state, and the time of the report, told last."""
    if record.status is not before and not record.status.is_final:
        at = record.started_at if record.status is JobStatus.STARTED else record.enqueued_at
        yield JobEvent(record.status, at=at)
    changed = []
    for node_id, node in nodes_of(record).items():
        state, reported_at = node["state"], node.get("told_at")
        last = told.get(node_id)
        if state == "pending":
            told.pop(node_id, None)  # the job runs again
        elif last != (state, reported_at):
            told[node_id] = (state, reported_at)
            same_state = last is not None and last[0] == state
            at = reported_at if same_state else node["ended_at"] or node["started_at"]
            report = (node.get("done"), node.get("total"), node.get("note", ""))
            changed.append(JobEvent(record.status, node_id, state, at, *report))
    yield from sorted(changed, key=_when)
    if record.status is not before and record.status.is_final:
        yield JobEvent(record.status, at=record.ended_at)


def _when(event: JobEvent) -> tuple[float, str]:
    return (event.at.timestamp() if event.at is not None else 0.0, event.node_id or "")


def count_nodes(status: JobStatus, nodes: Mapping[str, NodeProgress]) -> Progress:
    """Progress of these nodes."""
    done = sum(node["state"] in ("done", "failed", "skipped") for node in nodes.values())
    return Progress(status=status, nodes=dict(nodes), done=done, total=len(nodes))
