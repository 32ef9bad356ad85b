"""Running workflows: the executor, the two in-process runtimes, and the event loop thread of the sync face."""

from dataflow.runtime.execution import NodeEvent, NodeState, execute, new_run_id
from dataflow.runtime.local import AsyncLocalRuntime, LocalRuntime

__all__ = ["AsyncLocalRuntime", "LocalRuntime", "NodeEvent", "NodeState", "execute", "new_run_id"]
