"""Job: a handle on a workflow in a queue."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from dataflow.errors import JobCanceledError, JobFailedError, JobNotFoundError
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.control import REQUEUED, insist_on_command, requeue, send_command
from dataflow.jobs.progress import WAIT_SLICE, JobEvent, NodeProgress, Progress, count_nodes, follow, nodes_of
from dataflow.jobs.record import JobFailure, JobRecord, JobStatus, read_record
from dataflow.jobs.scripts import LUA, Script
from dataflow.jobs.times import now_text
from dataflow.jobs.wire import read_payload
from dataflow.loop_thread import run_sync
from dataflow.workflows import Workflow
from dataflow.workflows.codec import decode

_CANCEL = Script(LUA / "cancel.lua", LUA / "cancel_job.lua")

#: Seconds that a canceled job is kept where it does not say: RQ's year.
CANCELED_TTL = 31_536_000


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
    def result(self) -> Any:
        """What an actor's function returned; None until the job has finished.

        Raises:
            InputError: The job's workflow has several nodes, or one that is no actor.
        """
        return self._known.result

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
    def ordering_key(self) -> str | None:
        """The key whose jobs run one at a time; a ``deferred`` job with one may wait for its turn."""
        return self._known.ordering_key

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
        nodes = nodes_of(record)
        if record.progress is None:
            nodes = {
                step: NodeProgress(state="pending", started_at=None, ended_at=None) for step in await self._steps()
            }
        return count_nodes(record.status, nodes)

    def events_async(self, timeout: float | None = None) -> AsyncGenerator[JobEvent, None]:
        """What happens to the job, as it happens: each status, and each node that begins or ends, up to the job's end.

        What happened before is told first. Nodes are told at most ten times a second: one that began and ended in
        between is told once, with its end. A job that is tried again begins anew.

        Args:
            timeout: Seconds until the job must have ended; None waits for ever.

        Raises:
            JobNotFoundError: There is no such job (any more).
            TimeoutError: It has not ended in time.
            BrokerUnavailableError: The broker cannot be reached.

        Example:
            >>> async for event in job.events_async():
            ...     print(event.node_id or "job", event.state or event.status)
        """
        return follow(self._broker, self.id, timeout)

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
            # Where it does not listen, its next heartbeat tells it that the job is no longer its own.
            await send_command(self._broker, worker, "stop-job", job_id=self.id)
        self._record, self._status = None, JobStatus.CANCELED
        return True

    async def stop_async(self) -> bool:
        """Stop the job if it runs: its statement is cancelled in the database, and it ends as ``stopped``.

        Returns:
            Whether it ran and its worker was told; ``wait_async`` tells when it has ended.

        Raises:
            JobNotFoundError: There is no such job (any more).
            JobError: Its worker does not listen.
            BrokerUnavailableError: The broker cannot be reached.
        """
        record = (await self.refresh_async())._known
        if record.status is not JobStatus.STARTED or record.worker_name is None:
            return False
        await insist_on_command(self._broker, record.worker_name, "stop-job", job_id=self.id)
        return True

    async def requeue_async(self) -> bool:
        """Queue the job again if it failed, was stopped or canceled; its retries are not renewed.

        Returns:
            Whether it was queued; False where it has not ended, or has finished.

        Raises:
            JobNotFoundError: There is no such job (any more).
            BrokerUnavailableError: The broker cannot be reached.
        """
        before = (await requeue(self._broker, [self.id]))[self.id]
        if before is None:
            raise JobNotFoundError(f"There is no job {self.id!r} at {self._broker.masked_url}.", job_id=self.id)
        self._record, self._status = None, None
        return before in REQUEUED

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

    def events(self, timeout: float | None = None) -> Iterator[JobEvent]:
        """``events_async`` from synchronous code."""
        stream = self.events_async(timeout)
        try:
            while (event := run_sync(_next(stream))) is not None:
                yield event
        finally:
            run_sync(stream.aclose())

    def stop(self) -> bool:
        """``stop_async`` from synchronous code."""
        return run_sync(self.stop_async())

    def requeue(self) -> bool:
        """``requeue_async`` from synchronous code."""
        return run_sync(self.requeue_async())


async def _next(stream: AsyncGenerator[JobEvent, None]) -> JobEvent | None:
    return await anext(stream, None)
