"""RetryConfig, RetryHandler: the guides' way to repeat a call of one's own. Nodes and jobs have ``retry``."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from dataflow.errors import BreakerOpenError, InputError

if TYPE_CHECKING:
    from tenacity import RetryCallState


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How often, and how long apart, a call is tried.

    Attributes:
        max_attempts: Tries in all.
        base_delay: Seconds before the second.
        max_delay: Seconds, at most.
        multiplier: Growth of the pause from try to try.
        jitter: The part of a pause that is random: with 0.5 it lasts 50 to 100 %, with 1 anything from nothing.
    """

    max_attempts: int = 3
    base_delay: float = 0.1
    max_delay: float = 5.0
    multiplier: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.base_delay < 0 or self.max_delay < 0 or self.multiplier < 1:
            raise InputError("A retry config has max_attempts >= 1, delays >= 0 and multiplier >= 1.")
        if not 0 <= self.jitter <= 1:
            raise InputError(f"jitter is from 0 to 1, got {self.jitter!r}.")

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures, from 1."""
        # A power beyond the range of floats is beyond every limit.
        growth = self.multiplier ** min(failures - 1, 64)
        return min(self.max_delay, self.base_delay * growth) * (1 - self.jitter * random.random())


class RetryMetrics(TypedDict):
    """Counts of a handler: calls of the function, and how executions ended."""

    total_attempts: int
    total_successes: int
    total_failures: int


class RetryHandler:
    """Repeats calls that raise. Every exception is worth another try, except an open breaker's.

    Args:
        config: How often, and how long apart.

    Example:
        >>> handler = RetryHandler(RetryConfig(max_attempts=3))
        >>> answer = await handler.execute_with_retry(ask, "question")
    """

    def __init__(self, config: RetryConfig | None = None) -> None:
        self.config = config or RetryConfig()
        self._attempts = self._successes = self._failures = 0

    async def execute_with_retry(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function until it raises nothing or the tries are used up; then raises what it raised last."""
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        def pause(state: RetryCallState) -> float:
            return self.config.delay(state.attempt_number)

        async def attempt() -> Any:
            self._attempts += 1
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        tries = AsyncRetrying(
            stop=stop_after_attempt(self.config.max_attempts),
            wait=pause,
            retry=retry_if_exception(lambda e: isinstance(e, Exception) and not isinstance(e, BreakerOpenError)),
            reraise=True,
        )
        try:
            result: Any = await tries(attempt)
        except Exception:
            self._failures += 1
            raise
        self._successes += 1
        return result

    def get_metrics(self) -> RetryMetrics:
        """Its counts."""
        return RetryMetrics(
            total_attempts=self._attempts, total_successes=self._successes, total_failures=self._failures
        )
