"""JobQueue: where jobs are enqueued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dataflow.errors import DuplicateJobError, InputError, did_you_mean
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.job import Job
from dataflow.jobs.packing import DEFAULT_LIMITS, PayloadLimits
from dataflow.jobs.requests import EnqueueRequest, RetryLike
from dataflow.jobs.scripts import LUA, Argument, Script
from dataflow.jobs.signatures import SigningKeys
from dataflow.jobs.times import now_text
from dataflow.jobs.wire import payload_of
from dataflow.loop_thread import run_sync
from dataflow.workflows import Workflow, WorkflowBuilder

_ENQUEUE = Script(LUA / "enqueue.lua", LUA / "put_job.lua")

#: Jobs sent in one call: enough to make round trips cheap, few enough to leave the server to others in between.
CHUNK = 500
#: Bytes sent in one call, about.
CHUNK_BYTES = 4 * 1024 * 1024


class JobQueue:
    """A queue of jobs, kept as an RQ queue of the same name.

    Args:
        name: Its name.
        broker: Where it lives.
        find_workflow: Gives a registered workflow by name, and raises for one that is unknown; without it any name is
            accepted, and the worker decides.
        default_timeout: Seconds a job may run where it does not say, -1 for no limit; None leaves it to the worker.
        signing_keys: Sign jobs with these.
        limits: Bytes that a payload may have.

    Example:
        >>> queue = db.queue("default")
        >>> job = queue.enqueue(workflow, inputs={"create": {"name": "Alice"}}, retry=3)
        >>> job.wait(timeout=60)["create"]["id"]
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        find_workflow: Callable[[str], Workflow] | None = None,
        *,
        default_timeout: float | None = None,
        signing_keys: SigningKeys | None = None,
        limits: PayloadLimits = DEFAULT_LIMITS,
    ) -> None:
        if not name or "," in name:
            raise InputError(f"The queue name {name!r} cannot be used.", hint="Give a word without commas.")
        self.name = name
        self.broker = broker
        if default_timeout is not None and default_timeout != -1 and not default_timeout > 0:
            raise InputError(f"default_timeout is a positive number of seconds, or -1, got {default_timeout!r}.")
        self.default_timeout = default_timeout
        self._find_workflow = find_workflow
        self._signing_keys = signing_keys
        self._limits = limits

    def __repr__(self) -> str:
        return f"JobQueue({self.name!r}, {self.broker.masked_url})"

    async def enqueue_async(
        self,
        workflow: Workflow | WorkflowBuilder | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        tenant_id: str | None = None,
        job_id: str | None = None,
        unique: bool = False,
        timeout: float | None = None,
        retry: int | Mapping[str, Any] | RetryLike | None = None,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
        depends_on: Job | str | Iterable[Job | str] | None = None,
        allow_dependency_failures: bool = False,
        ordering_key: str | None = None,
        at_front: bool = False,
        result_ttl: int | None = None,
        failure_ttl: int | None = None,
        meta: Mapping[str, Any] | None = None,
        exactly_once: bool = True,
    ) -> Job:
        """Enqueue one job, in one round trip. The parameters are those of EnqueueRequest.

        Raises:
            DuplicateJobError: ``unique`` was asked for, and the id exists.
            NodeNotFoundError: No workflow is registered under the name.
            InputError: An option or an input cannot be used.
            BrokerUnavailableError: The broker cannot be reached.
        """
        request = EnqueueRequest(
            workflow=workflow,
            inputs=inputs,
            tenant_id=tenant_id,
            job_id=job_id,
            unique=unique,
            timeout=timeout,
            retry=retry,
            delay=delay,
            at=at,
            depends_on=depends_on,
            allow_dependency_failures=allow_dependency_failures,
            ordering_key=ordering_key,
            at_front=at_front,
            result_ttl=result_ttl,
            failure_ttl=failure_ttl,
            meta=meta,
            exactly_once=exactly_once,
        )
        return (await self.enqueue_many_async([request]))[0]

    async def enqueue_many_async(self, requests: Iterable[EnqueueRequest | Mapping[str, Any]]) -> list[Job]:
        """Enqueue many jobs, in chunks of one round trip each.

        Args:
            requests: EnqueueRequests, or dicts of their arguments (``{"workflow": …, "inputs": …}``).

        Returns:
            The jobs, in the same order.

        Raises:
            DuplicateJobError: Ids of ``unique`` requests exist; all others were enqueued, and ``context["jobs"]`` holds
                the ids of these.
            InputError: A request cannot be used; chunks before it were enqueued.
            BrokerUnavailableError: The broker cannot be reached.
        """
        jobs: list[Job] = []
        duplicates: list[str] = []
        chunk: list[Argument] = []
        ids: list[str] = []
        size = 0
        at = now_text()
        for item in requests:
            job_id, arguments = self.arguments(item, at)
            ids.append(job_id)
            chunk += arguments
            size += max(len(part) for part in arguments if isinstance(part, bytes))
            if len(ids) >= CHUNK or size >= CHUNK_BYTES:
                await self._send(ids, chunk, at, jobs, duplicates)
                chunk, ids, size, at = [], [], 0, now_text()
        if ids:
            await self._send(ids, chunk, at, jobs, duplicates)
        if duplicates:
            raise DuplicateJobError(
                f"{len(duplicates)} job id(s) exist already: {', '.join(duplicates[:5])}.",
                hint="Use another job_id, or leave out unique=True to replace the waiting job.",
                duplicates=duplicates,
                jobs=[job.id for job in jobs],
            )
        return jobs

    def arguments(
        self,
        item: EnqueueRequest | Mapping[str, Any],
        at: str,
        *,
        schedule: str | None = None,
        due: float | None = None,
    ) -> tuple[str, list[Argument]]:
        """A job's id, and the arguments of ``put_job.lua`` that enqueue it.

        Args:
            item: The job.
            at: Text of now.
            schedule: ``OWNER:NAME`` of the schedule that it is of.
            due: Unix time of the tick that it is of.

        Raises:
            NodeNotFoundError: No workflow is registered under the name.
            InputError: An option or an input cannot be used.
        """
        request = item if isinstance(item, EnqueueRequest) else _request_of(item)
        request.check()
        workflow = request.workflow
        if isinstance(workflow, WorkflowBuilder):
            workflow = workflow.build()
        if isinstance(workflow, str):
            if self._find_workflow is not None:
                self._find_workflow(workflow)
            description = f"workflow {workflow}"
        elif isinstance(workflow, Workflow):
            description = f"workflow {workflow.name}"
        else:
            raise InputError(
                f"A queue takes a Workflow, a WorkflowBuilder or the name of a registered workflow, "
                f"got {type(workflow).__name__}."
            )
        payload = payload_of(workflow, dict(request.inputs or {}), request.tenant_id, exactly_once=request.exactly_once)
        return request.arguments(
            self.name,
            payload,
            description,
            self.default_timeout,
            at,
            signing_keys=self._signing_keys,
            limits=self._limits,
            schedule=schedule,
            due=due,
        )

    async def _send(
        self, ids: Sequence[str], arguments: Sequence[Argument], at: str, jobs: list[Job], duplicates: list[str]
    ) -> None:
        outcome = await self.broker.run(_ENQUEUE, [at, *arguments])
        for job_id, status in zip(ids, outcome, strict=True):
            if status == b"duplicate":
                duplicates.append(job_id)
            else:
                jobs.append(Job(job_id, self.broker, self._find_workflow, status=status.decode()))

    def enqueue(
        self, workflow: Workflow | WorkflowBuilder | str, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> Job:
        """``enqueue_async`` from synchronous code; the same parameters and errors."""
        return run_sync(self.enqueue_async(workflow, inputs, **options))

    def enqueue_many(self, requests: Iterable[EnqueueRequest | Mapping[str, Any]]) -> list[Job]:
        """``enqueue_many_async`` from synchronous code."""
        return run_sync(self.enqueue_many_async(requests))

    async def count_async(self) -> int:
        """Jobs that wait in the queue."""
        client = await self.broker.client()
        async with self.broker.errors():
            return int(await client.llen(keys.queue(self.name)))

    def count(self) -> int:
        """``count_async`` from synchronous code."""
        return run_sync(self.count_async())


def _request_of(options: Mapping[str, Any]) -> EnqueueRequest:
    known = EnqueueRequest.__dataclass_fields__
    for name in options:
        if name not in known:
            raise InputError(f"A job has no option {name!r}.", hint=did_you_mean(name, known))
    if "workflow" not in options:
        raise InputError("A job needs a 'workflow'.")
    return EnqueueRequest(**options)
