"""Circuit breaker: stops calling what does not answer, and finds out with single probes when it does again.

    closed ──failure_threshold failures in a row──▶ open ──timeout──▶ half_open ──success_threshold probes──▶ closed
                                                     ▲                    │
                                                     └──a probe failed────┘

While it is closed and the last call succeeded, ``troubled`` is False and nothing needs to be asked or told: that is all
a call costs then. One breaker may be used from several event loops and threads.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dataflow.errors import BreakerOpenError, BrokerUnavailableError
from dataflow.resilience.circuit import BreakerMetrics, BreakerStore, CircuitBreakerConfig, CircuitState

#: Seconds that its store gets to answer; calls that fail, and probes, wait for it.
STORE_SECONDS = 1.0
#: Seconds after which a call that was refused during a probe may ask again, at most: probes are short.
PROBE_PAUSE = 1.0


class CircuitBreaker:
    """Guards calls to one dependency.

    Args:
        config: When it opens and closes.
        name: What it guards, for messages, metrics and the store.
        failures: Exceptions that count as failures; with any other the dependency has answered.
        store: Shares its state with breakers of the same name; None keeps it in this process.
        clock: Seconds that only grow.

    Example:
        >>> breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=5, timeout=60.0), name="payments")
        >>> receipt = await breaker.execute(charge, order)
    """

    def __init__(
        self,
        config: CircuitBreakerConfig | None = None,
        *,
        name: str = "",
        failures: tuple[type[Exception], ...] = (Exception,),
        store: BreakerStore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or CircuitBreakerConfig()
        self.name = name
        #: Whether calls must ``enter`` and ``leave``: it is not closed, or the last call failed.
        self.troubled = False
        self._failures = failures
        self._store = store
        self._clock = clock
        self._changing = threading.Lock()
        self._state = CircuitState.CLOSED
        #: While not closed, the time from which one call may go through.
        self._until = 0.0
        self._failed = 0
        self._succeeded = 0
        self._changes = 0
        self._rejected = 0
        #: Number of the probe that counts; those before it took too long.
        self._probe = 0
        #: The store knows that it is open.
        self._published = False
        #: Won the right to probe from the store, and goes on until the breaker closes or opens.
        self._leads = False

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r}, {self._state})"

    @property
    def state(self) -> CircuitState:
        """Where it is. An open one stays so after its timeout, until a call comes to probe."""
        return self._state

    @property
    def is_shared(self) -> bool:
        """Whether it has a store."""
        return self._store is not None

    @property
    def retry_after(self) -> float:
        """Seconds until a call may go through; 0 if one may now."""
        if self._state is CircuitState.CLOSED:
            return 0.0
        left = max(0.0, self._until - self._clock())
        return min(left, PROBE_PAUSE) if self._state is CircuitState.HALF_OPEN else left

    def metrics(self) -> BreakerMetrics:
        """Its state as data."""
        return BreakerMetrics(
            name=self.name,
            state=self._state.value,
            failure_count=self._failed,
            success_count=self._succeeded,
            state_changes=self._changes,
            rejected_requests=self._rejected,
            retry_after=self.retry_after,
        )

    def get_metrics(self) -> BreakerMetrics:
        """The guides' name of ``metrics``."""
        return self.metrics()

    async def execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, and await what it returns where that can be awaited.

        Raises:
            BreakerOpenError: The breaker is open; nothing was called.
            Exception: What the function raises.
        """
        probe = await self.enter()
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        except BaseException as error:
            await self.leave(probe, error)
            raise
        await self.leave(probe)
        return result

    async def enter(self) -> int:
        """Ask to call; ``leave`` must be told how it ended. Returns the number of the probe that it is, or 0.

        Raises:
            BreakerOpenError: Not now.
        """
        with self._changing:
            if self._state is CircuitState.CLOSED:
                return 0
            if self._clock() < self._until:
                self._reject()
            self._state_is(CircuitState.HALF_OPEN)
            self._until = self._clock() + self.config.timeout
            self._probe += 1
            probe = self._probe
        if self._store is None or self._leads:
            return probe
        try:
            wait = await self._tell(self._store.probe(self.name, self.config.timeout), 0.0)
        except BaseException:
            await self.leave(probe, None, aborted=True)
            raise
        with self._changing:
            if wait is None and self._published:
                self._close()
                return 0
            if wait:
                self._state_is(CircuitState.OPEN)
                self._until = self._clock() + wait
                self._reject()
            self._leads = True
        return probe

    async def leave(self, probe: int, error: BaseException | None = None, *, aborted: bool = False) -> None:
        """A call ended.

        Args:
            probe: What ``enter`` returned; 0 for one that did not need to ask.
            error: What it raised.
            aborted: It ended before anything could be learned.
        """
        aborted = aborted or (error is not None and not isinstance(error, Exception))
        failed = isinstance(error, self._failures)
        with self._changing:
            if probe != 0 and probe != self._probe:
                return
            if probe == 0:
                if self._state is not CircuitState.CLOSED or aborted:
                    return
                self._failed = self._failed + 1 if failed else 0
                self.troubled = failed
                if self._failed < self.config.failure_threshold:
                    return
            elif aborted:
                self._until = self._clock()
                return
            elif not failed:
                self._succeeded += 1
                self._until = self._clock()
                if self._succeeded < self.config.success_threshold:
                    return
                self._close()
                failed = False
            if failed:
                self._open(self.config.timeout)
        await self._publish()

    async def refresh(self) -> None:
        """Learn from the store what other processes found out."""
        if self._store is None:
            return
        before = self._changes
        try:
            wait = await self._store.look(self.name)
        except BrokerUnavailableError:
            return
        with self._changing:
            if before != self._changes:
                return  # what was read may be older than what happened here meanwhile
            if wait is None and self._published:
                self._close()
            elif wait is not None and self._state is CircuitState.CLOSED:
                self._open(wait)
                self._published = True

    async def _publish(self) -> None:
        if self._store is None:
            return
        if self._state is CircuitState.OPEN:
            self._published = await self._tell(self._done(self._store.open(self.name, self.config.timeout)), False)
        elif self._state is CircuitState.CLOSED:
            await self._tell(self._done(self._store.close(self.name)), False)

    @staticmethod
    async def _done(call: Awaitable[None]) -> bool:
        await call
        return True

    @staticmethod
    async def _tell(call: Awaitable[Any], otherwise: Any) -> Any:
        """The store's answer; ``otherwise`` where there is none."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await call
        except (BrokerUnavailableError, TimeoutError):
            return otherwise

    def _open(self, seconds: float) -> None:
        self._state_is(CircuitState.OPEN)
        self.troubled = True
        self._until = self._clock() + seconds
        self._succeeded = 0
        self._leads = False

    def _close(self) -> None:
        self._state_is(CircuitState.CLOSED)
        self.troubled = self._published = self._leads = False
        self._failed = self._succeeded = 0

    def _state_is(self, state: CircuitState) -> None:
        if state is not self._state:
            self._state = state
            self._changes += 1

    def _reject(self) -> None:
        self._rejected += 1
        wait = self.retry_after
        raise BreakerOpenError(
            f"{self.name or 'The dependency'} did not answer lately, and is not called for {wait:.1f} s.",
            hint="It is asked again by itself then.",
            breaker=self.name,
            retry_after=wait,
        )
