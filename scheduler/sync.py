"""Sync: what the code declares gets into Redis, and what it declares no more goes."""

from __future__ import annotations

import logging
from collections import Counter

import msgspec

from dataflow.errors import DataFlowError
from dataflow.schedules import Schedule, Schedules
from dataflow.schedules.changes import place_anew, place_changed, place_kept
from dataflow.schedules.schedule import GRACE
from dataflow.schedules.store import Entry, ScheduleStore, unix_text

logger = logging.getLogger("dataflow.scheduler")


#: Schedules that a warning names, at most.
NAMED = 10


class Lateness(msgspec.Struct):
    """What the document of a schedule says about late ticks. Read alone, since at a start there may be thousands."""

    misfire: str = "run_once"
    grace: float = GRACE


class Sync:
    """Brings the schedules of an instance in Redis up to date with its code.

    A declaration that changed since the last time counts, and what was changed at run time is forgotten; a pause stays.
    One that did not change leaves run-time changes alone. One that is gone is retired.

    Args:
        schedules: The instance's.
        store: Where they are kept.
        lock_time: Seconds in which another scheduler takes over: schedules with less grace are warned of.
    """

    def __init__(self, schedules: Schedules, store: ScheduleStore, lock_time: float) -> None:
        self._schedules = schedules
        self._store = store
        self._lock_time = lock_time

    async def run(self) -> None:
        """Do it once. Several schedulers may do so at once, and with the same code it does not matter who is first.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        done: Counter[str] = Counter()
        declared = {schedule.name: schedule for schedule in self._schedules.declared}
        hurried: list[str] = []
        names = [*declared, *(name for name in await self._store.names() if name not in declared)]
        for entry in await self._store.read_many(names):
            while (what := await self._settle(entry, declared.get(entry.name))) is None:
                entry = await self._store.read(entry.name)
            done[what] += 1
            if what not in ("retired", "gone"):
                new: Schedule | Lateness
                new = declared[entry.name] if what in ("added", "changed") else _lateness(entry)
                if new.misfire != "run_all" and new.grace <= self._lock_time:
                    hurried.append(f"{entry.name} ({new.grace:g} s)")
        counts = ", ".join(f"{done[what]} {what}" for what in ("added", "changed", "resumed", "retired") if done[what])
        logger.info(
            "Schedules of %s: %d, of which the code declares %d%s.",
            self._schedules.owner, done.total() - done["retired"] - done["gone"], len(declared),
            f" ({counts})" if counts else "",
        )  # fmt: skip
        if hurried:
            more = f" and {len(hurried) - NAMED} more" if len(hurried) > NAMED else ""
            logger.warning(
                "Too little grace for a takeover, which may need the lock time of %g s; ticks that come due meanwhile "
                "count as missed: %s%s.",
                self._lock_time, ", ".join(hurried[:NAMED]), more,
            )  # fmt: skip

    async def _settle(self, entry: Entry, declared: Schedule | None) -> str | None:
        """What was done about a schedule; None where it was changed meanwhile."""
        if declared is not None:
            if not entry:
                return "added" if await self._add(entry, declared) else None
            if entry.text("declared") != declared.digest:
                return "changed" if await self._change(entry, declared) else None
        elif not entry:
            return "gone"
        elif entry.text("origin") == "declared":
            logger.info("The code declares the schedule %s no more: it is retired.", entry.name)
            return "retired" if await self._store.remove(entry) else None
        if entry.text("state") == "broken":
            return await self._revive(entry, declared)
        return "kept"

    async def _add(self, entry: Entry, schedule: Schedule) -> bool:
        place = place_anew(schedule, entry.now)
        return await self._store.put(
            entry, state=place.state(), due=place.due, schedule=schedule, origin="declared",
            declared=schedule.digest, created=unix_text(entry.now), **place.fields(),
        )  # fmt: skip

    async def _change(self, entry: Entry, schedule: Schedule) -> bool:
        place = place_changed(self._former(entry), schedule, entry)
        paused = entry.text("state") == "paused"
        return await self._store.put(
            entry,
            state="paused" if paused else place.state(),
            due=None if paused else place.due,
            schedule=schedule,
            reason=entry.text("reason") if paused else "",
            origin="declared",
            declared=schedule.digest,
            **place.fields(),
        )

    async def _revive(self, entry: Entry, declared: Schedule | None) -> str | None:
        """Let a broken schedule go on that can run now, with the tick that it could not run."""
        schedule = self._former(entry) or declared
        try:
            if schedule is None:
                return "kept"
            self._schedules.maker.check(schedule, entry.now)
        except DataFlowError:
            return "kept"
        place = place_kept(entry)
        written = await self._store.put(entry, state=place.state(), due=place.due, schedule=schedule, **place.fields())
        return "resumed" if written else None

    def _former(self, entry: Entry) -> Schedule | None:
        """The declaration that Redis has; None where it cannot be read or trusted."""
        try:
            return self._store.schedule_of(entry)
        except DataFlowError:
            return None


def _lateness(entry: Entry) -> Lateness:
    try:
        return msgspec.json.decode(entry.fields["document"], type=Lateness)
    except (KeyError, msgspec.MsgspecError):
        return Lateness()  # it cannot run, and is told of as broken
