"""What is known of a schedule, for people and programs that look after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dataflow.errors import DataFlowError
from dataflow.schedules.schedule import Schedule
from dataflow.schedules.store import Entry, ScheduleStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A schedule as it is at one moment.

    Attributes:
        name: Its name.
        schedule: Its declaration; None where that cannot be read, or is not signed as it should be.
        workflow: What it runs; empty where the declaration cannot be read.
        when: When it runs, for people to read.
        state: ``active``, ``paused``, ``ended`` (no tick comes any more) or ``broken`` (it cannot run).
        reason: Why it is paused or broken.
        is_declared: It is part of the code; else it was added at run time.
        next_due: Its next tick; None where it is not active.
        next_start: When the job of that tick is enqueued: ``next_due`` and its part of the jitter.
        last_due: Tick of the job that was enqueued last.
        last_job: Id of that job.
        last_outcome: How the job that ended last ended: ``finished``, ``failed``, ``stopped`` or ``canceled``.
        last_ended: When that was.
        last_missed: The last tick that was missed.
        queued: Jobs enqueued, those by hand included.
        skipped: Ticks left out because the job before had not ended.
        missed: Ticks not run because no scheduler ran in time.
        finished: Jobs that finished; ``failed``, ``stopped`` and ``canceled`` likewise.
        created: When it was added.
        changed: When it was added, changed, paused or resumed last.
    """

    name: str
    schedule: Schedule | None
    workflow: str
    when: str
    state: str
    reason: str
    is_declared: bool
    next_due: datetime | None
    next_start: datetime | None
    last_due: datetime | None
    last_job: str | None
    last_outcome: str | None
    last_ended: datetime | None
    last_missed: datetime | None
    queued: int
    skipped: int
    missed: int
    finished: int
    failed: int
    stopped: int
    canceled: int
    created: datetime | None
    changed: datetime | None


@dataclass(frozen=True, slots=True)
class Tick:
    """What became of a tick.

    Attributes:
        due: When it was due.
        at: When that was decided.
        what: ``queued``, ``skipped`` (the job before had not ended), ``missed``, ``by hand``, or ``taken`` (another job
            has the id that its job should have).
        job_id: Its job; None where there is none.
        count: Of how many ticks this speaks; ``due`` is the last of them.
    """

    due: datetime
    at: datetime
    what: str
    job_id: str | None
    count: int


def info_of(entry: Entry, store: ScheduleStore, owner: str) -> ScheduleInfo:
    """What an entry says."""
    schedule: Schedule | None
    state, reason = entry.text("state"), entry.text("reason")
    try:
        schedule = store.schedule_of(entry)
    except DataFlowError as error:
        schedule, reason = None, reason or str(error)
    due = entry.moment("next_due") if state == "active" else None
    return ScheduleInfo(
        name=entry.name,
        schedule=schedule,
        workflow=schedule.workflow if schedule else "",
        when=schedule.describe() if schedule else "",
        state=state,
        reason=reason,
        is_declared=entry.text("origin") == "declared",
        next_due=due,
        next_start=schedule.fires_at(due, owner) if schedule and due else due,
        last_due=entry.moment("last_due"),
        last_job=entry.text("last_job") or None,
        last_outcome=entry.text("last_outcome") or None,
        last_ended=entry.moment("last_ended"),
        last_missed=entry.moment("last_missed"),
        created=entry.moment("created"),
        changed=entry.moment("changed"),
        **{name: entry.number(name) for name in _COUNTERS},
    )


def tick_of(found: Mapping[str, Any]) -> Tick:
    """What an entry of the history says."""
    due, at = (datetime.fromtimestamp(float(found[name]), UTC) for name in ("due", "at"))
    return Tick(due, at, found["what"], found["job"] or None, int(found["count"]))


_COUNTERS = ("queued", "skipped", "missed", "finished", "failed", "stopped", "canceled")
