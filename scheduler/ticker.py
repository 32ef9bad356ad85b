"""Ticker: enqueues the jobs of schedules when their time has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dataflow.errors import BrokerUnavailableError, DataFlowError
from dataflow.jobs.job import CANCELED_TTL
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import format_time
from dataflow.schedules import Schedule, Schedules
from dataflow.schedules.store import NEVER, ScheduleStore, moment_of, unix_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from scheduler.leader import Leader
from scheduler.plan import MOST, Plan, Standing, plan_ticks
from scheduler.scripts import LOOK, TICK

logger = logging.getLogger("dataflow.scheduler")

#: Schedules that tick in one call, at most.
BATCH = 200
#: Bytes and number of jobs in one call, about: Redis serves nobody else meanwhile.
BATCH_BYTES, BATCH_JOBS = 4 * 1024 * 1024, 500
#: Seconds between looks, at most: a schedule may have been added for sooner than the next that was known.
LONGEST_WAIT = 0.5
#: Seconds between looks, at least.
SHORTEST_WAIT = 0.001
#: Seconds until the next look where all that was due had been changed meanwhile.
STALE_WAIT = 0.05
#: Declarations kept ready; past it all are read anew.
MOST_KNOWN = 50_000


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that is due, as Redis has it."""

    name: str
    revision: str
    due: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Known:
    """A declaration that was read.

    Attributes:
        revision: Of the schedule when it was read.
        schedule: It.
        most: Ticks of it that are decided in one step: fewer where its jobs are large.
    """

    revision: str
    schedule: Schedule
    most: int


