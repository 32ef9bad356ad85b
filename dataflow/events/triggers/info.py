"""What is known of a trigger, for people and programs that look after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dataflow.errors import DataFlowError
from dataflow.events.triggers.making import TriggeredJobs, reason_of
from dataflow.events.triggers.store import Entry, TriggerStore
from dataflow.events.triggers.trigger import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerInfo:
    """A trigger as it is at one moment.

    Attributes:
        name: Its name.
        trigger: Its declaration; None where that cannot be read, or is not signed as it should be.
        workflow: What it runs; empty where the declaration cannot be read.
        what: Which events, for people to read.
        state: ``active``, ``paused``, or ``broken``: it cannot fire, and keeps its place until it is mended.
        reason: Why it is paused or broken.
        is_declared: It is part of the code; else it was added at run time.
        places: Stream → id of the last event that it has done.
        fired: Events that started a job.
        dead: Events that could not, and are among the dead letters.
        last_job: Id of the job that was started last.
        last_event: Id of the event that started it.
        last_fired: When that was.
        created: When it was added.
        changed: When it was added, changed, paused or resumed last.
    """

    name: str
    trigger: Trigger | None
    workflow: str
    what: str
    state: str
    reason: str
    is_declared: bool
    places: Mapping[str, str]
    fired: int
    dead: int
    last_job: str | None
    last_event: str | None
    last_fired: datetime | None
    created: datetime | None
    changed: datetime | None


def info_of(entry: Entry, store: TriggerStore, jobs: TriggeredJobs) -> TriggerInfo:
    """What an entry says."""
    trigger: Trigger | None = None
    state, reason = entry.text("state"), entry.text("reason")
    try:
        trigger = store.trigger_of(entry)
        jobs.check(trigger)
    except DataFlowError as error:
        if state == "active":
            state, reason = "broken", reason_of(error)
    return TriggerInfo(
        name=entry.name,
        trigger=trigger,
        workflow=trigger.workflow_name if trigger else "",
        what=trigger.describe() if trigger else "",
        state=state,
        reason=reason,
        is_declared=entry.text("origin") == "declared",
        places=entry.places,
        fired=entry.number("fired"),
        dead=entry.number("dead"),
        last_job=entry.text("last_job") or None,
        last_event=entry.text("last_event") or None,
        last_fired=entry.moment("last_fired"),
        created=entry.moment("created"),
        changed=entry.moment("changed"),
    )
