"""Which ticks of a schedule run now, which were missed, and which is next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dataflow.schedules import Schedule

#: Ticks of a schedule decided in one step. What is left is due still, and comes with the next.
MOST = 100

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands, as Redis has it.

    Attributes:
        due: Its next tick.
        starts: When that is to start: after its jitter, and not before the tick before it.
        since: Ticks before this are not its own.
        anchor: Intervals are counted from here.
    """

    due: datetime
    starts: datetime
    since: datetime
    anchor: datetime


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Attributes:
        runs: Ticks that run, in their order.
        missed: How many are not run because they are too late.
        last_missed: The last of those.
        due: The next tick; None where none comes any more.
        starts: When that is to start.
    """

    runs: list[datetime] = field(default_factory=list)
    missed: int = 0
    last_missed: datetime | None = None
    due: datetime | None = None
    starts: datetime | None = None


def plan_ticks(schedule: Schedule, owner: str, standing: Standing, now: datetime, most: int = MOST) -> Plan:
    """Decide about the ticks that are due.

    One is missed where it is later than the schedule's grace; its misfire policy says what becomes of it.

    Args:
        schedule: Its declaration.
        owner: Name of its instance.
        standing: Where it stands.
        now: The present moment, by the clock of the broker.
        most: How many ticks at most.
    """
    plan = Plan(due=standing.due, starts=standing.starts)
    on_time_from = now - timedelta(seconds=schedule.grace)
    if schedule.misfire != "run_all":
        _pass_over(plan, schedule, owner, standing, on_time_from)
    for _ in range(most):
        due, starts = plan.due, plan.starts
        if due is None or starts is None or starts > now:
            break
        plan.due = schedule.due_after(max(due, standing.since), standing.anchor)
        # Jitter may let a tick start after the next one would: ticks keep their order.
        plan.starts = None if plan.due is None else max(starts, schedule.fires_at(plan.due, owner))
        if starts >= on_time_from or schedule.misfire == "run_all":
            plan.runs.append(due)
        elif schedule.misfire == "run_once" and (plan.starts is None or plan.starts >= on_time_from):
            plan.runs.append(due)  # the last of those that were missed
        else:
            plan.missed += 1
            plan.last_missed = due
    return plan


def _pass_over(plan: Plan, schedule: Schedule, owner: str, standing: Standing, on_time_from: datetime) -> None:
    """Count the ticks that were missed for certain, but the last of them: after a long stop they may be millions."""
    until = on_time_from - timedelta(seconds=schedule.jitter) - _MICROSECOND
    after = max(standing.due, standing.since)
    missed = schedule.ticks_between(after, until, standing.anchor)
    if missed.last is None:
        return
    before = schedule.ticks_between(after, missed.last - _MICROSECOND, standing.anchor)
    plan.missed = missed.number
    plan.last_missed = before.last or standing.due
    plan.due = missed.last
    plan.starts = max(standing.starts, schedule.fires_at(missed.last, owner))
