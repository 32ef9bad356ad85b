"""Backoff: retries of a job whose pauses are computed when it failed, which RQ's list of intervals cannot say.

It travels in the job's field ``x_retry``, beside RQ's ``retries_left`` and ``retry_intervals``, by which RQ's own
workers go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dataflow.errors import InputError, PayloadError, did_you_mean
from dataflow.resilience.handler import RetryConfig

#: Intervals written for RQ's own workers, at most.
MOST_INTERVALS = 32

_OPTIONS = ("backoff", "base_delay", "max_delay", "multiplier", "jitter", "only_transient")


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a job is tried again.

    Attributes:
        max: Retries in all.
        exponential: Pauses grow; otherwise RQ's intervals hold.
        base_delay: Seconds, at most, before the first retry.
        max_delay: Seconds, at most, before any.
        multiplier: Growth of the longest pause from retry to retry.
        jitter: The part of a pause that is random, 0 to 1; with 1 ("full jitter") it may be anything from nothing.
        only_transient: Errors that do not pass by themselves are final.
    """

    max: int
    exponential: bool = False
    base_delay: float = 1.0
    max_delay: float = 300.0
    multiplier: float = 2.0
    jitter: float = 1.0
    only_transient: bool = False

    @property
    def _config(self) -> RetryConfig:
        return RetryConfig(self.max + 1, self.base_delay, self.max_delay, self.multiplier, self.jitter)

    def delay(self, left: int) -> float:
        """Seconds to wait where so many retries are left, this one included."""
        return self._config.delay(max(1, self.max - left + 1))

    def intervals(self) -> list[int]:
        """About the same for RQ's own workers: whole seconds, the longest that each pause may be."""
        steady = msgspec.structs.replace(self, jitter=0.0)
        first = max(0, self.max - MOST_INTERVALS)
        return [math.ceil(steady.delay(left)) for left in range(self.max - first, 0, -1)]

    def write(self) -> bytes:
        """The field's value."""
        return msgspec.json.encode(self)


def backoff_of(retry: object) -> Backoff | None:
    """What a producer's ``retry`` says beyond RQ's number and intervals; None where it says no more.

    Raises:
        InputError: An option is unknown, contradicts another or has a wrong value.
    """
    if not isinstance(retry, Mapping) or retry.keys() <= {"max", "interval"}:
        return None
    for name in retry.keys() - {"max", "interval", *_OPTIONS}:
        raise InputError(f"retry has no {name!r}.", hint=did_you_mean(str(name), ("max", "interval", *_OPTIONS)))
    options: dict[str, Any] = {name: retry[name] for name in retry.keys() - {"interval", "backoff"}}
    kind = retry.get("backoff")
    if kind not in (None, "exponential"):
        raise InputError(f"retry takes backoff='exponential', got {kind!r}.")
    if kind is not None and "interval" in retry:
        raise InputError("retry takes 'interval' or 'backoff', not both.")
    if kind is None and options.keys() & {"base_delay", "max_delay", "multiplier", "jitter"}:
        raise InputError("Delays and jitter of retry go with backoff='exponential'.")
    if isinstance(options.get("jitter"), bool):
        options["jitter"] = float(options["jitter"])
    return _checked({**options, "exponential": kind is not None}, InputError)


def read_backoff(data: bytes | None) -> Backoff | None:
    """What the field ``x_retry`` says; None where a job has none.

    Raises:
        PayloadError: It cannot be read.
    """
    if data is None:
        return None
    try:
        facts = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise PayloadError(f"The job's x_retry cannot be read: {error}") from error
    return _checked(facts, PayloadError)


def _checked(facts: object, problem: type[InputError] | type[PayloadError]) -> Backoff:
    try:
        backoff = msgspec.convert(facts, Backoff)
        backoff._config  # noqa: B018 - it checks the ranges
    except msgspec.ValidationError as error:
        raise problem(f"retry cannot be used: {error}") from None
    except InputError as error:
        raise problem(f"retry cannot be used: {error.message}") from None
    if backoff.max < 1:
        raise problem(f"retry needs a whole number from 1, got {backoff.max!r}.")
    return backoff
