"""What makes a call survive trouble: retry policies now, circuit breakers and shared deadlines with the worker."""

from dataflow.resilience.retry import RetryPolicy

__all__ = ["RetryPolicy"]
