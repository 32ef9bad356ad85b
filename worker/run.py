"""Runner: runs claimed jobs, each as a task, and hands over how they ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from dataflow.databases.guarded import OUTAGES
from dataflow.errors import BreakerOpenError, InputError, PayloadError, WorkflowError, WorkflowExecutionError
from dataflow.jobs.backoff import read_backoff
from dataflow.nodes.current import CurrentJob, running_job
from dataflow.nodes.threads import CodeThreads, code_threads
from dataflow.resilience.classes import cause_of
from dataflow.runtime.execution import NodeEvent, NodeState, execute
from dataflow.schedules.ids import due_of
from dataflow.workflows import Workflow
from worker.admission import Admission
from worker.catalog import Served
from worker.deliveries import Deliveries, Delivery, Reason
from worker.effects import record_of
from worker.gate import Gate, NotNowError
from worker.options import WorkerOptions
from worker.outcome import Outcome, done, failure, not_begun, stopped, waiting
from worker.progress import Reports
from worker.suspects import Suspects

logger = logging.getLogger("dataflow.worker")

#: What the log says of how a job ended.
_VERBS = {"retry": "failed and is tried again", "defer": "waits", "outage": "waits"}
#: Seconds that a job waits, at least, when a database went away beneath it.
OUTAGE_PAUSE = 1.0


class Runner:
    """Runs claimed jobs.

    Args:
        admission: What a job must prove first.
        served: What may be run.
        options: The worker's.
        gate: Says whether a job may run now.
        deliveries: Those held.
        suspects: Watches jobs that a worker died with.
        report: Told how each ended.
        progressed: Told when a node of one begins or ends.
        threads: Where synchronous code of users runs.
    """

    def __init__(
        self,
        admission: Admission,
        served: Served,
        options: WorkerOptions,
        gate: Gate,
        deliveries: Deliveries,
        suspects: Suspects,
        report: Callable[[Outcome], None],
        progressed: Callable[[Delivery], None],
        threads: CodeThreads,
    ) -> None:
        self._admission = admission
        self._served = served
        self._options = options
        self._gate = gate
        self._deliveries = deliveries
        self._suspects = suspects
        self._report = report
        self._progressed = progressed
        self._threads = threads
        self._reports = Reports(progressed)

    def begin(self, delivery: Delivery) -> None:
        """Start a job."""
        self._deliveries.add(delivery)
        run = self._run_watched if "x_deliveries" in delivery.options else self._run
        delivery.task = asyncio.create_task(run(delivery))
        # Not part of the task: one that is cancelled before its first step never runs at all.
        delivery.task.add_done_callback(lambda task: self._ended(delivery, task))

    def _ended(self, delivery: Delivery, task: asyncio.Task[Outcome]) -> None:
        outcome = _interrupted(delivery) if task.cancelled() else task.result()
        # Task, outcome and delivery would hold each other, and jobs pile up until the garbage collector comes by.
        delivery.task = None
        self._deliveries.ended(delivery)
        if outcome is None:
            self._deliveries.confirm(delivery)
        else:
            self._report(outcome)

    async def _run_watched(self, delivery: Delivery) -> Outcome:
        if delivery.turn is not None:
            await delivery.turn  # it has not begun before, and a death does not count against it
        async with self._suspects.watched(delivery):
            return await self._run(delivery)

    async def _run(self, delivery: Delivery) -> Outcome:
        if delivery.turn is not None:
            await delivery.turn
        delivery.started = time.time()
        # These are of the job's own task, so there is nothing to undo.
        code_threads.set(self._threads)
        try:
            workflow, inputs, tenant_id = self._read(delivery)
        except (PayloadError, WorkflowError, InputError) as error:
            logger.error("Job %s cannot be run: %s", delivery.job_id, error)  # noqa: TRY400 - the trace is ours
            return failure(delivery, error, may_retry=False)
        running_job.set(self._current(delivery))
        seconds = delivery.number("timeout", self._options.default_timeout)
        try:
            guards = self._served.guards(workflow)
            turns = await self._gate.enter(guards) if guards else ()
            try:
                results = await execute(
                    workflow,
                    inputs,
                    catalog=self._served.catalog,
                    run_id=delivery.job_id,
                    tenant_id=tenant_id,
                    timeout=seconds if seconds > 0 else None,
                    observer=lambda event: self._observe(delivery, event),
                    record=delivery.record,
                )
            finally:
                self._gate.leave(turns)
            return done(delivery, results)
        except NotNowError as error:
            return not_begun(delivery, error, self._gate.delay(error.what, error.wait))
        except (WorkflowExecutionError, TimeoutError) as error:
            outcome = self._waits(delivery, error) or failure(delivery, error, may_retry=True)
            logger.warning("Job %s %s: %s", delivery.job_id, _verb(outcome), error)
        except (PayloadError, InputError) as error:
            outcome = failure(delivery, error, may_retry=False)
            logger.warning("Job %s failed: %s", delivery.job_id, error)
        except (Exception, SystemExit) as error:  # whatever a job does, the worker goes on
            outcome = failure(delivery, error, may_retry=True)
            logger.exception("Job %s %s.", delivery.job_id, _verb(outcome))
        return outcome

    def _read(self, delivery: Delivery) -> tuple[Workflow, dict[str, object], str | None]:
        payload = self._admission.read(delivery)
        read_backoff(delivery.options.get("x_retry"))  # a job that cannot be tried again as it says is not begun
        workflow = self._served.workflow(payload)
        if payload.exactly_once and workflow.exactly_once:
            delivery.record = record_of(delivery)
        delivery.workflow = payload.name or workflow.name
        delivery.progress = {step.id: ["pending", None, None] for step in workflow.steps}
        return workflow, dict(payload.inputs), payload.tenant_id

    def _waits(self, delivery: Delivery, error: BaseException) -> Outcome | None:
        """The outcome of a job that could not go on because a dependency is away; None of any other."""
        cause = cause_of(error)
        if isinstance(cause, BreakerOpenError):
            delay = self._gate.delay(str(cause.context.get("breaker")), cause.retry_after)
            return waiting(delivery, error, delay)
        if isinstance(cause, OUTAGES):
            if cause.context.get("unreached"):
                return waiting(delivery, error, OUTAGE_PAUSE)
            # What happened while the job ran may be the job's own doing, so there is a limit.
            if delivery.number("x_outages", 0) < self._options.max_outages:
                return waiting(delivery, error, OUTAGE_PAUSE, outage=True)
        return None

    def _observe(self, delivery: Delivery, event: NodeEvent) -> None:
        node = delivery.progress[event.node_id]
        node[0] = event.state
        node[1 if event.state is NodeState.RUNNING else 2] = event.time
        self._progressed(delivery)

    def _current(self, delivery: Delivery) -> CurrentJob:
        key = delivery.options.get("x_ordering_key", b"").decode(errors="replace")
        left = delivery.number("retries_left", 0)
        schedule, due = None, None
        if of := delivery.options.get("x_schedule", b"").decode(errors="replace"):
            schedule, due = of.rpartition(":")[2], due_of(delivery.job_id)
        report = self._reports.of(delivery)
        return CurrentJob(delivery.job_id, delivery.queue, key or None, left, schedule, due, report)


def _interrupted(delivery: Delivery) -> Outcome | None:
    if delivery.interrupted is Reason.STOPPED:
        return stopped(delivery)
    # With an ordering key word is given in any case: where it was canceled, the next of the key waits for it to stop.
    if delivery.interrupted is Reason.LOST and "x_ordering_key" not in delivery.options:
        return None
    return Outcome("back", delivery)


def _verb(outcome: Outcome) -> str:
    return _VERBS.get(outcome.kind, "failed")
