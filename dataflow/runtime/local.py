"""Running workflows in this process: AsyncLocalRuntime for async code, LocalRuntime for the rest."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from dataflow.errors import ConfigurationError, did_you_mean
from dataflow.loop_thread import run_sync
from dataflow.nodes import process_catalog
from dataflow.runtime.execution import Observer, OnError, execute, new_run_id
from dataflow.tenants import checked_tenant
from dataflow.workflows import Workflow, WorkflowBuilder

#: Seconds a run may take where nobody says otherwise.
DEFAULT_EXECUTION_TIMEOUT = 300.0

#: Options of the original's runtimes that mean nothing here: what they switch is always on, or does not exist.
_MEANINGLESS = frozenset(
    {
        "debug", "enable_cycles", "enable_async", "max_concurrency", "user_context", "enable_monitoring",
        "enable_security", "enable_audit", "resource_limits", "secret_provider", "connection_validation",
        "conditional_execution", "content_aware_success_detection", "persistent_mode", "enable_connection_sharing",
        "max_concurrent_workflows", "connection_pool_size", "enable_enterprise_monitoring", "enable_health_monitoring",
        "enable_resource_coordination", "resource_registry", "enable_analysis", "enable_profiling", "thread_pool_size",
    }
)  # fmt: skip
_warned: set[str] = set()

Results = dict[str, Any]


class AsyncLocalRuntime:
    """Runs workflows on the running event loop.

    Args:
        execution_timeout: Seconds a run may take; default ``DATAFLOW_EXECUTION_TIMEOUT``, else 300.
        max_concurrent_nodes: Nodes of one run that run at once, at most.
        on_error: ``"raise"`` (default) or ``"collect"``: put a failed node's error into the results, skip what depends
            on it, and go on with the rest.
        observer: Called with a NodeEvent at each change of a node's state.
        options: Options of the original that have no meaning here warn once; others are errors.

    Example:
        >>> runtime = AsyncLocalRuntime(execution_timeout=30)
        >>> results, run_id = await runtime.execute_workflow_async(workflow, inputs={"create": {"name": "Alice"}})
    """

    def __init__(
        self,
        *,
        execution_timeout: float | None = None,
        max_concurrent_nodes: int = 10,
        on_error: OnError = "raise",
        observer: Observer | None = None,
        **options: Any,
    ) -> None:
        _refuse_unknown(type(self).__name__, options)
        self.execution_timeout = _timeout(execution_timeout)
        if max_concurrent_nodes < 1:
            raise ConfigurationError(f"max_concurrent_nodes is at least 1, got {max_concurrent_nodes}.")
        self.max_concurrent_nodes = max_concurrent_nodes
        if on_error not in ("raise", "collect"):
            raise ConfigurationError(f"on_error is 'raise' or 'collect', got {on_error!r}.")
        self.on_error = on_error
        self.observer = observer

    async def execute_workflow_async(
        self,
        workflow: Workflow | WorkflowBuilder,
        inputs: Mapping[str, Any] | None = None,
        *,
        tenant_id: str | None = None,
    ) -> tuple[Results, str]:
        """Run a workflow.

        Args:
            workflow: A built workflow; a builder is built.
            inputs: Per node (``{"create": {"name": "x"}}``) or flat (``{"name": "x"}``). They override parameters.
            tenant_id: Whose rows of multi-tenant models the run reads and writes.

        Returns:
            ``(results, run_id)``: each node's output by node id, None for a node on a branch not taken.

        Raises:
            WorkflowExecutionError: A node failed.
            TimeoutError: The run took longer than ``execution_timeout``.
        """
        if isinstance(workflow, WorkflowBuilder):
            workflow = workflow.build()
        run_id = new_run_id()
        results = await execute(
            workflow,
            inputs,
            catalog=process_catalog,
            run_id=run_id,
            tenant_id=None if tenant_id is None else checked_tenant(tenant_id),
            timeout=self.execution_timeout,
            on_error=self.on_error,
            max_concurrent_nodes=self.max_concurrent_nodes,
            observer=self.observer,
        )
        return results, run_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A runtime holds nothing: connections belong to the DataFlow instances."""


class LocalRuntime:
    """Runs workflows from synchronous code: a script, a notebook, a thread of a web server.

    The work is done on one event loop thread per process, so that connection pools survive between calls. Takes the
    same options as AsyncLocalRuntime.

    Example:
        >>> results, run_id = LocalRuntime().execute(workflow)
    """

    def __init__(
        self,
        *,
        execution_timeout: float | None = None,
        max_concurrent_nodes: int = 10,
        on_error: OnError = "raise",
        observer: Observer | None = None,
        **options: Any,
    ) -> None:
        _refuse_unknown(type(self).__name__, options)
        self._runtime = AsyncLocalRuntime(
            execution_timeout=execution_timeout,
            max_concurrent_nodes=max_concurrent_nodes,
            on_error=on_error,
            observer=observer,
        )

    def execute(
        self,
        workflow: Workflow | WorkflowBuilder,
        parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        *,
        tenant_id: str | None = None,
    ) -> tuple[Results, str]:
        """Run a workflow and wait for it; ``parameters`` is the original's name of ``inputs``.

        Returns and raises what ``AsyncLocalRuntime.execute_workflow_async`` does.
        """
        given = {**(parameters or {}), **(inputs or {})}
        return run_sync(self._runtime.execute_workflow_async(workflow, given, tenant_id=tenant_id))

    def close(self) -> None:
        """Nothing to do: connections belong to the DataFlow instances."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _timeout(given: float | None) -> float:
    if given is None:
        text = os.environ.get("DATAFLOW_EXECUTION_TIMEOUT", "")
        try:
            given = float(text) if text else DEFAULT_EXECUTION_TIMEOUT
        except ValueError:
            raise ConfigurationError(f"DATAFLOW_EXECUTION_TIMEOUT is a number of seconds, got {text!r}.") from None
    if not given > 0:
        raise ConfigurationError(f"An execution timeout is more than 0 seconds, got {given!r}.")
    return given


def _refuse_unknown(runtime: str, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _MEANINGLESS:
            known = ("execution_timeout", "max_concurrent_nodes", "on_error", "observer")
            raise ConfigurationError(f"{runtime} has no option {name!r}.", hint=did_you_mean(name, known))
        if name not in _warned:
            _warned.add(name)
            warnings.warn(f"{runtime}: the option {name!r} has no meaning in DataFlow.", UserWarning, stacklevel=3)
