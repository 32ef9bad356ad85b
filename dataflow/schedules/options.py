"""Options of the jobs of a schedule: which there are, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.errors import InputError, ScheduleError, did_you_mean
from dataflow.jobs.requests import EnqueueRequest
from dataflow.jobs.wire import Payload
from dataflow.schedules.plain import from_plain, to_plain
from dataflow.workflows.codec import encode

#: What a schedule takes; what else a job may have, the schedule decides.
OPTIONS = (
    "queue",
    "inputs",
    "timeout",
    "retry",
    "tenant_id",
    "at_front",
    "result_ttl",
    "failure_ttl",
    "meta",
    "exactly_once",
)

#: Bytes that inputs and meta may take, encoded: they stay in Redis, and go into each job.
MAX_SIZE = 1024 * 1024


def checked_options(workflow: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the options, as a document gives them back.

    Raises:
        ScheduleError: One is unknown, has a wrong value, or holds something that cannot travel.
    """
    given = dict(options)
    for name in given:
        if name not in OPTIONS:
            raise ScheduleError(f"A schedule has no option {name!r}.", hint=did_you_mean(str(name), OPTIONS), part=name)
    queue = given.pop("queue", "default")
    if not isinstance(queue, str) or not queue or "," in queue:
        raise ScheduleError(f"queue is a word without commas, got {queue!r}.", part="queue", value=queue)
    for name in ("inputs", "meta"):
        if not isinstance(given.get(name) or {}, Mapping):
            raise ScheduleError(f"{name} maps names to values, got {given[name]!r}.", part=name, value=given[name])
    for name in ("at_front", "exactly_once"):
        if name in given and not isinstance(given[name], bool):
            raise ScheduleError(f"{name} is True or False, got {given[name]!r}.", part=name, value=given[name])
    _try_request(workflow, given)
    retry = given.get("retry")
    if retry is not None and not isinstance(retry, (int, Mapping)):  # RQ's Retry
        given["retry"] = {"max": retry.max, "interval": list(retry.intervals)}
    if "queue" in options:
        given["queue"] = queue
    copy: dict[str, Any] = from_plain(to_plain(given))
    return copy


def _try_request(workflow: str, options: Mapping[str, Any]) -> None:
    """Make a job of them as a tick does, so that what it would refuse is refused now."""
    try:
        request = EnqueueRequest(workflow=workflow, **options)
        request.check()
        encode({name: options.get(name) for name in ("inputs", "meta")}, max_size=MAX_SIZE)
        request.arguments("default", Payload(name=workflow), "", None, "")
    except InputError as error:
        raise ScheduleError(error.message, hint=error.hint, part="options") from error
    except (TypeError, AttributeError) as error:
        raise ScheduleError(f"An option of the jobs has a value of a wrong type: {error}.", part="options") from error
