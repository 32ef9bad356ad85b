"""What a change of a schedule does to its ticks: which is next, and from when they count."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from dataflow.schedules.schedule import Schedule
from dataflow.schedules.store import Entry, unix_text

#: What says when a schedule ticks.
_TIMES = ("cron", "every", "at", "timezone", "start", "end")


class Place(NamedTuple):
    """Where a schedule stands.

    Attributes:
        due: Its next tick; None where none comes any more.
        since: Ticks before this are not its own.
        anchor: Intervals are counted from here.
    """

    due: datetime | None
    since: datetime
    anchor: datetime

    def state(self, wanted: str = "active") -> str:
        """The state, given what it would be if there is a next tick."""
        return wanted if self.due is not None else "ended"

    def fields(self) -> dict[str, Any]:
        """As fields of the hash."""
        return {"since": unix_text(self.since), "anchor": unix_text(self.anchor)}


def place_anew(schedule: Schedule, now: datetime) -> Place:
    """Where a schedule stands that begins now."""
    anchor = now.replace(microsecond=0)
    return Place(schedule.due_after(now, anchor), now, anchor)


def place_resumed(schedule: Schedule, entry: Entry) -> Place:
    """Where a schedule stands that goes on after a pause: what would have been due meanwhile is not missed."""
    anchor = entry.moment("anchor") or entry.now.replace(microsecond=0)
    return Place(schedule.due_after(entry.now, anchor), entry.now, anchor)


def place_kept(entry: Entry) -> Place:
    """Where a schedule stands whose times stay as they are."""
    return Place(entry.moment("next_due"), entry.moment("since") or entry.now, entry.moment("anchor") or entry.now)


def place_changed(old: Schedule | None, new: Schedule, entry: Entry) -> Place:
    """Where a schedule stands whose declaration is another now.

    A tick that is due already is not lost: it is run as the new declaration says, and what that one has due before now
    does not count.

    Args:
        old: The former declaration; None where it cannot be read.
        new: The present one.
        entry: What Redis holds of it.
    """
    kept = place_kept(entry)
    if old is not None and all(getattr(old, name) == getattr(new, name) for name in _TIMES):
        return kept if kept.due is not None else place_resumed(new, entry)
    if old is None or old.every is None or old.every != new.every:
        kept = kept._replace(anchor=entry.now.replace(microsecond=0))
    due = kept.due if kept.due is not None and kept.due <= entry.now else new.due_after(entry.now, kept.anchor)
    return Place(due, entry.now, kept.anchor)
