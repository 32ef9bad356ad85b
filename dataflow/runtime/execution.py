"""Running a workflow: every node starts as soon as what feeds it is there.

The core that both runtimes and the worker call. A step that is alone runs in the caller's task; several ready ones
run as tasks of their own. After a failure nothing new starts and what runs is awaited, so that its effects are known
when the error is raised.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from dataflow.errors import DataFlowError, WorkflowExecutionError
from dataflow.nodes.interface import RunContext
from dataflow.nodes.ledger import RunRecord
from dataflow.nodes.registry import NodeCatalog
from dataflow.resilience import Deadline
from dataflow.runtime.graph import Graph, GraphStep, Source, graph_of
from dataflow.workflows import Workflow
from dataflow.workflows.paths import resolve_path

OnError = Literal["raise", "collect"]


class NodeState(StrEnum):
    """Where a node is in its run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class NodeEvent(NamedTuple):
    """A node changed its state.

    Attributes:
        node_id: The node.
        state: Its new state.
        time: When, as a Unix time.
    """

    node_id: str
    state: NodeState
    time: float

    @property
    def at(self) -> datetime:
        """When, aware UTC."""
        return datetime.fromtimestamp(self.time, UTC)


_NOTHING: Mapping[str, Any] = {}
_NEVER = datetime.min.replace(tzinfo=UTC)

#: The hex digit of a UUID that holds its variant, 10xx in bits, for each random one.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

#: Called synchronously at each change; it must be quick and not raise.
Observer = Callable[[NodeEvent], None]


def new_run_id() -> str:
    """A run id: a random UUID (version 4, RFC 9562) as text. Three times as fast as ``str(uuid.uuid4())``."""
    digits = os.urandom(16).hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


async def execute(
    workflow: Workflow,
    inputs: Mapping[str, Any] | None = None,
    *,
    catalog: NodeCatalog,
    run_id: str,
    tenant_id: str | None = None,
    timeout: float | None = None,
    on_error: OnError = "raise",
    max_concurrent_nodes: int = 10,
    observer: Observer | None = None,
    record: RunRecord | None = None,
) -> dict[str, Any]:
    """Run a workflow and return each node's output by node id (None for a node on a branch not taken).

    Args:
        workflow: What to run.
        inputs: Per node (``{"create": {"name": "x"}}``) or flat (``{"name": "x"}``, to every node that takes it).
        catalog: Where its node types are found.
        run_id: Id of this run.
        tenant_id: Whose rows the run is about, for multi-tenant models.
        timeout: Seconds; None is no limit.
        on_error: ``"raise"``, or ``"collect"`` to put failures into the results and go on with what does not depend
            on them.
        max_concurrent_nodes: Nodes that run at once, at most.
        observer: Told of every change of a node's state.
        record: What the run remembers of its effects, where they must happen once.

    Raises:
        WorkflowExecutionError: A node failed, and ``on_error`` is ``"raise"``.
        TimeoutError: The run took longer than ``timeout``; running statements were cancelled.
        InputError: An input goes nowhere.
    """
    run = _Run(graph_of(workflow, catalog), inputs, run_id, tenant_id, on_error, max_concurrent_nodes, observer, record)
    if timeout is None:
        return await run.go()
    deadline = Deadline(timeout)
    try:
        results = await run.go()
    except BaseException as error:
        if not (deadline.end() and isinstance(error, asyncio.CancelledError)):
            raise
        running = ", ".join(f"'{step_id}'" for step_id in sorted(run.running)) or "none"
        raise TimeoutError(
            f"Run {run_id} of workflow '{workflow.name}' exceeded its {timeout:g} s. Running then: {running}."
        ) from None
    deadline.end()
    return results


