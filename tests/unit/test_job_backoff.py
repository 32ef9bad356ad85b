"""Retries: the pauses of jobs and of the guides' handler."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow.errors import (
    BreakerOpenError,
    InputError,
    PayloadError,
    TransientDatabaseError,
    UniqueViolationError,
    WorkflowExecutionError,
)
from dataflow.jobs.backoff import backoff_of, read_backoff
from dataflow.platform import RetryConfig, RetryHandler
from dataflow.resilience.classes import is_final, is_transient
from worker.deliveries import Delivery
from worker.outcome import Outcome, failure


def delivery(left: int, **options: bytes) -> Delivery:
    return Delivery("default", "job", "exec", b"", {"retries_left": str(left).encode(), **options})


def failed(cause: Exception) -> WorkflowExecutionError:
    error = WorkflowExecutionError("m", node_id="n", node_type="T", error_code="x", run_id="r")
    error.__cause__ = cause
    return error


def test_pauses_grow_up_to_the_limit_and_are_random_all_the_way_down() -> None:
    backoff = backoff_of({"max": 6, "backoff": "exponential", "base_delay": 2, "max_delay": 20})
    assert backoff is not None
    for left, longest in zip(range(6, 0, -1), (2, 4, 8, 16, 20, 20), strict=True):
        pauses = [backoff.delay(left) for _ in range(300)]
        assert 0 <= min(pauses) < longest * 0.1
        assert longest * 0.9 < max(pauses) <= longest
    assert backoff.intervals() == [2, 4, 8, 16, 20, 20]


def test_without_jitter_the_pauses_are_exact() -> None:
    backoff = backoff_of({"max": 3, "backoff": "exponential", "base_delay": 0.5, "jitter": False})
    assert backoff is not None
    assert [backoff.delay(left) for left in (3, 2, 1)] == [0.5, 1.0, 2.0]
    assert read_backoff(backoff.write()) == backoff


def test_a_plain_retry_is_left_to_rqs_fields() -> None:
    assert backoff_of(3) is None
    assert backoff_of({"max": 3, "interval": [1, 2]}) is None


@pytest.mark.parametrize(
    ("retry", "problem"),
    [
        ({"max": 3, "backof": "exponential"}, "backof"),
        ({"max": 3, "backoff": "linear"}, "exponential"),
        ({"max": 3, "backoff": "exponential", "interval": 5}, "not both"),
        ({"max": 3, "jitter": 0.5}, "go with"),
        ({"max": 3, "backoff": "exponential", "jitter": 2}, "jitter"),
        ({"max": 3, "backoff": "exponential", "multiplier": 0.5}, "multiplier"),
        ({"max": 0, "backoff": "exponential"}, "from 1"),
        ({"backoff": "exponential"}, "max"),
        ({"max": 3, "only_transient": "yes"}, "bool"),
    ],
)
def test_what_cannot_be_meant_is_refused(retry: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        backoff_of(retry)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"max": 2, "code": 1}', b'{"max": 2, "jitter": -1}'])
def test_a_field_that_cannot_be_read_is_a_payload_error(data: bytes) -> None:
    with pytest.raises(PayloadError, match="retry"):
        read_backoff(data)


@pytest.mark.parametrize(
    ("cause", "final", "transient"),
    [
        (InputError("x"), True, False),
        (UniqueViolationError("x"), True, False),
        (TransientDatabaseError("x"), False, True),
        (BreakerOpenError("x"), False, True),
        (ValueError("x"), False, False),
    ],
)
def test_what_an_error_says_of_another_try(cause: Exception, final: bool, transient: bool) -> None:
    assert (is_final(failed(cause)), is_transient(failed(cause))) == (final, transient)
    assert (is_final(cause), is_transient(cause)) == (final, transient)


def test_a_job_is_not_tried_again_where_that_is_useless() -> None:
    def end(cause: Exception, **options: bytes) -> Outcome:
        return failure(delivery(2, **options), failed(cause), may_retry=True)

    assert end(ValueError("x")).kind == "retry"
    assert end(UniqueViolationError("x")).kind == "failed"
    backoff = backoff_of({"max": 2, "only_transient": True})
    assert backoff is not None
    only = backoff.write()
    assert end(ValueError("x"), x_retry=only).kind == "failed"
    assert end(TransientDatabaseError("x"), x_retry=only, retry_intervals=b"[7]").delay == 7


async def test_the_guides_handler_counts_and_repeats() -> None:
    config = RetryConfig(max_attempts=3, base_delay=0.0, max_delay=5.0, multiplier=2.0, jitter=0.5)
    handler = RetryHandler(config)
    calls: list[int] = []

    async def flaky(number: int) -> int:
        calls.append(number)
        if len(calls) < 3:
            raise OSError("away")
        return number

    assert await handler.execute_with_retry(flaky, 7) == 7
    assert handler.get_metrics() == {"total_attempts": 3, "total_successes": 1, "total_failures": 0}

    async def refused() -> None:
        calls.append(0)
        raise BreakerOpenError("open")

    calls.clear()
    with pytest.raises(BreakerOpenError):
        await handler.execute_with_retry(refused)
    assert calls == [0]
    assert handler.get_metrics()["total_failures"] == 1


def test_jitter_is_the_random_part_of_a_pause() -> None:
    config = RetryConfig(base_delay=1.0, max_delay=4.0, jitter=0.5)
    pauses = [config.delay(2) for _ in range(300)]
    assert 1.0 <= min(pauses) < 1.1
    assert 1.9 < max(pauses) <= 2.0
    assert config.delay(10_000) <= 4.0
