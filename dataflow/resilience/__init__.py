"""What keeps trouble small: retry policies, circuit breakers and deadlines."""

from dataflow.resilience.breaker import CircuitBreaker
from dataflow.resilience.breakers import Breakers
from dataflow.resilience.circuit import CircuitBreakerConfig, CircuitState
from dataflow.resilience.deadline import Deadline
from dataflow.resilience.handler import RetryConfig, RetryHandler
from dataflow.resilience.retry import RetryPolicy

__all__ = [
    "Breakers",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitState",
    "Deadline",
    "RetryConfig",
    "RetryHandler",
    "RetryPolicy",
]
