"""Outcome: how one execution of a job ended, ready to be recorded."""

from __future__ import annotations

import base64
import time
import traceback
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from dataflow.errors import DataFlowError, InputError, PayloadError, WorkflowExecutionError
from dataflow.jobs.backoff import Backoff, read_backoff
from dataflow.jobs.scripts import Argument
from dataflow.jobs.serializer import write_results
from dataflow.jobs.times import format_time
from dataflow.resilience.classes import cause_of, is_final, is_transient
from worker.deliveries import Delivery

#: Seconds that results are kept where the job does not say; RQ's default.
RESULT_TTL = 500
#: Seconds that a failed job is kept where it does not say; RQ's default, a year.
FAILURE_TTL = 31_536_000
#: Bytes that a job's results may have.
MAX_RESULTS = 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Outcome:
    """How an execution ended.

    Attributes:
        kind: ``done``, ``failed``, ``stopped``, ``retry``, ``back`` (unfinished), ``defer`` (it must wait for a
            dependency) or ``outage`` (a dependency went away beneath it; these are counted).
        delivery: Which one.
        value: Results or traceback, as RQ keeps them.
        error: Why it failed, as JSON.
        delay: Seconds until it is tried again or comes back, or a job that is ``done`` repeats; -1: it does not.
        untouched: It waits, and neither this start of it nor an earlier one did anything.
        ended: When it ended, as a Unix time.
    """

    kind: str
    delivery: Delivery
    value: bytes = b""
    error: bytes = b""
    delay: float = 0
    untouched: bool = False
    ended: float = field(default_factory=time.time)

    def arguments(self) -> tuple[Argument, ...]:
        """Its part of the arguments of ``finish.lua``."""
        delivery = self.delivery
        if self.kind in ("failed", "stopped"):
            ttl = delivery.number("failure_ttl", FAILURE_TTL)
        else:
            ttl = delivery.number("result_ttl", RESULT_TTL)
        return (
            self.kind,
            delivery.job_id,
            delivery.execution_id,
            delivery.queue,
            format_time(datetime.fromtimestamp(delivery.started, UTC)),
            delivery.started,
            self.ended,
            ttl,
            self.value,
            self.error,
            msgspec.json.encode(delivery.progress),
            self.delay,
            delivery.options.get("enqueue_at_front_on_retry", b""),
            "1" if self.untouched else "",
        )


def done(delivery: Delivery, results: dict[str, Any]) -> Outcome:
    """The job finished with these results.

    Raises:
        PayloadError: They hold a value that cannot be stored, or are too large.
    """
    try:
        data = write_results(results, MAX_RESULTS)
    except InputError as error:
        raise PayloadError(
            f"The job's results cannot be stored: {error.message}",
            hint="Let its last nodes return less (a count, an id), and read the rows from the database.",
        ) from error
    return Outcome("done", delivery, base64.b64encode(data), delay=_repetition(delivery))


def failure(delivery: Delivery, error: BaseException, *, may_retry: bool) -> Outcome:
    """The job failed; it is tried again where it may be, has tries left, and the error is not one that stays."""
    left = delivery.number("retries_left", 0)
    facts = _facts(error)
    if may_retry and left > 0 and not is_final(error):
        backoff = read_backoff(delivery.options.get("x_retry"))
        if backoff is None or is_transient(error) or not backoff.only_transient:
            return Outcome("retry", delivery, error=facts, delay=_pause(delivery, left, backoff))
    return Outcome("failed", delivery, _text(error), facts)


def waiting(delivery: Delivery, error: BaseException, delay: float, *, outage: bool = False) -> Outcome:
    """The job waits for a dependency, and spends no retry."""
    return Outcome("outage" if outage else "defer", delivery, error=_facts(error), delay=delay)


def not_begun(delivery: Delivery, error: BaseException, delay: float) -> Outcome:
    """The job waits for a dependency, and nothing of it was run."""
    return Outcome("defer", delivery, error=_facts(error), delay=delay, untouched="x_claimed" not in delivery.options)


def stopped(delivery: Delivery) -> Outcome:
    """The job was stopped on request."""
    message = "Stopped on request."
    facts = {"message": message, "type": "Stopped", "code": "stopped", "node_id": None, "node_type": None}
    return Outcome("stopped", delivery, pack_text(message), msgspec.json.encode(facts))


def pack_text(text: str) -> bytes:
    """A text as RQ keeps tracebacks."""
    return base64.b64encode(zlib.compress(text.encode()))


def _pause(delivery: Delivery, left: int, backoff: Backoff | None) -> float:
    return _interval(delivery, left) if backoff is None or not backoff.exponential else backoff.delay(left)


def _interval(delivery: Delivery, left: int) -> int:
    """RQ's rule: with as many intervals as tries each has its own; with fewer, the first serves longer."""
    intervals = msgspec.json.decode(delivery.options.get("retry_intervals", b"[0]"), type=list[int]) or [0]
    return intervals[max(len(intervals) - left, 0)]


def _repetition(delivery: Delivery) -> int:
    """Seconds until a finished job runs again by RQ's ``Repeat``; -1 where it does not."""
    if delivery.number("repeats_left", 0) <= 0:
        return -1
    intervals = msgspec.json.decode(delivery.options.get("repeat_intervals", b"[0]"), type=list[int])
    return intervals[0] if intervals else 0


def _facts(error: BaseException) -> bytes:
    cause = cause_of(error)
    node = error if isinstance(error, WorkflowExecutionError) else None
    return msgspec.json.encode(
        {
            "message": str(error) or type(error).__name__,
            "type": type(cause).__name__,
            "code": cause.code if isinstance(cause, DataFlowError) else type(cause).__name__,
            "node_id": node.node_id if node else None,
            "node_type": node.node_type if node else None,
        }
    )


def _text(error: BaseException) -> bytes:
    if isinstance(error, PayloadError):
        return pack_text(str(error))  # where our code noticed it says nothing to anybody
    return pack_text("".join(traceback.format_exception(error)))
