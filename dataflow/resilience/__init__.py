"""What keeps trouble small: retry policies and deadlines."""

from dataflow.resilience.deadline import Deadline
from dataflow.resilience.retry import RetryPolicy

__all__ = ["Deadline", "RetryPolicy"]
