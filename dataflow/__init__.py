"""DataFlow: models become workflow nodes, workflows run here or in workers, on PostgreSQL, MySQL and SQLite."""

from dataflow.app import DataFlow
from dataflow.errors import DataFlowError, WorkflowExecutionError, WorkflowValidationError
from dataflow.jobs import Job, JobQueue
from dataflow.models import Field
from dataflow.nodes import BaseDataFlowNode
from dataflow.nodes.current import current_job, current_run
from dataflow.resilience import RetryPolicy
from dataflow.runtime import AsyncLocalRuntime, LocalRuntime
from dataflow.workflows import Workflow, WorkflowBuilder

__version__ = "0.1.0"

__all__ = [
    "AsyncLocalRuntime",
    "BaseDataFlowNode",
    "DataFlow",
    "DataFlowError",
    "Field",
    "Job",
    "JobQueue",
    "LocalRuntime",
    "RetryPolicy",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowExecutionError",
    "WorkflowValidationError",
    "__version__",
    "current_job",
    "current_run",
]
