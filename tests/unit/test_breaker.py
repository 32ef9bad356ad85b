"""The circuit breaker, on a clock of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dataflow.errors import BreakerOpenError, BrokerUnavailableError, ConfigurationError, InputError
from dataflow.platform import CircuitBreaker, CircuitBreakerConfig, CircuitState
from dataflow.resilience import Breakers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class MemoryStore:
    """What breakers share, by a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.until: dict[str, float] = {}
        self.is_away = False

    def _asked(self) -> None:
        if self.is_away:
            raise BrokerUnavailableError("away")

    async def open(self, name: str, seconds: float) -> None:
        self._asked()
        self.until[name] = self.clock() + seconds

    async def probe(self, name: str, seconds: float) -> float | None:
        wait = await self.look(name)
        if wait == 0:
            self.until[name] = self.clock() + seconds
        return wait

    async def close(self, name: str) -> None:
        self._asked()
        self.until.pop(name, None)

    async def look(self, name: str) -> float | None:
        self._asked()
        return max(0.0, self.until[name] - self.clock()) if name in self.until else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


CONFIG = CircuitBreakerConfig(failure_threshold=3, success_threshold=2, timeout=60.0)


async def fail() -> None:
    raise OSError("away")


async def wrong() -> None:
    raise ValueError("our own mistake")


async def succeed() -> str:
    return "ok"


async def trip(breaker: CircuitBreaker) -> None:
    for _ in range(breaker.config.failure_threshold):
        with pytest.raises(OSError):
            await breaker.execute(fail)


async def test_it_opens_after_failures_in_a_row_and_closes_after_probes(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, name="payments", clock=clock)
    for _ in range(2):
        with pytest.raises(OSError):
            await breaker.execute(fail)
    assert await breaker.execute(succeed) == "ok"
    assert breaker.metrics()["failure_count"] == 0
    assert not breaker.troubled

    await trip(breaker)
    assert breaker.state is CircuitState.OPEN
    with pytest.raises(BreakerOpenError, match="payments") as caught:
        await breaker.execute(succeed)
    assert caught.value.retry_after == 60.0
    clock.now += 59.9
    with pytest.raises(BreakerOpenError):
        await breaker.execute(succeed)

    clock.now += 0.1
    assert breaker.retry_after == 0
    assert await breaker.execute(succeed) == "ok"
    assert breaker.state is CircuitState.HALF_OPEN
    assert await breaker.execute(succeed) == "ok"
    assert breaker.state is CircuitState.CLOSED
    assert breaker.get_metrics() == {
        "name": "payments",
        "state": "closed",
        "failure_count": 0,
        "success_count": 0,
        "state_changes": 3,
        "rejected_requests": 2,
        "retry_after": 0.0,
    }


async def test_a_probe_that_fails_opens_it_again(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, clock=clock)
    await trip(breaker)
    clock.now += 60
    await breaker.execute(succeed)
    with pytest.raises(OSError):
        await breaker.execute(fail)
    assert breaker.state is CircuitState.OPEN
    assert breaker.retry_after == 60.0
    clock.now += 60
    await breaker.execute(succeed)
    assert breaker.state is CircuitState.HALF_OPEN, "successes before the failure do not count"


async def test_one_probe_at_a_time_and_a_cancelled_one_makes_room(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, clock=clock)
    await trip(breaker)
    clock.now += 60
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    probe = asyncio.create_task(breaker.execute(hang))
    await begun.wait()
    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(succeed)
    assert caught.value.retry_after == 1.0
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await breaker.execute(succeed) == "ok"


async def test_a_probe_that_hangs_is_replaced_and_then_counts_no_more(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, clock=clock)
    await trip(breaker)
    clock.now += 60
    late = await breaker.enter()
    clock.now += 60
    await breaker.execute(succeed)
    await breaker.leave(late, OSError("away"))
    assert breaker.state is CircuitState.HALF_OPEN
    await breaker.execute(succeed)
    assert breaker.state is CircuitState.CLOSED


async def test_calls_that_began_before_it_opened_change_nothing(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, clock=clock)
    early = [await breaker.enter() for _ in range(5)]
    for probe in early[:3]:
        await breaker.leave(probe, OSError("away"))
    clock.now += 10
    await breaker.leave(early[3], OSError("away"))
    await breaker.leave(early[4])
    assert breaker.state is CircuitState.OPEN
    assert breaker.retry_after == 50.0


async def test_only_the_named_errors_are_failures(clock: Clock) -> None:
    breaker = CircuitBreaker(CONFIG, failures=(OSError,), clock=clock)
    for _ in range(2):
        with pytest.raises(OSError):
            await breaker.execute(fail)
    with pytest.raises(ValueError, match="our own"):
        await breaker.execute(wrong)
    assert breaker.metrics()["failure_count"] == 0


async def test_what_is_not_awaited_can_be_called_too() -> None:
    assert await CircuitBreaker().execute(lambda a, *, b: a + b, 1, b=2) == 3


async def test_processes_share_it_and_one_of_them_probes(clock: Clock) -> None:
    store = MemoryStore(clock)
    here, there = (CircuitBreaker(CONFIG, name="db", store=store, clock=clock) for _ in range(2))
    await trip(here)
    assert not there.troubled
    await there.refresh()
    assert there.state is CircuitState.OPEN
    assert there.retry_after == 60.0

    clock.now += 60
    assert await here.execute(succeed) == "ok"
    with pytest.raises(BreakerOpenError):
        await there.execute(succeed)
    assert await here.execute(succeed) == "ok"
    assert store.until == {}
    await there.refresh()
    assert there.state is CircuitState.CLOSED


async def test_who_comes_to_probe_after_others_closed_it_just_calls(clock: Clock) -> None:
    store = MemoryStore(clock)
    here, there = (CircuitBreaker(CONFIG, name="db", store=store, clock=clock) for _ in range(2))
    await trip(here)
    await there.refresh()
    clock.now += 60
    for _ in range(2):
        await here.execute(succeed)
    assert await there.execute(succeed) == "ok"
    assert there.state is CircuitState.CLOSED


async def test_without_its_store_it_goes_on_alone(clock: Clock) -> None:
    store = MemoryStore(clock)
    breaker = CircuitBreaker(CONFIG, name="db", store=store, clock=clock)
    store.is_away = True
    await trip(breaker)
    await breaker.refresh()
    assert breaker.state is CircuitState.OPEN
    clock.now += 60
    for _ in range(2):
        await breaker.execute(succeed)
    assert breaker.state is CircuitState.CLOSED


async def test_an_opening_that_the_store_never_heard_of_is_not_closed_by_its_silence(clock: Clock) -> None:
    store = MemoryStore(clock)
    breaker = CircuitBreaker(CONFIG, name="db", store=store, clock=clock)
    store.is_away = True
    await trip(breaker)
    store.is_away = False
    await breaker.refresh()
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize("options", [{"failure_threshold": 0}, {"success_threshold": 0}, {"timeout": 0}])
def test_a_config_that_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="thresholds"):
        CircuitBreakerConfig(**options)


def test_breakers_are_made_once_and_shared_only_where_there_is_a_store() -> None:
    breakers = Breakers()
    made = breakers.provide("payments", CONFIG)
    assert breakers.provide("payments") is made
    assert dict(breakers) == {"payments": made}
    with pytest.raises(ConfigurationError, match="already"):
        breakers.provide("payments", CircuitBreakerConfig(timeout=1.0))
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        breakers.provide("other", shared=True)
