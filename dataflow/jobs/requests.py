"""EnqueueRequest: one job to enqueue, and the fields that RQ keeps of it."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dataflow.errors import InputError
from dataflow.jobs.scripts import Argument
from dataflow.jobs.serializer import write_meta
from dataflow.jobs.wire import Payload, write_payload
from dataflow.workflows import Workflow, WorkflowBuilder

if TYPE_CHECKING:
    from dataflow.jobs.job import Job

#: Seconds that a job may run where it does not say.
DEFAULT_TIMEOUT = 300

_ID = re.compile(r"[A-Za-z0-9_-]+")


class RetryLike(Protocol):
    """RQ's ``Retry``."""

    max: int
    intervals: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueRequest:
    """One job to enqueue.

    Attributes:
        workflow: A workflow, a builder (it is built), or the name of a registered workflow.
        inputs: Inputs of the run, per node or flat.
        job_id: Letters, digits, ``_`` and ``-``; default a random UUID. An id that waits already is replaced.
        unique: Refuse where a job of that ``job_id`` exists.
        timeout: Seconds the run may take, rounded up; -1 for no limit; default the queue's.
        retry: How often to run again after a failure: a number, ``{"max": 3, "interval": [10, 60]}`` (seconds), or
            RQ's ``Retry``.
        delay: Wait that long before queueing: seconds or a timedelta.
        at: Wait until then.
        depends_on: Jobs, or their ids, that must finish first. A job whose parent fails stays deferred.
        allow_dependency_failures: A parent that fails counts as finished.
        ordering_key: Not in this version.
        at_front: Go to the front of the queue.
        result_ttl: Seconds the results are kept; -1 for ever, 0 not at all; default 500.
        failure_ttl: Seconds a failed job is kept; -1 for ever; default a year.
        meta: Your own data, readable on the job.
        exactly_once: Refused in this version: when a worker dies its job runs again, and effects may happen twice.
    """

    workflow: Workflow | WorkflowBuilder | str
    inputs: Mapping[str, Any] | None = None
    job_id: str | None = None
    unique: bool = False
    timeout: float | None = None
    retry: int | Mapping[str, Any] | RetryLike | None = None
    delay: float | timedelta | None = None
    at: datetime | None = None
    depends_on: Job | str | Iterable[Job | str] | None = None
    allow_dependency_failures: bool = False
    ordering_key: str | None = None
    at_front: bool = False
    result_ttl: int | None = None
    failure_ttl: int | None = None
    meta: Mapping[str, Any] | None = None
    exactly_once: bool = False

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: Options contradict each other, have wrong values, or are not in this version.
        """
        if self.job_id is not None and not _ID.fullmatch(self.job_id):
            raise InputError(f"The job id {self.job_id!r} may only have letters, digits, '_' and '-'.")
        if self.unique and self.job_id is None:
            raise InputError("unique=True needs a job_id: it is the id that is unique.")
        if self.delay is not None and self.at is not None:
            raise InputError("Give delay or at, not both.")
        if self.depends_on is not None and (self.delay is not None or self.at is not None):
            raise InputError("A job waits for its time (delay, at) or for other jobs (depends_on), not both.")
        if self.timeout is not None and self.timeout != -1 and not self.timeout > 0:
            raise InputError(f"timeout is a positive number of seconds, or -1 for no limit, got {self.timeout!r}.")
        for name in ("result_ttl", "failure_ttl"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < -1):
                raise InputError(f"{name} is a whole number of seconds, or -1 for ever, got {value!r}.")
        if self.ordering_key is not None:
            raise InputError("ordering_key comes with actors; this version does not have it yet.")
        if self.exactly_once:
            raise InputError(
                "exactly_once=True needs the run ledger, which this version does not have yet.",
                hint="Leave it out: a job runs at least once. Upserts and unique fields make a second run harmless.",
            )

    def arguments(
        self, queue: str, payload: Payload, description: str, default_timeout: float, at: str
    ) -> tuple[str, list[Argument]]:
        """The job's id, and its part of the arguments of ``enqueue.lua``.

        Raises:
            InputError: A value cannot travel, or an option has a wrong value.
        """
        token = str(uuid.uuid4())
        job_id = self.job_id or token
        parents = _parent_ids(self.depends_on)
        timeout = default_timeout if self.timeout is None else self.timeout
        fields: list[Argument] = [
            "created_at", at,
            "origin", queue,
            "description", description,
            "timeout", math.ceil(timeout),
            "data", write_payload(payload),
        ]  # fmt: skip
        if self.result_ttl is not None:
            fields += ("result_ttl", self.result_ttl)
        if self.failure_ttl is not None:
            fields += ("failure_ttl", self.failure_ttl)
        if self.meta:
            fields += ("meta", write_meta(self.meta))
        if self.at_front:
            fields += ("enqueue_at_front", 1)
        times, intervals = _retry(self.retry)
        if times:
            fields += ("retries_left", times, "retry_intervals", json.dumps(intervals))
        if parents:
            fields += ("dependency_id", parents[0], "dependency_ids", json.dumps(parents))
            if self.allow_dependency_failures:
                fields += ("allow_dependency_failures", 1)
        arguments: list[Argument] = [
            job_id,
            token,
            queue,
            "1" if self.at_front else "",
            "1" if self.unique else "",
            _seconds(self.delay),
            _moment(self.at),
            "1" if self.allow_dependency_failures else "",
            len(parents),
            *parents,
            len(fields),
            *fields,
        ]
        return job_id, arguments


def _seconds(delay: float | timedelta | None) -> Argument:
    if delay is None:
        return ""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if seconds < 0:
        raise InputError(f"delay is a number of seconds from 0, or a timedelta, got {delay!r}.")
    return seconds


def _moment(at: datetime | None) -> Argument:
    if at is None:
        return ""
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _parent_ids(depends_on: Job | str | Iterable[Job | str] | None) -> list[str]:
    if depends_on is None:
        return []
    if isinstance(depends_on, str) or not isinstance(depends_on, Iterable):
        depends_on = (depends_on,)
    return [parent if isinstance(parent, str) else parent.id for parent in depends_on]


def _retry(retry: int | Mapping[str, Any] | RetryLike | None) -> tuple[int, list[int]]:
    """How often, and the seconds before each, with RQ's meaning: a single interval serves every time."""
    interval: Any
    if retry is None or retry == 0:
        return 0, []
    if isinstance(retry, int):
        times, interval = retry, 0
    elif isinstance(retry, Mapping):
        unknown = retry.keys() - {"max", "interval"}
        if unknown or "max" not in retry:
            raise InputError(f"retry takes 'max' and 'interval', got {sorted(retry)}.")
        times, interval = retry["max"], retry.get("interval", 0)
    else:
        times, interval = retry.max, retry.intervals
    intervals = list(interval) if isinstance(interval, Iterable) else [interval]
    if type(times) is not int or times < 1:
        raise InputError(f"retry needs a whole number from 1, got {times!r}.")
    if not intervals or any(type(item) is not int or item < 0 for item in intervals):
        raise InputError(f"Intervals of retry are whole seconds from 0, got {interval!r}.")
    return times, intervals
