"""Runner: runs claimed jobs, each as a task, and hands over how they ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from dataflow.errors import InputError, PayloadError, WorkflowError, WorkflowExecutionError
from dataflow.jobs.requests import DEFAULT_TIMEOUT
from dataflow.jobs.wire import read_payload
from dataflow.runtime.execution import NodeEvent, NodeState, execute
from dataflow.workflows import Workflow
from worker.catalog import Served
from worker.deliveries import Deliveries, Delivery, Reason
from worker.outcome import Outcome, done, failure, stopped

logger = logging.getLogger("dataflow.worker")

#: Options that RQ's producers can set and that this version does not carry out.
UNSUPPORTED = {
    "success_callback_name": "callbacks",
    "failure_callback_name": "callbacks",
    "stopped_callback_name": "callbacks",
    "repeats_left": "repetition",
    "webhooks": "webhooks",
    "rate_limit_key": "rate limits",
}
#: Fields of a job that a claim reads besides its data.
FIELDS = (
    "timeout", "result_ttl", "failure_ttl", "retries_left", "retry_intervals", "enqueue_at_front_on_retry",
    *UNSUPPORTED,
)  # fmt: skip


class Runner:
    """Runs claimed jobs.

    Args:
        served: What may be run.
        deliveries: Those held.
        report: Told how each ended.
        progressed: Told when a node of one begins or ends.
    """

    def __init__(
        self,
        served: Served,
        deliveries: Deliveries,
        report: Callable[[Outcome], None],
        progressed: Callable[[Delivery], None],
    ) -> None:
        self._served = served
        self._deliveries = deliveries
        self._report = report
        self._progressed = progressed

    def begin(self, delivery: Delivery) -> None:
        """Start a job."""
        self._deliveries.add(delivery)
        delivery.task = asyncio.create_task(self._run(delivery))
        # Not part of the task: one that is cancelled before its first step never runs at all.
        delivery.task.add_done_callback(lambda task: self._ended(delivery, task))

    def _ended(self, delivery: Delivery, task: asyncio.Task[Outcome]) -> None:
        outcome = _interrupted(delivery) if task.cancelled() else task.result()
        self._deliveries.ended()
        if outcome is None:
            self._deliveries.confirm(delivery)
        else:
            self._report(outcome)

    async def _run(self, delivery: Delivery) -> Outcome:
        delivery.started = time.time()
        try:
            workflow, inputs = self._read(delivery)
        except (PayloadError, WorkflowError, InputError) as error:
            logger.error("Job %s cannot be run: %s", delivery.job_id, error)  # noqa: TRY400 - the trace is ours
            return failure(delivery, error, may_retry=False)
        seconds = delivery.number("timeout", DEFAULT_TIMEOUT)
        try:
            results = await execute(
                workflow,
                inputs,
                catalog=self._served.catalog,
                run_id=delivery.job_id,
                timeout=seconds if seconds > 0 else None,
                observer=lambda event: self._observe(delivery, event),
            )
            return done(delivery, results)
        except (WorkflowExecutionError, TimeoutError) as error:
            outcome = failure(delivery, error, may_retry=True)
            logger.warning("Job %s %s: %s", delivery.job_id, _verb(outcome), error)
        except (PayloadError, InputError) as error:
            outcome = failure(delivery, error, may_retry=False)
            logger.warning("Job %s failed: %s", delivery.job_id, error)
        except (Exception, SystemExit) as error:  # whatever a job does, the worker goes on
            outcome = failure(delivery, error, may_retry=True)
            logger.exception("Job %s %s.", delivery.job_id, _verb(outcome))
        return outcome

    def _read(self, delivery: Delivery) -> tuple[Workflow, dict[str, object]]:
        payload = read_payload(delivery.data)
        delivery.data = b""  # it may be large, and is not needed again
        for name, what in UNSUPPORTED.items():
            if name in delivery.options:
                raise PayloadError(f"The job asks for {what} ({name}), which this version does not have.")
        workflow = self._served.workflow(payload)
        delivery.progress = {step.id: ["pending", None, None] for step in workflow.steps}
        return workflow, dict(payload.inputs)

    def _observe(self, delivery: Delivery, event: NodeEvent) -> None:
        at = event.at.timestamp()
        node = delivery.progress[event.node_id]
        node[0] = event.state.value
        if event.state is NodeState.RUNNING:
            node[1] = at
        else:
            node[2] = at
        self._progressed(delivery)


def _interrupted(delivery: Delivery) -> Outcome | None:
    if delivery.interrupted is Reason.STOPPED:
        return stopped(delivery)
    if delivery.interrupted is Reason.LOST:
        return None
    return Outcome("back", delivery)


def _verb(outcome: Outcome) -> str:
    return "failed and is tried again" if outcome.kind == "retry" else "failed"
