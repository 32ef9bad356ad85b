"""Names that the guides import from here."""

from dataflow.resilience import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    RetryConfig,
    RetryHandler,
)

__all__ = ["CircuitBreaker", "CircuitBreakerConfig", "CircuitState", "RetryConfig", "RetryHandler"]
