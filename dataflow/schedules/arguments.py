"""Arguments of a schedule: numbers of seconds and moments, checked and brought into one form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dataflow.errors import ScheduleError
from dataflow.schedules.zones import moment_of

#: Moments that ``at`` may name.
MOST_MOMENTS = 1_000

_MICROSECOND = timedelta(microseconds=1)
_YEARS = range(1970, 9999)


def refused(part: str, value: object, rule: str) -> ScheduleError:
    """The error for an argument that breaks a rule ("is text")."""
    return ScheduleError(f"{part} {rule}, got {value!r}.", part=part, value=value)


def seconds_of(part: str, value: object, *, low: float, high: float = math.inf) -> float:
    """A number of seconds, or a timedelta, as seconds.

    Raises:
        ScheduleError: It is none, or not between ``low`` and ``high``.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not low <= number <= high:
        limits = f"from {low:,g}" + ("" if high == math.inf else f" to {high:,.0f}")
        raise refused(part, value, f"is a number of seconds {limits}")
    if math.isinf(number):
        raise refused(part, value, "is a finite number of seconds")
    return float(number)


def moment_in_utc(part: str, value: object, zone: ZoneInfo, *, up: bool = True) -> datetime:
    """A moment in UTC, in whole milliseconds; a naive one is meant in the zone.

    Raises:
        ScheduleError: It is no datetime, or too far away.
    """
    if not isinstance(value, datetime):
        raise refused(part, value, "is a datetime")
    if value.year not in _YEARS:
        raise refused(part, value, f"lies in the years {_YEARS[0]} to {_YEARS[-1]}")
    moment = moment_of(value, zone) if value.tzinfo is None else value.astimezone(UTC)
    rest = moment.microsecond % 1000
    return moment + _MICROSECOND * (1000 - rest if up else -rest) if rest else moment


def moments_in_utc(part: str, value: object, zone: ZoneInfo) -> tuple[datetime, ...]:
    """One moment or several, sorted, each once.

    Raises:
        ScheduleError: One is no datetime, or there are none or too many.
    """
    given = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    if not 1 <= len(given) <= MOST_MOMENTS:
        raise ScheduleError(f"{part} has 1 to {MOST_MOMENTS:,} moments, got {len(given):,}.", part=part)
    return tuple(sorted({moment_in_utc(part, item, zone) for item in given}))
