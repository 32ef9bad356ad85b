"""Schedules where clocks change: a table of what people who know cron expect.

All times are those that local clocks show, with their distance from UTC. The changes lie in the past, so that no
country's decision changes the table:

    Europe/Berlin        2025-03-30  02:00 → 03:00     2025-10-26  03:00 → 02:00
    America/New_York     2025-03-09  02:00 → 03:00     2025-11-02  02:00 → 01:00
    Australia/Lord_Howe  2025-10-05  02:00 → 02:30     2025-04-06  02:00 → 01:30
    Africa/Casablanca    2025-04-06  02:00 → 03:00     2025-02-23  03:00 → 02:00
    Africa/Cairo         2025-04-25  00:00 → 01:00     2025-10-30  24:00 → 23:00
    Antarctica/Troll     2025-03-30  01:00 → 03:00     2025-10-26  03:00 → 01:00
    Pacific/Apia         2011-12-30  was left out
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dataflow.schedules import Schedule

ANCHOR = datetime(2000, 1, 1, tzinfo=UTC)


def ticks(zone: str, cron: str, begin: str, end: str) -> list[str]:
    """Local times, with their offset, of the ticks from ``begin`` until before ``end``, local times without change."""
    schedule = Schedule(name="s", workflow="w", cron=cron, timezone=zone)
    clock = ZoneInfo(zone)
    stop = datetime.fromisoformat(end).replace(tzinfo=clock).astimezone(UTC)
    moment = datetime.fromisoformat(begin).replace(tzinfo=clock).astimezone(UTC) - timedelta(seconds=1)
    found = []
    while (due := schedule.due_after(moment, ANCHOR)) is not None and due < stop:
        assert due > moment
        found.append(due.astimezone(clock).strftime("%d %H:%M %z"))
        moment = due
    return found


CASES = [
    # A daily time in the hour that is left out: right after it, and the next day as usual.
    ("Europe/Berlin", "30 2 * * *", "2025-03-29", "2025-04-01", ["29 02:30 +0100", "30 03:00 +0200", "31 02:30 +0200"]),
    ("America/New_York", "30 2 * * *", "2025-03-08", "2025-03-11",
     ["08 02:30 -0500", "09 03:00 -0400", "10 02:30 -0400"]),
    ("Australia/Lord_Howe", "15 2 * * *", "2025-10-04", "2025-10-07",
     ["04 02:15 +1030", "05 02:30 +1100", "06 02:15 +1100"]),
    ("Africa/Casablanca", "30 2 * * *", "2025-04-05", "2025-04-08",
     ["05 02:30 +0000", "06 03:00 +0100", "07 02:30 +0100"]),
    ("Africa/Cairo", "0 0 * * *", "2025-04-24", "2025-04-27", ["24 00:00 +0200", "25 01:00 +0300", "26 00:00 +0300"]),
    ("Antarctica/Troll", "30 2 * * *", "2025-03-30", "2025-04-01", ["30 03:00 +0200", "31 02:30 +0200"]),
    ("Pacific/Apia", "0 9 * * *", "2011-12-29", "2012-01-01", ["29 09:00 -1000", "31 00:00 +1400", "31 09:00 +1400"]),
    # Just beside it: untouched.
    ("Europe/Berlin", "0 2 * * *", "2025-03-30", "2025-03-31", ["30 03:00 +0200"]),
    ("Europe/Berlin", "59 1 * * *", "2025-03-30", "2025-03-31", ["30 01:59 +0100"]),
    ("Europe/Berlin", "0 3 * * *", "2025-03-30", "2025-03-31", ["30 03:00 +0200"]),
    ("Australia/Lord_Howe", "30 2 * * *", "2025-10-05", "2025-10-06", ["05 02:30 +1100"]),
    # A daily time in the hour that comes twice: the first time only.
    ("Europe/Berlin", "30 2 * * *", "2025-10-25", "2025-10-28", ["25 02:30 +0200", "26 02:30 +0200", "27 02:30 +0100"]),
    ("America/New_York", "30 1 * * *", "2025-11-01", "2025-11-04",
     ["01 01:30 -0400", "02 01:30 -0400", "03 01:30 -0500"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2025-04-05", "2025-04-08",
     ["05 01:45 +1100", "06 01:45 +1100", "07 01:45 +1030"]),
    ("Africa/Casablanca", "30 2 * * *", "2025-02-22", "2025-02-25",
     ["22 02:30 +0100", "23 02:30 +0100", "24 02:30 +0000"]),
    ("Africa/Cairo", "30 23 * * *", "2025-10-29", "2025-11-01", ["29 23:30 +0300", "30 23:30 +0300", "31 23:30 +0200"]),
    ("Antarctica/Troll", "30 1,2 * * *", "2025-10-26", "2025-10-27", ["26 01:30 +0200", "26 02:30 +0200"]),
    ("Europe/Berlin", "0 3 * * *", "2025-10-26", "2025-10-27", ["26 03:00 +0100"]),
    # Several times of the left-out hour are one tick after it, and so are they with the hour's end.
    ("Europe/Berlin", "0,20,40 2 * * *", "2025-03-30", "2025-03-31", ["30 03:00 +0200"]),
    ("Europe/Berlin", "0 1-4 * * *", "2025-03-30", "2025-03-31",
     ["30 01:00 +0100", "30 03:00 +0200", "30 04:00 +0200"]),
    ("Europe/Berlin", "0 1-4 * * *", "2025-10-26", "2025-10-27",
     ["26 01:00 +0200", "26 02:00 +0200", "26 03:00 +0100", "26 04:00 +0100"]),
    # Each hour is each real hour.
    ("Europe/Berlin", "0 * * * *", "2025-03-30 00:00", "2025-03-30 05:00",
     ["30 00:00 +0100", "30 01:00 +0100", "30 03:00 +0200", "30 04:00 +0200"]),
    ("Europe/Berlin", "0 * * * *", "2025-10-26 01:00", "2025-10-26 05:00",
     ["26 01:00 +0200", "26 02:00 +0200", "26 02:00 +0100", "26 03:00 +0100", "26 04:00 +0100"]),
    ("Australia/Lord_Howe", "0 * * * *", "2025-10-05 00:00", "2025-10-05 05:00",
     ["05 00:00 +1030", "05 01:00 +1030", "05 03:00 +1100", "05 04:00 +1100"]),
    ("Australia/Lord_Howe", "30 * * * *", "2025-04-06 00:00", "2025-04-06 04:00",
     ["06 00:30 +1100", "06 01:30 +1100", "06 01:30 +1030", "06 02:30 +1030", "06 03:30 +1030"]),
    # Parts of an hour too, also of a named hour.
    ("Europe/Berlin", "*/15 * * * *", "2025-03-30 01:30", "2025-03-30 03:30",
     ["30 01:30 +0100", "30 01:45 +0100", "30 03:00 +0200", "30 03:15 +0200"]),
    ("Europe/Berlin", "*/30 2 * * *", "2025-10-26", "2025-10-27",
     ["26 02:00 +0200", "26 02:30 +0200", "26 02:00 +0100", "26 02:30 +0100"]),
    ("Europe/Berlin", "*/30 2 * * *", "2025-03-30", "2025-04-01", ["31 02:00 +0200", "31 02:30 +0200"]),
    ("Australia/Lord_Howe", "*/15 1-2 * * *", "2025-10-05", "2025-10-06",
     ["05 01:00 +1030", "05 01:15 +1030", "05 01:30 +1030", "05 01:45 +1030", "05 02:30 +1100", "05 02:45 +1100"]),
    ("Australia/Lord_Howe", "*/15 1-2 * * *", "2025-04-06", "2025-04-07",
     ["06 01:00 +1100", "06 01:15 +1100", "06 01:30 +1100", "06 01:45 +1100", "06 01:30 +1030", "06 01:45 +1030",
      "06 02:00 +1030", "06 02:15 +1030", "06 02:30 +1030", "06 02:45 +1030"]),
    ("Australia/Lord_Howe", "*/30 3 * * *", "2025-10-05", "2025-10-06", ["05 03:00 +1100", "05 03:30 +1100"]),
    ("Africa/Cairo", "*/30 0 * * *", "2025-04-25", "2025-04-27", ["26 00:00 +0300", "26 00:30 +0300"]),
    ("Africa/Cairo", "*/30 23 30 * *", "2025-10-30", "2025-11-01",
     ["30 23:00 +0300", "30 23:30 +0300", "30 23:00 +0200", "30 23:30 +0200"]),
    # A zone at an odd distance, without changes.
    ("Asia/Kathmandu", "0 */12 * * *", "2025-03-30", "2025-03-31", ["30 00:00 +0545", "30 12:00 +0545"]),
    # With seconds the same holds.
    ("Europe/Berlin", "0 30 2 * * *", "2025-03-29", "2025-03-31", ["29 02:30 +0100", "30 03:00 +0200"]),
    ("Europe/Berlin", "0 30 2 * * *", "2025-10-26", "2025-10-27", ["26 02:30 +0200"]),
    ("Europe/Berlin", "0 */30 2 * * *", "2025-10-26", "2025-10-27",
     ["26 02:00 +0200", "26 02:30 +0200", "26 02:00 +0100", "26 02:30 +0100"]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "cron", "begin", "end", "expected"), CASES)
def test_a_cron_schedule_ticks_when_cron_users_expect_it(
    zone: str, cron: str, begin: str, end: str, expected: list[str]
) -> None:
    assert ticks(zone, cron, begin, end) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "day", "count"),
    [
        ("* * * * *", "Europe/Berlin", "2025-03-30", 23 * 60),
        ("* * * * *", "Europe/Berlin", "2025-10-26", 25 * 60),
        ("*/10 * * * *", "Australia/Lord_Howe", "2025-10-05", 141),
        ("*/10 * * * *", "Australia/Lord_Howe", "2025-04-06", 147),
        ("*/15 * * * *", "Europe/Berlin", "2025-03-30", 92),
        ("*/15 * * * *", "Europe/Berlin", "2025-10-26", 100),
        ("0 * * * *", "America/New_York", "2025-11-02", 25),
        ("0 0-23 * * *", "America/New_York", "2025-11-02", 24),
        ("0 0-23 * * *", "America/New_York", "2025-03-09", 23),
    ],
)
def test_a_day_has_its_real_minutes(cron: str, zone: str, day: str, count: int) -> None:
    tomorrow = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    assert len(ticks(zone, cron, day, tomorrow)) == count


@pytest.mark.parametrize("minute", range(0, 180, 7))
def test_a_scheduler_that_starts_within_the_repeated_hour_goes_on_and_not_back(minute: int) -> None:
    daily = Schedule(name="s", workflow="w", cron="45 2 * * *", timezone="Europe/Berlin")
    moment = datetime(2025, 10, 26, 0, 0, tzinfo=UTC) + timedelta(minutes=minute)  # 02:00 +0200, until 04:00 +0100
    first = datetime(2025, 10, 26, 0, 45, tzinfo=UTC)
    tomorrow = datetime(2025, 10, 27, 1, 45, tzinfo=UTC)
    assert daily.due_after(moment, ANCHOR) == (first if moment < first else tomorrow)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2025, 3, 30, 2, 30), datetime(2025, 3, 30, 1, 0, tzinfo=UTC)),
        (datetime(2025, 10, 26, 2, 30), datetime(2025, 10, 26, 0, 30, tzinfo=UTC)),
        (datetime(2025, 10, 26, 2, 30, fold=1), datetime(2025, 10, 26, 1, 30, tzinfo=UTC)),
        (datetime(2025, 7, 1, 12), datetime(2025, 7, 1, 10, tzinfo=UTC)),
    ],
)
def test_one_moment_follows_the_same_rule(given: datetime, expected: datetime) -> None:
    assert Schedule(name="s", workflow="w", at=given, timezone="Europe/Berlin").at == (expected,)


def test_an_interval_does_not_know_of_clocks() -> None:
    start = datetime(2025, 10, 25, 12)
    daily = Schedule(name="s", workflow="w", every=timedelta(days=1), start=start, timezone="Europe/Berlin")
    first = datetime(2025, 10, 25, 10, tzinfo=UTC)
    assert daily.due_after(first, ANCHOR) == first + timedelta(hours=24)


@pytest.mark.parametrize("minute", range(0, 180, 20))
@pytest.mark.parametrize(("cron", "ticks_of_hours"), [("5-59/20 2 * * *", 3), ("*/20 2 * * *", 6)])
def test_counting_from_within_the_repeated_hour_is_going_on(cron: str, ticks_of_hours: int, minute: int) -> None:
    schedule = Schedule(name="s", workflow="w", cron=cron, timezone="Europe/Berlin")
    begin = datetime(2025, 10, 25, 23, 59, tzinfo=UTC)  # 01:59 +0200
    after, until = begin + timedelta(minutes=minute), begin + timedelta(hours=3)
    found, moment = [], after
    while (due := schedule.due_after(moment, ANCHOR)) is not None and due <= until:
        found.append(due)
        moment = due
    assert schedule.ticks_between(after, until, ANCHOR) == (len(found), found[-1] if found else None)
    assert schedule.ticks_between(begin, until, ANCHOR).number == ticks_of_hours
