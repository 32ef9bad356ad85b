"""Timings: when the next tick is due.

Each answers ``after(moment)``, and ``between`` for many ticks at once, from nothing but its declaration: no state, no
clock. So whoever asks gets the same ticks, in whichever process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from dataflow.schedules.cron import Cron
from dataflow.schedules.zones import change, offsets

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
#: Ticks of a span as long are counted one by one where clocks are changed in it.
_SHORT = timedelta(minutes=10)


class Ticks(NamedTuple):
    """How many ticks there are in a span of time, and the last of them, in UTC."""

    number: int = 0
    last: datetime | None = None


class Timing(Protocol):
    """When ticks are due."""

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where there is none any more."""
        ...

    def between(self, after: datetime, until: datetime) -> Ticks:
        """The ticks after a moment and not after another, counted in much less time than one by one."""
        ...


@dataclass(frozen=True, slots=True)
class CronTiming:
    """At the wall times of a cron expression, in a time zone.

    Where clocks change it does what Debian's cron does. A time of the day (``30 2 * * *``) that falls into a gap is due
    at its end, and one that is repeated is due the first time only. An expression that follows real time (its second,
    minute or hour begins with a star) is due whenever clocks show a matching time: never in a gap, in both passes of a
    repeat.
    """

    cron: Cron
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where there is none any more."""
        local = moment.astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0)
        before, after = offsets(wall, self.zone)
        if before != after:
            return self._after_in_repeat(wall, local.fold, before, after)
        return self._from_wall(wall)

    def _from_wall(self, wall: datetime) -> datetime | None:
        """The first tick after a wall time that is not in the first of two passes, or whose second does not count."""
        while (due := self.cron.after(wall)) is not None:
            before, after = offsets(due, self.zone)
            if before >= after:
                return (due - before).replace(tzinfo=UTC)
            end_of_gap = change(due, before, after, self.zone)
            if not self.cron.repeats:
                return end_of_gap
            wall = end_of_gap.astimezone(self.zone).replace(tzinfo=None, fold=0) - _SECOND
        return None

    def _after_in_repeat(
        self, wall: datetime, second_pass: int, before: timedelta, after: timedelta
    ) -> datetime | None:
        changed = change(wall, before, after, self.zone).replace(tzinfo=None)
        start, end = changed + after, changed + before  # wall times that clocks show twice
        if not self.cron.repeats:
            return self._from_wall(end - _SECOND if second_pass else wall)
        due = self.cron.after(wall)
        if due is not None and due < end:
            return (due - (after if second_pass else before)).replace(tzinfo=UTC)
        if not second_pass:
            due = self.cron.after(start - _SECOND)
            if due is not None and due < end:
                return (due - after).replace(tzinfo=UTC)
        return self._from_wall(end - _SECOND)

    def between(self, after: datetime, until: datetime) -> Ticks:
        """The ticks after a moment and not after another. Takes time by the days between, not by the ticks."""
        number = 0
        begin = after
        while begin < until:
            end = min(begin + _DAY, until)
            number += self._number_within_day(begin, end)
            begin = end
        return Ticks(number, self._last(after, until)) if number else Ticks()

    def _number_within_day(self, after: datetime, until: datetime) -> int:
        first, last = after.astimezone(self.zone), until.astimezone(self.zone)
        # Clocks are not changed twice within a day.
        if first.utcoffset() == last.utcoffset() and (self.cron.repeats or not first.fold):
            return self.cron.count(first.replace(tzinfo=None, fold=0), last.replace(tzinfo=None, fold=0))
        if until - after > _SHORT:
            middle = after + (until - after) / 2
            return self._number_within_day(after, middle) + self._number_within_day(middle, until)
        number = 0
        while (due := self.after(after)) is not None and due <= until:
            number, after = number + 1, due
        return number

    def _last(self, after: datetime, until: datetime) -> datetime:
        """The last tick of a span that has one: by going back in longer and longer steps, then halving."""
        step = _SECOND
        while (found := self.after(max(after, until - step))) is None or found > until:
            step *= 4
        high = until
        while (later := self.after(found)) is not None and later <= until:
            middle = later + (high - later) / 2
            half = self.after(middle)
            if half is not None and half <= until:
                found = half
            else:
                found, high = later, middle
        return found


@dataclass(frozen=True, slots=True)
class IntervalTiming:
    """Each so many seconds, counted from a moment, which is the first tick."""

    every: timedelta
    first: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where the calendar ends before."""
        try:
            return self.first + self._until(moment) * self.every
        except OverflowError:
            return None

    def between(self, after: datetime, until: datetime) -> Ticks:
        """The ticks after a moment and not after another."""
        ended = self._until(until)
        number = ended - self._until(after)
        return Ticks(number, self.first + (ended - 1) * self.every) if number > 0 else Ticks()

    def _until(self, moment: datetime) -> int:
        """How many ticks are not after a moment."""
        return max(0, (moment - self.first) // self.every + 1)


@dataclass(frozen=True, slots=True)
class MomentsTiming:
    """At given moments: in UTC, sorted."""

    moments: Sequence[datetime]

    def after(self, moment: datetime) -> datetime | None:
        """The first of them after a moment; None after the last."""
        place = bisect_right(self.moments, moment)
        return self.moments[place] if place < len(self.moments) else None

    def between(self, after: datetime, until: datetime) -> Ticks:
        """Those after a moment and not after another."""
        begin, end = bisect_right(self.moments, after), bisect_right(self.moments, until)
        return Ticks(end - begin, self.moments[end - 1]) if end > begin else Ticks()
