"""Schedules as declarations: what is kept, what is refused, when intervals and moments tick, documents."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.job import Retry

from dataflow.errors import ScheduleError
from dataflow.jobs import EnqueueRequest
from dataflow.schedules import Schedule
from dataflow.schedules.options import OPTIONS
from dataflow.schedules.plain import from_plain, to_plain

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WEEKS = (timedelta(weeks=-2), timedelta(weeks=2))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


def schedule(**given: Any) -> Schedule:
    """A schedule, each minute where nothing else is said."""
    if not given.keys() & {"cron", "every", "at"}:
        given["cron"] = "* * * * *"
    return Schedule(**{"name": "s", "workflow": "w", **given})


# -- intervals and moments ---------------------------------------------------------------------------------------------


@given(every=st.integers(1_000, 10**9), anchor=moments, moment=moments)
def test_an_interval_ticks_at_multiples_from_its_anchor(every: int, anchor: datetime, moment: datetime) -> None:
    due = schedule(every=every / 1000).due_after(moment, anchor)
    assert due is not None
    step = timedelta(milliseconds=every)
    assert due > moment
    assert (due - anchor) % step == timedelta(0)
    assert due == anchor if moment < anchor else due - step <= moment


@given(every=st.integers(1_000, 10**7), anchor=moments, before=st.timedeltas(*WEEKS), length=st.timedeltas(*WEEKS))
def test_ticks_of_an_interval_are_counted(every: int, anchor: datetime, before: timedelta, length: timedelta) -> None:
    interval = schedule(every=every / 1000)
    step = timedelta(milliseconds=every)
    after, until = anchor + before, anchor + before + length
    count, last = interval.ticks_between(after, until, anchor)
    first = interval.due_after(after, anchor)
    assert first is not None
    if last is None:
        assert count == 0
        assert first > until
    else:
        assert last == first + (count - 1) * step
        assert last <= until < last + step


def test_ticks_are_counted_within_start_and_end() -> None:
    daily = schedule(cron="0 2 * * *", start=datetime(2026, 1, 2, 2), end=datetime(2026, 1, 9, 1))
    long = ANCHOR - timedelta(days=100), ANCHOR + timedelta(days=100)
    assert daily.ticks_between(*long, ANCHOR) == (7, datetime(2026, 1, 8, 2, tzinfo=UTC))
    assert daily.ticks_between(long[1], long[1] + timedelta(days=9), ANCHOR) == (0, None)
    listed = schedule(at=[ANCHOR, ANCHOR + SECOND, ANCHOR + 2 * SECOND])
    assert listed.ticks_between(ANCHOR, ANCHOR + SECOND, ANCHOR) == (1, ANCHOR + SECOND)
    assert listed.ticks_between(*long, ANCHOR) == (3, ANCHOR + 2 * SECOND)
    assert listed.ticks_between(long[0], ANCHOR - SECOND, ANCHOR) == (0, None)


def test_an_interval_counts_from_its_start_first() -> None:
    start = datetime(2026, 5, 1, 12)
    every = schedule(every=90, start=start, timezone="Europe/Berlin", end=start + 200 * SECOND)
    first = datetime(2026, 5, 1, 10, tzinfo=UTC)
    ticks = [first, first + 90 * SECOND, first + 180 * SECOND, None]
    moment: datetime | None = ANCHOR
    for expected in ticks:
        assert moment is not None
        moment = every.due_after(moment, ANCHOR)
        assert moment == expected


def test_an_interval_ends_with_the_calendar() -> None:
    assert schedule(every=86_400).due_after(datetime(9999, 12, 31, 12, tzinfo=UTC), ANCHOR) is None


def test_moments_are_sorted_unique_and_whole_milliseconds() -> None:
    given = [
        datetime(2026, 5, 2, tzinfo=UTC),
        datetime(2026, 5, 1, 12, 0, 0, 1),
        datetime(2026, 5, 1, 12, 0, 0, 1000, tzinfo=timezone(timedelta(hours=2))),
    ]
    at = schedule(at=given, timezone="Europe/Berlin")
    first, second = datetime(2026, 5, 1, 10, 0, 0, 1000, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    assert at.at == (first, second)
    assert at.due_after(ANCHOR, ANCHOR) == first
    assert at.due_after(first, ANCHOR) == second
    assert at.due_after(second, ANCHOR) is None


@pytest.mark.parametrize(
    ("end", "ticks"),
    [(datetime(2026, 1, 3, 2), 2), (datetime(2026, 1, 3, 1, 59, 59, 999_999), 1), (datetime(2026, 1, 8), 6)],
)
def test_start_and_end_are_within(end: datetime, ticks: int) -> None:
    daily = schedule(cron="0 2 * * *", start=datetime(2026, 1, 2, 2), end=end)
    count, moment = 0, daily.due_after(ANCHOR - timedelta(days=100), ANCHOR)
    assert moment == datetime(2026, 1, 2, 2, tzinfo=UTC)
    while moment is not None:
        count, moment = count + 1, daily.due_after(moment, ANCHOR)
    assert count == ticks


# -- jitter ------------------------------------------------------------------------------------------------------------


@given(jitter=st.floats(0, 86_400), due=moments)
def test_jitter_is_within_its_bounds_and_in_milliseconds(jitter: float, due: datetime) -> None:
    due = due.replace(microsecond=0)
    later = schedule(jitter=jitter).fires_at(due, "shop") - due
    assert timedelta(0) <= later <= timedelta(seconds=jitter)
    assert later % timedelta(milliseconds=1) == timedelta(0)


def test_jitter_spreads_ticks_and_depends_on_owner_name_and_tick() -> None:
    wide = schedule(jitter=1000)
    ticks = [ANCHOR + minute * timedelta(minutes=1) for minute in range(2_000)]
    delays = [(wide.fires_at(due, "shop") - due).total_seconds() for due in ticks]
    tenths = [sum(low <= delay < low + 100 for delay in delays) for low in range(0, 1000, 100)]
    assert all(130 < count < 270 for count in tenths), tenths
    assert wide.fires_at(ANCHOR, "shop") != wide.fires_at(ANCHOR, "store")
    assert wide.fires_at(ANCHOR, "shop") != schedule(name="t", jitter=1000).fires_at(ANCHOR, "shop")


def test_jitter_is_the_same_in_another_process() -> None:
    script = (
        "from datetime import UTC, datetime; from dataflow.schedules import Schedule\n"
        "s = Schedule(name='s', workflow='w', cron='* * * * *', jitter=1000)\n"
        "print(s.fires_at(datetime(2026, 1, 1, tzinfo=UTC), 'shop').isoformat(), s.digest)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    wide = schedule(jitter=1000)
    assert done.stdout.split() == [wide.fires_at(ANCHOR, "shop").isoformat(), wide.digest]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "part", "message"),
    [
        ({"name": "a b"}, "name", "1 to 100 letters, digits"),
        ({"name": ""}, "name", "1 to 100 letters"),
        ({"name": "ä"}, "name", "1 to 100 letters"),
        ({"name": "n" * 101}, "name", "1 to 100 letters"),
        ({"name": "n\n"}, "name", "1 to 100 letters"),
        ({"name": 7}, "name", "1 to 100 letters"),
        ({"workflow": ""}, "workflow", "name of a registered workflow or actor"),
        ({"workflow": object}, "workflow", "name of a registered workflow or actor"),
        ({"cron": "* * * * *", "every": 5}, "every", "one of cron, every and at, got cron and every"),
        ({"cron": None}, "cron", "got none of them"),
        ({"cron": 5}, "cron", "cron is text, got 5"),
        ({"cron": "61 * * * *"}, "cron", "minute 61"),
        ({"cron": "1," * 300}, "cron", "longer than 500 characters"),
        ({"timezone": "Mars"}, "timezone", "no time zone 'Mars'"),
        ({"every": 0}, "every", "seconds from 1 to 315,360,000, got 0"),
        ({"every": 0.999}, "every", "seconds from 1"),
        ({"every": -5}, "every", "seconds from 1"),
        ({"every": math.nan}, "every", "seconds from 1"),
        ({"every": math.inf}, "every", "seconds from 1"),
        ({"every": True}, "every", "seconds from 1"),
        ({"every": "5"}, "every", "seconds from 1"),
        ({"every": timedelta(milliseconds=500)}, "every", "seconds from 1"),
        ({"every": 1.0005}, "every", "whole milliseconds"),
        ({"every": timedelta(seconds=1, microseconds=1)}, "every", "whole milliseconds"),
        ({"every": 10, "jitter": 11}, "jitter", "no longer than the interval, 10 seconds"),
        ({"at": []}, "at", "1 to 1,000 moments, got 0"),
        ({"at": [ANCHOR] * 1001}, "at", "1 to 1,000 moments, got 1,001"),
        ({"at": "2026-01-01"}, "at", "at is a datetime"),
        ({"at": [ANCHOR, None]}, "at", "at is a datetime"),
        ({"at": date(2026, 1, 1)}, "at", "at is a datetime"),
        ({"at": datetime(1969, 1, 1)}, "at", "years 1970 to 9998"),
        ({"at": ANCHOR, "start": ANCHOR + SECOND}, "at", "all of at is before start"),
        ({"at": ANCHOR, "end": ANCHOR - SECOND}, "end", "never ticks before its end"),
        ({"start": "now"}, "start", "start is a datetime"),
        ({"end": 5}, "end", "end is a datetime"),
        ({"end": datetime.max}, "end", "years 1970 to 9998"),
        ({"start": ANCHOR, "end": ANCHOR - SECOND}, "end", "end is not before start, 2026-01-01 00:00:00 UTC"),
        ({"cron": "0 0 1 6 *", "start": ANCHOR, "end": datetime(2026, 2, 1)}, "end", "never ticks before its end"),
        ({"jitter": -1}, "jitter", "seconds from 0 to 86,400"),
        ({"jitter": 100_000}, "jitter", "seconds from 0 to 86,400"),
        ({"jitter": math.nan}, "jitter", "seconds from 0"),
        ({"grace": 0.5}, "grace", "seconds from 1"),
        ({"grace": math.inf}, "grace", "finite"),
        ({"misfire": "run"}, "misfire", "one of skip, run_once, run_all"),
        ({"misfire": []}, "misfire", "one of skip, run_once, run_all"),
        ({"overlap": "cancel"}, "overlap", "one of skip, queue, cancel_previous, allow"),
        ({"misfire": "run_all"}, "misfire", "overlap='skip' would drop most of them"),
        ({"misfire": "run_all", "overlap": "cancel_previous"}, "misfire", "would drop most of them"),
        ({"options": "x"}, "options", "maps names to values"),
        ({"options": {"quue": "x"}}, "quue", "no option 'quue'. Did you mean 'queue'"),
        ({"options": {"job_id": "x"}}, "job_id", "no option 'job_id'"),
        ({"options": {"queue": ""}}, "queue", "word without commas"),
        ({"options": {"queue": "a,b"}}, "queue", "word without commas"),
        ({"options": {"inputs": [1]}}, "inputs", "maps names to values"),
        ({"options": {"meta": 3}}, "meta", "maps names to values"),
        ({"options": {"at_front": 1}}, "at_front", "True or False"),
        ({"options": {"exactly_once": None}}, "exactly_once", "True or False"),
        ({"options": {"timeout": 0}}, "options", "timeout is a positive number"),
        ({"options": {"timeout": "5"}}, "options", "wrong type"),
        ({"options": {"retry": {"max": 0}}}, "options", "whole number from 1"),
        ({"options": {"retry": "twice"}}, "options", "wrong type"),
        ({"options": {"result_ttl": -2}}, "options", "result_ttl is a whole number"),
        ({"options": {"tenant_id": ""}}, "options", "1 to 64 characters"),
        ({"options": {"inputs": {"x": {"y": object()}}}}, "options", "inputs.x.y cannot be sent"),
        ({"options": {"inputs": {"x": "y" * 2**20}}}, "options", "1,048,576 is the limit"),
    ],
)
def test_what_is_wrong_is_refused_with_its_part(given: dict[str, Any], part: str, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        schedule(**given)
    assert message in str(caught.value)
    assert caught.value.context["part"] == part


def test_every_option_of_a_job_is_taken_or_decided_by_the_schedule() -> None:
    decided = {
        "workflow", "job_id", "unique", "delay", "at", "depends_on", "allow_dependency_failures", "ordering_key",
    }  # fmt: skip
    assert EnqueueRequest.__dataclass_fields__.keys() - decided == {*OPTIONS} - {"queue"}


# -- declaring and changing --------------------------------------------------------------------------------------------


def test_one_set_of_arguments_is_sorted_out() -> None:
    declared = Schedule.declare("s", "w", every=5, queue="slow", inputs={"x": 1}, jitter=2)
    assert declared == schedule(every=5, jitter=2, options={"queue": "slow", "inputs": {"x": 1}})
    with pytest.raises(ScheduleError, match=r"no argument 'crn'\. Did you mean 'cron'"):
        Schedule.declare("s", "w", crn="* * * * *")


def test_a_change_keeps_the_rest() -> None:
    before = Schedule.declare("s", "w", cron="0 2 * * *", timezone="Europe/Berlin", queue="slow", retry=3)
    assert before.changed(cron="0 3 * * *").cron == "0 3 * * *"
    after = before.changed(every=60, retry=None, timeout=5, workflow="v")
    assert (after.cron, after.every, after.timezone, after.workflow) == (None, 60.0, "Europe/Berlin", "v")
    assert after.options == {"queue": "slow", "timeout": 5}
    assert before.options == {"queue": "slow", "retry": 3}
    with pytest.raises(ScheduleError, match="no argument 'name'"):
        before.changed(name="t")
    with pytest.raises(ScheduleError, match="one of cron, every and at"):
        before.changed(cron=None)


def test_options_are_a_copy() -> None:
    inputs: dict[str, Any] = {"rows": [1]}
    kept = schedule(options={"inputs": inputs})
    inputs["rows"].append(2)
    assert kept.options == {"inputs": {"rows": [1]}}


# -- documents ---------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), texts,
    st.binary(max_size=8), st.decimals(allow_nan=False), st.uuids(), st.dates(), st.times(), moments, st.timedeltas(),
)  # fmt: skip
tags = st.sampled_from(["$decimal", "$uuid", "$dict", "$inc", "$bytes", "$date"])
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(texts, tags, st.integers(0, 9)), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(value=values)
def test_values_of_jobs_travel_as_json(value: Any) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False))) == value


def test_values_of_jobs_keep_their_types() -> None:
    value = {
        "a": Decimal("1.50"), "b": UUID(int=1), "c": date(2026, 1, 1), "d": time(1, 2), "e": timedelta(days=-1),
        "f": b"\0", "g": ANCHOR, "h": [math.inf], "i": {"$date": "no date"}, "j": {1: 2},
    }  # fmt: skip
    back = from_plain(json.loads(json.dumps(to_plain(value))))
    assert repr(back) == repr(value)
    assert str(back["a"]) == "1.50"


DECLARATIONS: list[dict[str, Any]] = [
    {"cron": "0 2 * * mon-fri", "timezone": "Europe/Berlin", "jitter": 30},
    {"cron": "@daily", "misfire": "run_all", "overlap": "queue", "grace": 120},
    {"every": 1.5, "start": datetime(2026, 1, 1), "end": datetime(2027, 1, 1), "timezone": "Asia/Kathmandu"},
    {"every": timedelta(hours=1), "overlap": "cancel_previous", "misfire": "skip"},
    {"at": datetime(2026, 1, 1, 12, 0, 0, 5000), "timezone": "America/New_York"},
    {"at": [ANCHOR, ANCHOR + SECOND], "options": {"retry": Retry(max=2, interval=[1, 2]), "queue": "q"}},
    {"every": 5, "options": {"inputs": {"price": Decimal("1.5"), "days": (1, 2)}, "meta": {"by": UUID(int=5)},
                             "retry": {"max": 5, "backoff": "exponential"}, "timeout": -1, "tenant_id": "t"}},
]  # fmt: skip


@pytest.mark.parametrize("given", DECLARATIONS)
def test_a_document_is_the_schedule(given: dict[str, Any]) -> None:
    before = schedule(**given)
    text = json.dumps(before.to_document())
    after = Schedule.from_document(json.loads(text))
    assert after == before
    assert after.digest == before.digest
    assert json.dumps(after.to_document()) == text
    assert after.due_after(ANCHOR, ANCHOR) == before.due_after(ANCHOR, ANCHOR)


def test_the_digest_tells_declarations_apart() -> None:
    digests = {schedule(**given).digest for given in DECLARATIONS}
    assert len(digests) == len(DECLARATIONS)
    assert schedule(every=60, jitter=0).digest == schedule(every=timedelta(minutes=1)).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 2}, "version 2, and this program reads version 1"),
        ({"v": None}, "version None"),
        ({"cron": "61 * * * *"}, "minute 61"),
        ({"colour": 1}, "damaged"),
        ({"_timing": None}, "damaged"),
        ({"cron": None, "at": ["yesterday"]}, "damaged"),
        ({"cron": None, "at": 5}, "damaged"),
        ({"start": 5}, "damaged"),
        ({"options": [1]}, "maps names to values"),
        ({"options": {"inputs": {"x": {"$decimal": "one"}}}}, "damaged"),
        ({"options": {"inputs": {"x": {"$dict": 5}}}}, "damaged"),
    ],
)
def test_a_wrong_document_is_refused(change: dict[str, Any], message: str) -> None:
    document = schedule(cron="0 2 * * *").to_document() | change
    with pytest.raises(ScheduleError, match=message):
        Schedule.from_document(document)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"cron": "0 2 * * *", "timezone": "Europe/Berlin"}, "cron 0 2 * * *, Europe/Berlin"),
        ({"cron": "@daily", "jitter": 90}, "cron @daily, UTC, up to 90 s later"),
        ({"every": 7200, "jitter": 60}, "every 2 h, up to 1 min later"),
        ({"every": 1.5}, "every 1.5 s"),
        ({"every": timedelta(days=7)}, "every 7 d"),
        ({"at": ANCHOR}, "at 2026-01-01 00:00:00 UTC"),
        ({"at": [ANCHOR, ANCHOR + SECOND]}, "at 2026-01-01 00:00:00 UTC and 1 more"),
        (
            {"every": 300, "start": ANCHOR, "end": datetime(2027, 1, 1)},
            "every 5 min, from 2026-01-01 00:00:00 UTC, until 2027-01-01 00:00:00 UTC",
        ),
    ],
)
def test_it_says_when_it_runs(given: dict[str, Any], text: str) -> None:
    assert schedule(**given).describe() == text
