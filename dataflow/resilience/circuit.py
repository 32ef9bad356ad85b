"""What is said of a circuit breaker: its states, its config, its metrics, and where several of them meet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypedDict

from dataflow.errors import InputError


class CircuitState(StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """When a breaker opens and closes.

    Attributes:
        failure_threshold: Failures in a row that open it.
        success_threshold: Probes in a row that must succeed before it closes.
        timeout: Seconds after which an open one lets a probe through.
    """

    failure_threshold: int = 5
    success_threshold: int = 2
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.failure_threshold < 1 or self.success_threshold < 1 or self.timeout <= 0:
            raise InputError("A circuit breaker has thresholds >= 1 and a timeout > 0.")


class BreakerMetrics(TypedDict):
    """State of a breaker. ``failure_count`` and ``success_count`` are those in a row that the next step depends on."""

    name: str
    state: str
    failure_count: int
    success_count: int
    state_changes: int
    rejected_requests: int
    retry_after: float


class BreakerStore(Protocol):
    """Where breakers of one name, in several processes, meet. Times are seconds from now.

    Each method may raise BrokerUnavailableError; the breaker then goes by what its own process knows.
    """

    async def open(self, name: str, seconds: float) -> None:
        """Nobody calls for so long."""
        ...

    async def probe(self, name: str, seconds: float) -> float | None:
        """Ask to probe: 0 if the caller may, and nobody else for ``seconds``; else how long to wait; None: not open."""
        ...

    async def close(self, name: str) -> None:
        """All may call."""
        ...

    async def look(self, name: str) -> float | None:
        """Seconds until somebody may probe, 0 or more; None: not open."""
        ...