class _Run:
    """One execution."""

    __slots__ = (
        "collect", "failure", "flat", "graph", "inputs", "limit", "missing", "now", "observer", "record", "results",
        "run_id", "running", "tenant_id", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, Any] | None,
        run_id: str,
        tenant_id: str | None,
        on_error: OnError,
        limit: int,
        observer: Observer | None,
        record: RunRecord | None,
    ) -> None:
        self.graph = graph
        self.inputs, self.flat = graph.split_inputs(inputs) if inputs else ({}, {})
        self.run_id = run_id
        self.tenant_id = tenant_id
        self.collect = on_error == "collect"
        self.limit = limit
        self.observer = observer
        self.record = record
        #: When it started; only templates ask.
        self.now = datetime.now(UTC) if graph.has_templates else _NEVER
        self.results: dict[str, Any] = {}
        self.running: set[str] = set()
        #: Steps without a result: skipped ones, and failed ones where failures are collected.
        self.missing: set[str] = set()
        self.failure: WorkflowExecutionError | None = None
        self.waiting = dict(graph.waits)

    async def go(self) -> dict[str, Any]:
        steps = self.graph.steps
        ready = deque(self.graph.roots)
        tasks: set[asyncio.Task[GraphStep]] = set()
        try:
            while True:
                while ready and self.failure is None:
                    if len(ready) == 1 and not tasks:
                        self._release(await self._step(steps[ready.popleft()]), ready)
                    elif len(tasks) < self.limit:
                        tasks.add(asyncio.create_task(self._step(steps[ready.popleft()])))
                    else:
                        break
                if not tasks:
                    break
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._release(task.result(), ready)
        finally:
            if tasks:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        if self.failure is not None:
            self.failure.results = self.results
            raise self.failure
        return self.results

    def _release(self, step: GraphStep, ready: deque[str]) -> None:
        for dependent in step.dependents:
            self.waiting[dependent] -= 1
            if self.waiting[dependent] == 0:
                ready.append(dependent)

    async def _step(self, step: GraphStep) -> GraphStep:
        """Run one step and record its end. Only cancellation leaves here as an exception."""
        if step.depends_on and self._is_skipped(step):
            self.missing.add(step.id)
            self.results[step.id] = None
            self._tell(step.id, NodeState.SKIPPED)
            return step
        self.running.add(step.id)
        self._tell(step.id, NodeState.RUNNING)
        try:
            inputs = self._resolve(step)
            context = RunContext(self.run_id, step.id, self.tenant_id, self.record)
            if step.is_plain:
                self.results[step.id] = await step.node.run(inputs, context)
            else:
                self.results[step.id] = await _call(step, inputs, context)
        except Exception as error:  # a node may raise anything; it becomes the run's error, with its cause
            self._fail(step, error)
            state = NodeState.FAILED
        else:
            state = NodeState.DONE
        self.running.discard(step.id)
        self._tell(step.id, state)
        return step

    def _resolve(self, step: GraphStep) -> dict[str, Any]:
        """What the step's node is given: parameters, then run inputs, then connections."""
        inputs = {**step.params, **self.inputs.get(step.id, _NOTHING)}
        for template in step.templates:
            if template.parameter not in inputs:
                environment = self.graph.catalog.environment
                inputs[template.parameter] = template.evaluate(self.results, self.flat, self.now, environment)
        for feed in step.feeds:
            if feed.input and self._is_live(feed.source):
                inputs[feed.input] = resolve_path(self.results[feed.source.step], feed.path, feed.source.step)
        return inputs

    def _is_live(self, source: Source) -> bool:
        """Whether there is anything to use: the node ran, and took the branch."""
        if source.step in self.missing:
            return False
        return source.branch is None or source.branch in self.results[source.step]

    def _is_skipped(self, step: GraphStep) -> bool:
        fed = [self._is_live(feed.source) for feed in step.feeds]
        if step.node.spec.waits_for == "any" and fed:
            return not any(fed)
        return not (all(fed) and all(self._is_live(source) for source in step.reads))

    def _fail(self, step: GraphStep, error: Exception) -> None:
        code = error.code if isinstance(error, DataFlowError) else type(error).__name__
        if self.collect:
            self.missing.add(step.id)
            self.results[step.id] = {
                "error": str(error), "error_type": type(error).__name__, "error_code": code, "failed": True,
            }  # fmt: skip
            return
        if self.failure is not None:
            self.failure.add_note(f"Node '{step.id}' ({step.type}) failed as well: {error}")
            return
        failure = WorkflowExecutionError(
            f"Node '{step.id}' ({step.type}) failed: {error or type(error).__name__}",
            node_id=step.id,
            node_type=step.type,
            error_code=code,
            run_id=self.run_id,
        )
        failure.__cause__ = error
        self.failure = failure

    def _tell(self, node_id: str, state: NodeState) -> None:
        if self.observer is not None:
            self.observer(NodeEvent(node_id, state, time.time()))


async def _call(step: GraphStep, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
    """Run a step's node within its own time and tries."""
    scope = asyncio.timeout(step.timeout)
    try:
        async with scope:
            if step.retry is None:
                return await step.node.run(inputs, context)
            return await step.retry.call(lambda: step.node.run(inputs, context))
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise TimeoutError(f"It exceeded its {step.timeout:g} s.") from error
