"""Time zones: from wall time to moments and back, where clocks are put forward or back.

A wall time is a naive datetime: what a clock on the wall shows. Where clocks go forward, some wall times are never
shown (a *gap*); where they go back, some are shown twice (a *repeat*, whose second pass has ``fold=1``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from dataflow.errors import ScheduleError, did_you_mean

_SECOND = timedelta(seconds=1)
#: Names that a machine's database may have, and that mean something else on the next machine.
_LOCAL = frozenset({"localtime", "posixrules", "Factory"})


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ScheduleError: There is none of that name.
    """
    try:
        if name in _LOCAL:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, TypeError, OSError, KeyError):
        raise ScheduleError(
            f"There is no time zone {name!r}.", hint=_zone_hint(name), part="timezone", value=name
        ) from None


def _zone_hint(name: object) -> str:
    if not isinstance(name, str):
        return "It is an IANA name: timezone='Europe/Berlin'."
    if re.fullmatch(r"(UTC|GMT)?[+-]\d{1,2}(:?\d\d)?", name, re.IGNORECASE):
        return "Name a place: 'Europe/Berlin'. (Etc/GMT-2 is two hours before UTC: its sign is the other way round.)"
    near = did_you_mean(name, available_timezones())
    return near if near.startswith("Did you mean") else "It is an IANA name, such as 'Europe/Berlin' or 'UTC'."


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, at which clocks show a wall time.

    In a repeat it is the first such moment, or the second one for ``fold=1``. A wall time in a gap is never shown; its
    moment is the end of the gap.
    """
    before, after = offsets(wall, zone)
    if before < after:
        return change(wall, before, after, zone)
    return (wall - (after if wall.fold else before)).replace(tzinfo=UTC, fold=0)


def offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """What is to be subtracted from a wall time for UTC: in the first and in the second pass of a repeat.

    Both are the same but in a repeat, where the first is larger, and in a gap, where the second is.
    """
    first = zone.utcoffset(wall.replace(fold=0))
    second = zone.utcoffset(wall.replace(fold=1))
    assert first is not None
    assert second is not None  # ZoneInfo has one for every datetime
    return first, second


def change(wall: datetime, before: timedelta, after: timedelta, zone: ZoneInfo) -> datetime:
    """The moment at which clocks are changed, for a wall time in the gap or repeat that this makes."""
    wall = wall.replace(microsecond=0, tzinfo=UTC, fold=0)
    low, high = wall - max(before, after), wall - min(before, after)
    # low is before the change, high is not. All changes are at whole seconds.
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high
