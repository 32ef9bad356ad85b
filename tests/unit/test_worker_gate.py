"""The gate before a job: breakers and bulkheads."""

from __future__ import annotations

import asyncio

import pytest

from dataflow.resilience import CircuitBreaker, CircuitBreakerConfig
from worker.gate import LONGEST_SPREAD, Bulkhead, Gate, NotNowError
from worker.options import WorkerOptions


async def test_a_job_over_the_limit_gets_the_turn_of_the_first_that_ends() -> None:
    bulkhead = Bulkhead(1, patience=30)
    assert await bulkhead.enter()
    second = asyncio.create_task(bulkhead.enter())
    await asyncio.sleep(0)
    assert not second.done()
    bulkhead.leave()
    assert await second
    bulkhead.leave()
    assert bulkhead.running == 0


async def test_after_one_waited_in_vain_the_others_do_not_wait_until_a_job_ends() -> None:
    bulkhead = Bulkhead(1, patience=0.01)
    assert await bulkhead.enter()
    assert not await bulkhead.enter()
    refused = bulkhead.enter()
    with pytest.raises(StopIteration) as ended:
        refused.send(None)
    assert ended.value.value is False
    bulkhead.leave()
    assert await bulkhead.enter()
    assert bulkhead.running == 1


async def test_one_that_is_cancelled_keeps_no_turn() -> None:
    bulkhead = Bulkhead(1, patience=30)
    assert await bulkhead.enter()
    waiting = asyncio.create_task(bulkhead.enter())
    await asyncio.sleep(0)
    bulkhead.leave()  # hands the turn over, and the one that gets it is cancelled at the same moment
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bulkhead.running == 0


async def test_an_open_breaker_and_a_full_bulkhead_say_when_to_come_back() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, timeout=60), name="db")
    gate = Gate(limit=1)
    turns = await gate.enter([breaker])
    await breaker.leave(0, OSError("away"))
    with pytest.raises(NotNowError, match="db") as caught:
        await gate.enter([breaker])
    assert 59 < caught.value.wait <= 60
    gate.leave(turns)
    assert all(bulkhead.running == 0 for bulkhead in turns)


async def test_a_job_on_two_databases_gives_back_the_turn_of_the_first() -> None:
    first, second = CircuitBreaker(name="a"), CircuitBreaker(name="b")
    gate = Gate(limit=1)
    held = await gate.enter([second])
    with pytest.raises(NotNowError, match="b"):
        await gate.enter([first, second])
    gate.leave(await gate.enter([first]))
    gate.leave(held)


def test_deferred_jobs_come_back_one_after_the_other() -> None:
    gate = Gate(limit=None)
    delays = [gate.delay("db", 5.0) for _ in range(100)]
    assert delays[0] == pytest.approx(5.0, abs=0.01)
    assert delays[-1] == pytest.approx(5.0 + 99 / 500, abs=0.05)
    assert gate.delay("other", 1.0) == pytest.approx(1.0, abs=0.01)
    for _ in range(40_000):
        last = gate.delay("db", 5.0)
    assert last == pytest.approx(5.0 + LONGEST_SPREAD, abs=0.01)


def test_the_limit_is_for_workers_of_several_databases() -> None:
    assert WorkerOptions(concurrency=40).database_limit(1) is None
    assert WorkerOptions(concurrency=40).database_limit(2) == 30
    assert WorkerOptions(concurrency=40, per_database=7).database_limit(1) == 7
    assert WorkerOptions(concurrency=40, per_database=0).database_limit(2) is None
