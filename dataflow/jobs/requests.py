"""EnqueueRequest: one job to enqueue, and the fields that RQ keeps of it."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dataflow.errors import InputError
from dataflow.jobs.backoff import Backoff, backoff_of
from dataflow.jobs.packing import DEFAULT_LIMITS, PayloadLimits, pack
from dataflow.jobs.scripts import Argument
from dataflow.jobs.serializer import write_meta
from dataflow.jobs.signatures import FIELD, SigningKeys
from dataflow.jobs.wire import Payload, encode_payload
from dataflow.tenants import checked_tenant
from dataflow.workflows import Workflow, WorkflowBuilder

if TYPE_CHECKING:
    from dataflow.jobs.job import Job

#: Seconds that a job may run where neither it nor its queue nor its worker says.
DEFAULT_TIMEOUT = 300

#: Characters that an ordering key may have.
MAX_ORDERING_KEY = 200

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
        tenant_id: Whose rows of multi-tenant models the run reads and writes.
        job_id: Letters, digits, ``_`` and ``-``; default a random UUID. An id that waits already is replaced.
        unique: Refuse where a job of that ``job_id`` exists.
        timeout: Seconds the run may take, rounded up; -1 for no limit; default the queue's, else the worker's.
        retry: How often to run again after a failure: a number, ``{"max": 3, "interval": [10, 60]}`` (seconds), RQ's
            ``Retry``, or ``{"max": 5, "backoff": "exponential"}`` with ``base_delay`` (1 s), ``max_delay`` (300 s),
            ``multiplier`` (2) and ``jitter`` (1: full; 0 or False: none). ``"only_transient": True`` retries only
            errors that pass by themselves. Wrong input and violated constraints are never tried again.
        delay: Wait that long before queueing: seconds or a timedelta.
        at: Wait until then.
        depends_on: Jobs, or their ids, that must finish first. A job whose parent fails stays deferred.
        allow_dependency_failures: A parent that fails counts as finished.
        ordering_key: Jobs with the same key, of whichever queue of the broker, run one at a time in the order of their
            enqueueing: 1 to 200 characters. A job keeps its place through delays, retries and crashes, and the later
            ones wait for it; after its end, good or bad, the next goes on.
        at_front: Go to the front of the queue.
        result_ttl: Seconds the results are kept; -1 for ever, 0 not at all; default 500.
        failure_ttl: Seconds a failed job is kept; -1 for ever; default a year.
        meta: Your own data, readable on the job.
        exactly_once: When the job is started again (a worker died, or it is retried), what its nodes of models have
            committed is not done again, and their outputs are those of then; unless the workflow was built with
            ``exactly_once=False``. False saves the entries in ``dataflow_runs`` that this takes.
    """

    workflow: Workflow | WorkflowBuilder | str
    inputs: Mapping[str, Any] | None = None
    tenant_id: str | None = None
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
    exactly_once: bool = True

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InputError: Options contradict each other, have wrong values, or are not in this version.
        """
        if self.tenant_id is not None:
            checked_tenant(self.tenant_id)
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
        if self.ordering_key is not None and not _is_ordering_key(self.ordering_key):
            raise InputError(f"ordering_key is text of 1 to {MAX_ORDERING_KEY} characters, got {self.ordering_key!r}.")

    def arguments(
        self,
        queue: str,
        payload: Payload,
        description: str,
        default_timeout: float | None,
        at: str,
        *,
        signing_keys: SigningKeys | None = None,
        limits: PayloadLimits = DEFAULT_LIMITS,
        schedule: str | None = None,
        due: float | None = None,
    ) -> tuple[str, list[Argument]]:
        """The job's id, and its part of the arguments of ``put_job.lua``; signed where there are keys.

        ``schedule`` is the one that the job is of, and ``due`` the Unix time of its tick.

        Raises:
            InputError: A value cannot travel, or an option has a wrong value.
        """
        token = str(uuid.uuid4())
        job_id = self.job_id or token
        parents = _parent_ids(self.depends_on)
        timeout = default_timeout if self.timeout is None else self.timeout
        if timeout is None and signing_keys is not None:
            # Where there is none, RQ's requeue writes one of its own, and the signature would not hold.
            timeout = DEFAULT_TIMEOUT
        call = encode_payload(payload)
        fields: list[Argument] = [
            "created_at", at,
            "origin", queue,
            "description", description,
            "data", pack(call, limits),
        ]  # fmt: skip
        if timeout is not None:
            fields += ("timeout", math.ceil(timeout))
        if self.result_ttl is not None:
            fields += ("result_ttl", self.result_ttl)
        if self.failure_ttl is not None:
            fields += ("failure_ttl", self.failure_ttl)
        if self.meta:
            fields += ("meta", write_meta(self.meta))
        if self.at_front:
            fields += ("enqueue_at_front", 1)
        if self.ordering_key is not None:
            fields += ("x_ordering_key", self.ordering_key)
        backoff = backoff_of(self.retry)
        times, intervals = _retry(self.retry, backoff)
        if backoff is not None:
            fields += ("x_retry", backoff.write())
        if times:
            fields += ("retries_left", times, "retry_intervals", json.dumps(intervals))
        if parents:
            fields += ("dependency_id", parents[0], "dependency_ids", json.dumps(parents))
            if self.allow_dependency_failures:
                fields += ("allow_dependency_failures", 1)
        if schedule is not None:
            fields += ("x_schedule", schedule)
        delay, moment = _seconds(self.delay), _moment(self.at)
        if signing_keys is not None:
            if delay != "" or moment != "":
                due = time.time() + float(delay) if delay != "" else float(moment)
            named: dict[Any, Argument] = dict(zip(fields[::2], fields[1::2], strict=True))
            fields += (FIELD, signing_keys.sign(job_id, queue, call, named, due))
        arguments: list[Argument] = [
            job_id,
            token,
            queue,
            "1" if self.at_front else "",
            "1" if self.unique else "",
            delay,
            moment,
            "1" if self.allow_dependency_failures else "",
            self.ordering_key or "",
            len(parents),
            *parents,
            len(fields),
            *fields,
        ]
        return job_id, arguments


def _is_ordering_key(key: object) -> bool:
    return isinstance(key, str) and 0 < len(key) <= MAX_ORDERING_KEY


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


def _retry(retry: int | Mapping[str, Any] | RetryLike | None, backoff: Backoff | None) -> tuple[int, list[int]]:
    """How often, and the seconds before each, with RQ's meaning: a single interval serves every time."""
    interval: Any
    if retry is None or retry == 0:
        return 0, []
    if isinstance(retry, int):
        times, interval = retry, 0
    elif isinstance(retry, Mapping):
        if "max" not in retry:
            raise InputError(f"retry takes 'max' and 'interval', got {sorted(retry)}.")
        times, interval = retry["max"], retry.get("interval", 0)
        if backoff is not None and backoff.exponential:
            interval = backoff.intervals()
    else:
        times, interval = retry.max, retry.intervals
    intervals = list(interval) if isinstance(interval, Iterable) else [interval]
    if type(times) is not int or times < 1:
        raise InputError(f"retry needs a whole number from 1, got {times!r}.")
    if not intervals or any(type(item) is not int or item < 0 for item in intervals):
        raise InputError(f"Intervals of retry are whole seconds from 0, got {interval!r}.")
    return times, intervals
