"""Timings: when the next tick is due.

Each answers one question, ``after(moment)``, from nothing but its declaration: no state, no clock. So whoever asks gets
the same ticks, in whichever process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from dataflow.schedules.cron import Cron
from dataflow.schedules.zones import change, offsets

_SECOND = timedelta(seconds=1)


class Timing(Protocol):
    """When ticks are due."""

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where there is none any more."""
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


@dataclass(frozen=True, slots=True)
class IntervalTiming:
    """Each so many seconds, counted from a moment, which is the first tick."""

    every: timedelta
    first: datetime

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; None where the calendar ends before."""
        count = max(0, (moment - self.first) // self.every + 1)
        try:
            return self.first + count * self.every
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class MomentsTiming:
    """At given moments: in UTC, sorted."""

    moments: Sequence[datetime]

    def after(self, moment: datetime) -> datetime | None:
        """The first of them after a moment; None after the last."""
        place = bisect_right(self.moments, moment)
        return self.moments[place] if place < len(self.moments) else None
