"""Retry policy: exponential backoff with full jitter, for errors that a second try can mend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from dataflow.errors import DatabaseUnavailableError, InputError, TransientDatabaseError, did_you_mean

Result = TypeVar("Result")

#: Errors after which the same node may succeed. They leave nothing behind, except that a connection may be lost between
#: a commit and its answer.
TRANSIENT = (TransientDatabaseError, DatabaseUnavailableError)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how long apart, a call is tried.

    The pause before try n+1 is random between 0 and ``min(max_delay, base_delay * multiplier**n)`` seconds ("full
    jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that many callers that
    failed together do not come back together.

    Attributes:
        max_attempts: Tries in all.
        base_delay: Seconds.
        max_delay: Seconds.
        multiplier: Growth of the longest pause from try to try.
    """

    max_attempts: int = 3
    base_delay: float = 0.1
    max_delay: float = 5.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.base_delay < 0 or self.max_delay < 0 or self.multiplier < 1:
            raise InputError("A retry policy has max_attempts >= 1, delays >= 0 and multiplier >= 1.")

    @classmethod
    def of(cls, value: int | Mapping[str, Any] | RetryPolicy | None) -> RetryPolicy | None:
        """A policy from what people write: a number of tries, a dict of its attributes, or a policy.

        Raises:
            InputError: An attribute is unknown or out of range.
        """
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, int):
            return cls(max_attempts=value)
        known = [item.name for item in fields(cls)]
        if not isinstance(value, Mapping):
            raise InputError(f"retry is a number of tries or a dict with {', '.join(known)}, not {value!r}.")
        for name in value:
            if name not in known:
                raise InputError(f"A retry policy has no {name!r}.", hint=did_you_mean(name, known))
        return cls(**value)

    async def call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Await ``function()``, again after each transient error until the tries are used up; then that error."""
        # Most programs never retry here; the first that does imports tenacity.
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        tries = AsyncRetrying(
            stop=stop_after_attempt(self.max_attempts),
            wait=wait_random_exponential(multiplier=self.base_delay, max=self.max_delay, exp_base=self.multiplier),
            retry=retry_if_exception_type(TRANSIENT),
            reraise=True,
        )
        async for attempt in tries:
            with attempt:
                return await function()
        raise AssertionError("tenacity ends with a result or an error")