class Ticker(Service):
    """Lets schedules tick while this scheduler leads. All times are those of the broker's clock; this process only
    waits for lengths of time.

    Args:
        link: The connection.
        schedules: The instance's.
        store: Where they are kept.
        leader: Says whether this scheduler leads.
        sync: Brings the code's declarations into Redis; called where Redis has lost them.
        stop_job: Tells a worker that a job of its was canceled: ``(worker, job id)``.
    """

    def __init__(
        self,
        link: Link,
        schedules: Schedules,
        store: ScheduleStore,
        leader: Leader,
        sync: Callable[[], Awaitable[None]],
        stop_job: Callable[[str, str], Awaitable[Any]],
    ) -> None:
        super().__init__()
        self._link = link
        self._schedules = schedules
        self._owner = schedules.owner
        self._store = store
        self._leader = leader
        self._sync = sync
        self._stop_job = stop_job
        self._known: dict[str, Known] = {}
        #: Jobs enqueued so far.
        self.enqueued = 0

    async def run(self) -> None:
        attempt = 0
        while True:
            await self._leader.leads.wait()
            try:
                wait = await self._look()
                attempt = 0
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1
            else:
                await asyncio.sleep(wait)

    async def _look(self) -> float:
        """Let tick what is due; returns seconds until the next look."""
        clock, first, *found = await self._link.call(LOOK, [self._owner, BATCH])
        if not first and self._schedules.declared:
            logger.warning("Redis has no schedules of %s any more; the code's are added again.", self._owner)
            await self._sync()
            return 0.0
        now = datetime.fromtimestamp(float(clock), UTC)
        if found:
            return 0.0 if await self._tick([_due(item, now) for item in found], now) else STALE_WAIT
        wait = float(first or NEVER) - float(clock)
        return min(LONGEST_WAIT, max(SHORTEST_WAIT, wait)) if wait > 0 else 0.0

    async def _tick(self, found: Sequence[Due], now: datetime) -> int:
        """Let these tick; returns how many did, or were found broken."""
        unreadable = await self._learn([due for due in found if not self._knows(due)])
        batch: list[Argument] = []
        sent: list[str] = []
        size = jobs = done = 0
        for due in found:
            if due.name in unreadable or not self._knows(due):
                continue  # it was changed meanwhile, and comes with the next look
            try:
                arguments, number, bytes_of_jobs = self._arguments(due, now)
            except Exception as error:  # whatever is wrong with one, the others go on
                done += await self._break(due, error)
                continue
            batch += arguments
            size += bytes_of_jobs
            jobs += number
            sent.append(due.name)
            if size >= BATCH_BYTES or jobs >= BATCH_JOBS:
                done += await self._send(sent, batch, now)
                batch, sent, size, jobs = [], [], 0, 0
        if sent:
            done += await self._send(sent, batch, now)
        for due in found:
            if due.name in unreadable:
                done += await self._break(due, unreadable[due.name])
        return done

    def _knows(self, due: Due) -> bool:
        known = self._known.get(due.name)
        return known is not None and known.revision == due.revision

    async def _learn(self, unknown: Sequence[Due]) -> dict[str, DataFlowError]:
        """Read declarations; returns why some cannot be used."""
        unreadable: dict[str, DataFlowError] = {}
        if len(self._known) + len(unknown) > MOST_KNOWN:
            self._known.clear()
        for entry in await self._store.read_many(due.name for due in unknown) if unknown else ():
            self._known.pop(entry.name, None)
            try:
                schedule = self._store.schedule_of(entry)
            except DataFlowError as error:
                unreadable[entry.name] = error
                continue
            most = max(1, min(MOST, BATCH_BYTES // len(entry.fields["document"])))
            self._known[entry.name] = Known(entry.text("revision"), schedule, most)
        return unreadable

    def _arguments(self, due: Due, now: datetime) -> tuple[list[Argument], int, int]:
        """The part of the arguments of ``tick.lua`` that lets one schedule tick; number and bytes of its jobs."""
        known = self._known[due.name]
        schedule = known.schedule
        plan = plan_ticks(schedule, self._owner, due.standing, now, known.most)
        if plan.missed:
            logger.warning(
                "Schedule %s missed %d tick(s), the last at %s: no scheduler ran in time.",
                due.name, plan.missed, plan.last_missed,
            )  # fmt: skip
        arguments = _head(due, schedule, plan)
        size = 0
        for moment in plan.runs:
            _, job = self._schedules.maker.arguments(schedule, moment, now)
            arguments += (unix_text(moment), *job)
            size += max(len(part) for part in job if isinstance(part, bytes))
        return arguments, len(plan.runs), size

    async def _send(self, names: Sequence[str], batch: Sequence[Argument], now: datetime) -> int:
        reports = await self._link.call(TICK, [self._owner, format_time(now), CANCELED_TTL, *batch])
        for name, (is_done, *jobs) in zip(names, reports, strict=True):
            if not is_done:
                logger.debug("Schedule %s was changed, or another scheduler was faster.", name)
            for job, status, *worker in jobs:
                await self._note(name, job.decode(), status.decode(), worker[0].decode() if worker else "")
        return sum(report[0] for report in reports)

    async def _note(self, name: str, job: str, status: str, worker: str) -> None:
        if status == "canceled":
            logger.info("Schedule %s: job %s is canceled, since the next one begins.", name, job)
            if worker:
                await self._stop_job(worker, job)
        elif status == "skipped":
            logger.info("Schedule %s: tick %s is skipped, since the job before has not ended.", name, job)
        elif status == "taken":
            logger.error("Schedule %s: another job has the id %s, so that this tick could not be run.", name, job)
        else:
            self.enqueued += 1
            logger.debug("Schedule %s: job %s is %s.", name, job, status)

    async def _break(self, due: Due, error: Exception) -> bool:
        """A schedule cannot run: it waits until somebody mends it, and keeps the tick that it could not run.

        Returns whether that was noted.
        """
        entry = await self._store.read(due.name)
        if entry.text("revision") != due.revision:
            return False
        reason = error.message if isinstance(error, DataFlowError) else f"{type(error).__name__}: {error}"
        noted = await self._store.put(entry, state="broken", due=entry.moment("next_due"), reason=reason)
        if noted:
            logger.error(
                "Schedule %s cannot run, and waits until it is mended: %s", due.name, reason,
                exc_info=None if isinstance(error, DataFlowError) else error,
            )  # fmt: skip
        return noted


def _due(item: Sequence[bytes], now: datetime) -> Due:
    """What the look says of a schedule. Where somebody else than we wrote there, it is due, and nothing more."""
    name, starts, revision, due, since, anchor = item
    standing = Standing(
        due=moment_of(due) or now,
        starts=moment_of(starts) or now,
        since=moment_of(since) or now,
        anchor=moment_of(anchor) or now,
    )
    return Due(name.decode(errors="replace"), revision.decode(), due.decode(), standing)


def _head(due: Due, schedule: Schedule, plan: Plan) -> list[Argument]:
    return [
        due.name, due.revision, due.due, unix_text(plan.due), unix_text(plan.starts) or NEVER,
        plan.missed, unix_text(plan.last_missed), schedule.overlap, len(plan.runs),
    ]  # fmt: skip
