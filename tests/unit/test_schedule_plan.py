"""Which ticks run, which were missed, and which is next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.schedules import Schedule
from scheduler.plan import MOST, Plan, Standing, plan_ticks

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def schedule_of(**options: Any) -> Schedule:
    return Schedule.declare("s", "w", **{"every": 60, "overlap": "allow", **options})


def plan_of(schedule: Schedule, late: float, **standing: Any) -> Plan:
    """The plan ``late`` seconds after the tick at START should have begun."""
    place: dict[str, Any] = {"due": START, "starts": START, "since": START, "anchor": START} | standing
    return plan_ticks(schedule, "o", Standing(**place), place["starts"] + timedelta(seconds=late))


def seconds(moments: list[datetime]) -> list[float]:
    return [(moment - START).total_seconds() for moment in moments]


def test_a_tick_in_time_runs_and_the_next_follows() -> None:
    plan = plan_of(schedule_of(), 0.01)
    assert (plan.runs, plan.missed, plan.due, plan.starts) == ([START], 0, *[START + timedelta(minutes=1)] * 2)


def test_ticks_within_the_grace_all_run() -> None:
    plan = plan_of(schedule_of(every=1, grace=10), 5.5)
    assert seconds(plan.runs) == [0, 1, 2, 3, 4, 5]
    assert plan.missed == 0


@pytest.mark.parametrize(
    ("misfire", "runs", "missed", "last_missed"),
    [("skip", [600], 10, 540), ("run_once", [540, 600], 9, 480), ("run_all", [n * 60 for n in range(11)], 0, None)],
)
def test_what_is_later_than_the_grace(misfire: str, runs: list[int], missed: int, last_missed: int | None) -> None:
    plan = plan_of(schedule_of(grace=30, misfire=misfire), 610)
    assert seconds(plan.runs) == runs
    assert plan.missed == missed
    assert plan.last_missed == (None if last_missed is None else START + timedelta(seconds=last_missed))
    assert plan.due == START + timedelta(seconds=660)


def test_exactly_the_grace_is_in_time() -> None:
    assert seconds(plan_of(schedule_of(grace=30, misfire="skip"), 30).runs) == [0]
    assert plan_of(schedule_of(grace=30, misfire="skip"), 30.001).missed == 1


def test_a_backlog_of_millions_is_decided_at_once() -> None:
    plan = plan_of(schedule_of(every=1, grace=1), 100 * 86_400)
    assert plan.missed == 100 * 86_400 - 2
    assert seconds(plan.runs) == [100 * 86_400 - 2, 100 * 86_400 - 1, 100 * 86_400]


def test_a_backlog_that_runs_is_decided_in_steps() -> None:
    schedule = schedule_of(misfire="run_all")
    plan = plan_of(schedule, 86_400)
    assert len(plan.runs) == MOST
    assert plan.due == START + MOST * timedelta(minutes=1)


def test_the_last_tick_of_all() -> None:
    at = [START, START + timedelta(hours=1)]
    plan = plan_of(schedule_of(every=None, at=at), 2 * 3600)
    assert (seconds(plan.runs), plan.missed, plan.due, plan.starts) == ([3600], 1, None, None)


def test_ticks_before_a_change_of_times_do_not_count() -> None:
    since = START + timedelta(seconds=500)
    plan = plan_of(schedule_of(grace=100, misfire="skip"), 610, since=since)
    assert seconds(plan.runs) == [540, 600]
    assert plan.missed == 1
    assert plan.last_missed == START


def test_jitter_that_overtakes_keeps_the_order_and_misses_nothing() -> None:
    schedule = Schedule.declare("s", "w", cron="* * * * *", overlap="allow", jitter=3600, misfire="skip", grace=1)
    starts = START + timedelta(seconds=3600)
    plan = plan_of(schedule, 0.5, starts=starts)
    assert plan.missed == 0
    assert plan.runs[0] == START
    assert plan.runs == sorted(plan.runs)
    assert plan.starts is not None
    assert plan.starts > starts


@settings(deadline=None)
@given(
    every=st.integers(1, 400),
    jitter=st.integers(0, 400),
    grace=st.integers(1, 2_000),
    late=st.integers(0, 4_000),
    misfire=st.sampled_from(["skip", "run_once"]),
)
def test_passing_over_is_the_same_as_deciding_one_by_one(
    every: int, jitter: int, grace: int, late: int, misfire: str
) -> None:
    schedule = schedule_of(every=every, jitter=min(jitter, every), grace=grace, misfire=misfire)
    starts = schedule.fires_at(START, "o")
    now = starts + timedelta(seconds=late)
    plan = plan_ticks(schedule, "o", Standing(START, starts, START, START), now, most=100_000)

    due, begins, runs, missed, last_missed = START, starts, [], 0, None
    late_ones = []
    while begins <= now:
        (runs if begins >= now - timedelta(seconds=grace) else late_ones).append(due)
        due += timedelta(seconds=every)
        begins = max(begins, schedule.fires_at(due, "o"))
    if misfire == "run_once" and late_ones:
        runs.insert(0, late_ones.pop())
    missed, last_missed = len(late_ones), late_ones[-1] if late_ones else None
    assert (plan.runs, plan.missed, plan.last_missed, plan.due, plan.starts) == (runs, missed, last_missed, due, begins)
