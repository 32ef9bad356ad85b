"""Job: a handle on a workflow in a queue."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from dataflow.errors import JobCanceledError, JobFailedError, JobNotFoundError
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.record import JobFailure, JobRecord, JobStatus, moment, read_record
from dataflow.jobs.scripts import Script
from dataflow.jobs.times import now_text
from dataflow.jobs.wire import read_payload
from dataflow.loop_thread import run_sync
from dataflow.workflows import Workflow
from dataflow.workflows.codec import decode

_CANCEL = Script(Path(__file__).parent / "lua" / "cancel.lua")

#: Seconds that a canceled job is kept where it does not say: RQ's year.
CANCELED_TTL = 31_536_000
#: Seconds after which a wait looks whether the job ended without a result: canceled, deleted, expired.
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


class Job:
    """A workflow in a queue.

    What the properties tell is what was known when the job was enqueued or last refreshed; ``refresh()``, ``wait()``
    and ``progress()`` ask anew. Each has an ``…_async`` form for async code. A property that nobody has asked for yet
    asks by itself, and blocks meanwhile: in async code, ``await job.refresh_async()`` first.

    Args:
        job_id: Its id.
        broker: Where it lives.
        find_workflow: Gives registered workflows, so that the progress of a job not yet started knows its nodes.
        status: Its status, where it is known.
    """

    __slots__ = ("_broker", "_find_workflow", "_record", "_status", "id")

    def __init__(
        self,
        job_id: str,
        broker: Broker,
        find_workflow: Callable[[str], Workflow] | None = None,
        *,
        status: str | None = None,
    ) -> None:
        self.id = job_id
        self._broker = broker
        self._find_workflow = find_workflow
        self._status = status
        self._record: JobRecord | None = None

    def __repr__(self) -> str:
        return f"Job({self.id!r}, status={self._status!r})"

    # What is known

    @property
    def status(self) -> JobStatus:
        """Where it is, in RQ's words: queued, scheduled, deferred, started, finished, failed, stopped, canceled."""
        if self._record is None and self._status is not None:
            return JobStatus(self._status)
        return self._known.status

    @property
    def results(self) -> Mapping[str, Any] | None:
        """Node id → output, once finished."""
        return self._known.results

    @property
    def error(self) -> JobFailure | None:
        """Why it failed last."""
        return self._known.failure

    @property
    def meta(self) -> Mapping[str, Any]:
        """The producer's own data."""
        return self._known.meta

    @property
    def queue(self) -> str:
        """Name of its queue."""
        return self._known.queue

    @property
    def created_at(self) -> datetime | None:
        """When it was made."""
        return self._known.created_at

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was queued last."""
        return self._known.enqueued_at

    @property
    def started_at(self) -> datetime | None:
        """When it was started last."""
        return self._known.started_at

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return self._known.ended_at

    @property
    def worker_name(self) -> str | None:
        """The worker that runs or ran it."""
        return self._known.worker_name

    @property
    def retries_left(self) -> int:
        """Times it may still be tried again."""
        return self._known.retries_left

    @property
    def _known(self) -> JobRecord:
        if self._record is None:
            self.refresh()
        assert self._record is not None
        return self._record

    # Asking anew

    async def refresh_async(self) -> Job:
        """Ask the broker what it knows now; returns the job itself.

        Raises:
            JobNotFoundError: There is no such job (any more).
            BrokerUnavailableError: The broker cannot be reached.
        """
        self._record = await read_record(self._broker, self.id)
        self._status = self._record.status
        return self

    async def wait_async(self, timeout: float | None = None) -> Mapping[str, Any]:
        """Wait until the job has finished and return its results, node id → output.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            JobFailedError: It failed or was stopped; ``context`` has node_id, node_type and error_code.
            JobCanceledError: It was canceled.
            JobNotFoundError: It is gone, with its results.
            TimeoutError: It has not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        client = await self._broker.client()
        while True:
            record = (await self.refresh_async())._known
            if record.status.is_final:
                return self._outcome(record)
            left = WAIT_SLICE if deadline is None else min(WAIT_SLICE, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"Job {self.id} has not ended within {timeout:g} s; it is {self._status}.")
            async with self._broker.errors():
                # The record and the id of its newest result are of one moment, so nothing falls between.
                await client.xread({keys.results(self.id): record.result_id}, block=math.ceil(left * 1000))

    def _outcome(self, record: JobRecord) -> Mapping[str, Any]:
        if record.status is JobStatus.FINISHED:
            if record.results is None:
                raise JobNotFoundError(f"Job {self.id} has finished, and its results are gone.", job_id=self.id)
            return record.results
        if record.status is JobStatus.CANCELED:
            raise JobCanceledError(f"Job {self.id} was canceled.", job_id=self.id)
        failure = record.failure
        if failure is None:
            raise JobFailedError(f"Job {self.id} {record.status}.", job_id=self.id)
        raise JobFailedError(
            f"Job {self.id} {record.status}: {failure.message}",
            job_id=self.id,
            node_id=failure.node_id,
            node_type=failure.node_type,
            error_code=failure.code,
            error_type=failure.type,
            traceback=failure.traceback,
        )

    async def progress_async(self) -> Progress:
        """How far the job is, node by node.

        Raises:
            JobNotFoundError: There is no such job (any more).
            BrokerUnavailableError: The broker cannot be reached.
        """
        record = (await self.refresh_async())._known
        nodes: dict[str, NodeProgress]
        if record.progress is None:
            nodes = {
                step: NodeProgress(state="pending", started_at=None, ended_at=None) for step in await self._steps()
            }
        else:
            nodes = {
                step: NodeProgress(state=state, started_at=moment(started), ended_at=moment(ended))
                for step, (state, started, ended) in record.progress.items()
            }
        done = sum(node["state"] in ("done", "failed", "skipped") for node in nodes.values())
        return Progress(status=record.status, nodes=nodes, done=done, total=len(nodes))

    async def _steps(self) -> list[str]:
        """Ids of the workflow's nodes, from what was enqueued."""
        client = await self._broker.client()
        async with self._broker.errors():
            data: Any = await client.hget(keys.job(self.id), "data")
        if data is None:
            return []
        payload = read_payload(data)
        if payload.document is not None:
            return [node["id"] for node in decode(payload.document)["nodes"]]
        if payload.name is not None and self._find_workflow is not None:
            return [step.id for step in self._find_workflow(payload.name).steps]
        return []

    async def cancel_async(self) -> bool:
        """Cancel the job: one that waits is not run, one that runs is interrupted and its end is not recorded.

        Returns:
            Whether it was canceled; False where it had ended before.

        Raises:
            JobNotFoundError: There is no such job (any more).
            BrokerUnavailableError: The broker cannot be reached.
        """
        answer = await self._broker.run(_CANCEL, [self.id, now_text(), CANCELED_TTL])
        if answer is None:
            raise JobNotFoundError(f"There is no job {self.id!r} at {self._broker.masked_url}.", job_id=self.id)
        status, worker = JobStatus(answer[0].decode()), answer[1].decode()
        if status.is_final:
            self._record, self._status = None, status
            return status is JobStatus.CANCELED
        if worker:
            client = await self._broker.client()
            command = msgspec.json.encode({"command": "stop-job", "job_id": self.id})
            async with self._broker.errors():
                await client.publish(keys.pubsub(worker), command)
        self._record, self._status = None, JobStatus.CANCELED
        return True

    # The same from synchronous code

    def refresh(self) -> Job:
        """``refresh_async`` from synchronous code."""
        return run_sync(self.refresh_async())

    def wait(self, timeout: float | None = None) -> Mapping[str, Any]:
        """``wait_async`` from synchronous code."""
        return run_sync(self.wait_async(timeout))

    def progress(self) -> Progress:
        """``progress_async`` from synchronous code."""
        return run_sync(self.progress_async())

    def cancel(self) -> bool:
        """``cancel_async`` from synchronous code."""
        return run_sync(self.cancel_async())
