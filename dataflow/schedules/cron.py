"""Cron expressions: the text, and the next wall time that it matches.

A field is a number whose bits are the values that match, so "the next one from here" is a shift and a lowest bit. Time
zones are not known here: see ``timing.py``.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from dataflow.errors import ScheduleError
from dataflow.schedules.cron_fields import DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, Days, Problem

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

#: Characters of an expression.
MAX_LENGTH = 500

_ONE_SECOND = timedelta(seconds=1)
_ONE_DAY = timedelta(days=1)
#: Days that a month may have.
_LENGTHS = {month: (28, 29) if month == 2 else (30,) if month in (4, 6, 9, 11) else (31,) for month in range(1, 13)}


class _Time(NamedTuple):
    hour: int
    minute: int
    second: int


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression.

    Attributes:
        text: As it was written.
        repeats: It follows real time, since its second, minute or hour begins with a star. Otherwise it names times of
            the day.
    """

    text: str
    repeats: bool
    _seconds: int
    _minutes: int
    _hours: int
    _months: int
    _days: Days

    def after(self, wall: datetime) -> datetime | None:
        """The next wall time after ``wall`` that matches: whole seconds; None where the calendar ends before one."""
        wall = wall.replace(microsecond=0) + _ONE_SECOND
        if self._matches_day(wall):
            time = self._time_from(wall.hour, wall.minute, wall.second)
            if time is not None:
                return datetime(wall.year, wall.month, wall.day, *time)
        return self._first_of_day_from(wall.year, wall.month, wall.day + 1)

    def count(self, after: datetime, until: datetime) -> int:
        """How many wall times after one and not after another match."""
        first = self._matches_day(after) and self._count_of_day(after)
        last = self._matches_day(until) and self._count_of_day(until)
        whole = self._seconds.bit_count() * self._minutes.bit_count() * self._hours.bit_count()
        days = sum(self._matches_day(after + day * _ONE_DAY) for day in range((until.date() - after.date()).days))
        return days * whole + last - first

    def _matches_day(self, wall: datetime) -> bool:
        return bool(self._months >> wall.month & 1 and self._days_of(wall.year, wall.month) >> wall.day & 1)

    def _count_of_day(self, wall: datetime) -> int:
        """How many times of a day that matches are not after this one."""
        seconds = _below(self._seconds, wall.second + 1) if self._minutes >> wall.minute & 1 else 0
        minutes = _below(self._minutes, wall.minute) * self._seconds.bit_count() + seconds
        hours = _below(self._hours, wall.hour) * self._minutes.bit_count() * self._seconds.bit_count()
        return hours + (minutes if self._hours >> wall.hour & 1 else 0)

    def _time_from(self, hour: int, minute: int, second: int) -> _Time | None:
        """The first time of a day that matches and is not earlier."""
        if self._hours >> hour & 1:
            if self._minutes >> minute & 1 and self._seconds >> second:
                return _Time(hour, minute, _lowest(self._seconds, second))
            if self._minutes >> minute + 1:
                return _Time(hour, _lowest(self._minutes, minute + 1), _lowest(self._seconds))
        if self._hours >> hour + 1:
            return _Time(_lowest(self._hours, hour + 1), _lowest(self._minutes), _lowest(self._seconds))
        return None

    def _first_of_day_from(self, year: int, month: int, day: int) -> datetime | None:
        """The first time of the first day that matches and is not earlier; ``day`` may be one past the month's end."""
        while year < MAXYEAR:
            if self._months >> month & 1:
                days = self._days_of(year, month)
                if days >> day:
                    time = _Time(_lowest(self._hours), _lowest(self._minutes), _lowest(self._seconds))
                    return datetime(year, month, _lowest(days, day), *time)
            day = 1
            if self._months >> month + 1:
                month = _lowest(self._months, month + 1)
            else:
                year, month = year + 1, _lowest(self._months)
        return None

    def _days_of(self, year: int, month: int) -> int:
        return self._days.of_month(*calendar.monthrange(year, month))


def _lowest(bits: int, start: int = 0) -> int:
    """The lowest bit that is set, from ``start`` on; there is one."""
    rest = bits >> start
    return start + (rest & -rest).bit_length() - 1


def _below(bits: int, end: int) -> int:
    """How many bits are set, below ``end``."""
    return (bits & (1 << end) - 1).bit_count()


@lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron:
    """What a cron expression says: minute, hour, day of month, month, day of week; with six fields, second first.

    Raises:
        ScheduleError: It is wrong, or no day ever matches.
    """
    try:
        return _parse(text)
    except Problem as problem:
        message = f"{problem.what} of cron {text!r} {problem.why}." if problem.what else f"cron {text!r} {problem.why}."
        raise ScheduleError(message, hint=problem.hint, part="cron", value=text) from None


def _parse(text: str) -> Cron:
    if len(text) > MAX_LENGTH:
        raise Problem(f"is longer than {MAX_LENGTH} characters")
    words = MACROS.get(text.strip().lower(), text).upper().split()
    if words and words[0].startswith("@"):
        raise _unknown_macro(words[0])
    if len(words) not in (5, 6):
        raise Problem(
            f"has {len(words)} fields",
            hint="It takes five: minute, hour, day of month, month, day of week; or six with the second before them.",
        )
    second, minute, hour, day, month, weekday = words if len(words) == 6 else ["0", *words]
    days = Days(
        numbers=DAY.read(day),
        weekdays=WEEKDAY.read(weekday),
        # As Debian's cron has it: where both say which days, either is enough.
        both=day.startswith("*") or weekday.startswith("*"),
    )
    months = MONTH.read(month).plain
    if not any(_may_match(days, number) for number in range(1, 13) if months >> number & 1):
        raise Problem("never comes", hint="No such day is in such a month.")
    return Cron(
        text,
        repeats=second.startswith("*") or minute.startswith("*") or hour.startswith("*"),
        _seconds=SECOND.read(second).plain,
        _minutes=MINUTE.read(minute).plain,
        _hours=HOUR.read(hour).plain,
        _months=months,
        _days=days,
    )


def _unknown_macro(word: str) -> Problem:
    if word == "@REBOOT":
        return Problem("is no time", hint="What a process does when it starts belongs into its program.")
    if word == "@EVERY":
        return Problem("is no cron expression", hint="Intervals are every=…, in seconds.")
    return Problem("is unknown", hint=f"There are {', '.join(MACROS)}.")


def _may_match(days: Days, month: int) -> bool:
    """Whether the month ever has such a day: in 400 years it begins with every day of the week, also in leap years."""
    return any(days.of_month(first, length) for length in _LENGTHS[month] for first in range(7))
