"""Schedules: those of an instance, as its users see and change them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dataflow.errors import ConfigurationError, ScheduleError, ScheduleNotFoundError, did_you_mean
from dataflow.jobs.broker import Broker
from dataflow.jobs.job import Job
from dataflow.jobs.signatures import SigningKeys
from dataflow.loop_thread import run_sync
from dataflow.schedules.changes import Place, place_anew, place_changed, place_kept, place_resumed
from dataflow.schedules.ids import hand_id
from dataflow.schedules.info import ScheduleInfo, Tick, info_of, tick_of
from dataflow.schedules.making import JobMaker
from dataflow.schedules.schedule import Schedule
from dataflow.schedules.store import Entry, ScheduleStore, unix_text
from dataflow.workflows import Workflow

#: Times that a change is tried, where the schedule ticks or somebody else changes it meanwhile.
TRIES = 50

_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Schedules:
    """The schedules of an instance: ``db.schedules``.

    What is changed here is kept in Redis and counts at once. A schedule that is declared in the code (``db.schedule``)
    gets there when a scheduler starts. Every method has an ``…_async`` form for async code.

    Args:
        owner: Name of the instance; its schedules are its own.
        broker: Gives the broker.
        maker: Makes jobs.
        names: Gives the name of a workflow or actor that is named, or given itself.
        signing_keys: Sign declarations, and refuse those that are not signed.

    Example:
        >>> db.schedules.add("nightly", "report", cron="0 2 * * *", timezone="Europe/Berlin", inputs={"days": 1})
        >>> db.schedules.pause("nightly", "the warehouse moves")
        >>> db.schedules.get("nightly").state
        'paused'
    """

    def __init__(
        self,
        owner: str,
        broker: Callable[[], Broker],
        maker: JobMaker,
        names: Callable[[Any], str],
        signing_keys: SigningKeys | None = None,
    ) -> None:
        if not _OWNER.fullmatch(owner):
            raise ConfigurationError(
                f"Schedules belong to an instance by its name, and {owner!r} cannot be part of a job's id.",
                hint="DataFlow(name=…) with 1 to 64 letters, digits, '_' and '-'.",
            )
        self.owner = owner
        self.maker = maker
        self._broker = broker
        self._names = names
        self._keys = signing_keys
        self._declared: dict[str, Schedule] = {}

    # Declared in the code

    @property
    def declared(self) -> Sequence[Schedule]:
        """Those that the code declares."""
        return tuple(self._declared.values())

    def declare(self, schedule: Schedule) -> None:
        """Note a schedule that the code declares.

        Raises:
            ScheduleError: There is one of that name.
        """
        if schedule.name in self._declared:
            raise ScheduleError(
                f"A schedule named {schedule.name!r} is declared already.",
                hint="Give each a name: @db.schedule(…, name=…).",
                part="name",
                value=schedule.name,
            )
        self._declared[schedule.name] = schedule

    def store(self, broker: Broker | None = None) -> ScheduleStore:
        """Where they are kept, in the instance's broker or another."""
        return ScheduleStore(broker or self._broker(), self.owner, self._keys)

    def in_broker(self, broker: Broker) -> Schedules:
        """The schedules of the same instance in another broker."""
        other = Schedules(self.owner, lambda: broker, self.maker, self._names, self._keys)
        other._declared = self._declared
        return other

    # Changes

    async def add_async(
        self, name: str, workflow: Workflow | Callable[..., Any] | str, **arguments: Any
    ) -> ScheduleInfo:
        """Add a schedule. Adding one again that is there exactly so changes nothing.

        Args:
            name: Its name: letters, digits, ``_`` and ``-``.
            workflow: A registered workflow, an actor, what ``db.workflow`` decorated, or the name of one.
            arguments: As for :class:`Schedule`: one of ``cron``, ``every`` and ``at``; and options of its jobs:
                ``queue``, ``inputs``, ``timeout``, ``retry``, ``tenant_id``, ``at_front``, ``result_ttl``,
                ``failure_ttl``, ``meta``, ``exactly_once``. Inputs of an actor are its arguments, by name.

        Raises:
            ScheduleError: An argument is wrong, the workflow is unknown, no tick would ever come, or there is another
                schedule of that name.
            BrokerUnavailableError: The broker cannot be reached.
        """
        schedule = Schedule.declare(name, self._names(workflow), **arguments)

        async def add(store: ScheduleStore, entry: Entry) -> bool:
            if entry:
                _insist_on_same(store, entry, schedule)
                return True
            self.maker.check(schedule, entry.now)
            place = place_anew(schedule, entry.now)
            if place.due is None:
                raise ScheduleError(f"The schedule {name!r} would never tick: its times are past.", part="at")
            created = unix_text(entry.now)
            return await store.put(
                entry, state="active", due=place.due, schedule=schedule, origin="runtime", created=created,
                **place.fields(),
            )  # fmt: skip

        return await self._change(name, add, must_exist=False)

    async def update_async(self, name: str, **changes: Any) -> ScheduleInfo:
        """Change a schedule: the arguments of ``add`` that are given here. None takes an option away.

        A change of its times counts from now on. One that is declared in the code stays changed until its declaration
        in the code changes.

        Args:
            name: Its name.
            changes: ``cron``, ``every`` or ``at`` replaces the others; ``workflow`` and options can be changed too.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            ScheduleError: An argument is wrong, or no tick would ever come.
            BrokerUnavailableError: The broker cannot be reached.
        """
        if "workflow" in changes:
            changes["workflow"] = self._names(changes["workflow"])

        async def update(store: ScheduleStore, entry: Entry) -> bool:
            old = store.schedule_of(entry)
            new = old.changed(**changes)
            self.maker.check(new, entry.now)
            place = place_changed(old, new, entry)
            if entry.text("state") == "paused":
                return await store.put(
                    entry, state="paused", due=None, schedule=new, reason=entry.text("reason"), **place.fields()
                )
            if place.due is None:
                raise ScheduleError(f"The schedule {name!r} would never tick again: its times are past.", part="at")
            return await store.put(entry, state="active", due=place.due, schedule=new, **place.fields())

        return await self._change(name, update)

    async def pause_async(self, name: str, reason: str | None = None) -> ScheduleInfo:
        """Let a schedule start nothing until it is resumed. Jobs that it has started go on.

        Args:
            name: Its name.
            reason: Shown to those who look.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            ScheduleError: It has ended.
            BrokerUnavailableError: The broker cannot be reached.
        """

        async def pause(store: ScheduleStore, entry: Entry) -> bool:
            if entry.text("state") == "ended":
                raise ScheduleError(f"The schedule {name!r} has ended: no tick of it comes any more.")
            return await store.put(entry, state="paused", due=None, reason=reason or "")

        return await self._change(name, pause)

    async def resume_async(self, name: str) -> ScheduleInfo:
        """Let a paused or broken schedule go on.

        What would have been due while it was paused was not missed, and is not run. A broken one still has the tick
        that it could not run.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            ScheduleError: It has ended, its workflow is unknown, or its declaration cannot be read.
            BrokerUnavailableError: The broker cannot be reached.
        """

        async def resume(store: ScheduleStore, entry: Entry) -> bool:
            state = entry.text("state")
            if state == "active":
                return True
            if state == "ended":
                raise ScheduleError(f"The schedule {name!r} has ended: no tick of it comes any more.")
            schedule = store.schedule_of(entry)
            self.maker.check(schedule, entry.now)
            place: Place = place_kept(entry) if state == "broken" else place_resumed(schedule, entry)
            return await store.put(entry, state=place.state(), due=place.due, schedule=schedule, **place.fields())

        return await self._change(name, resume)

    async def remove_async(self, name: str) -> None:
        """Remove a schedule that was added at run time. Jobs that it has started go on; its history goes a day later.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            ScheduleError: It is declared in the code.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        for _ in range(TRIES):
            entry = await self._found(store, name)
            if entry.text("origin") == "declared":
                raise ScheduleError(
                    f"The schedule {name!r} is declared in the code, and would be back when a scheduler starts.",
                    hint="Remove it from the code, or pause it.",
                )
            if await store.remove(entry):
                return
        raise _contended(name)

    async def run_now_async(self, name: str) -> Job:
        """Start a job of a schedule now, beside its ticks; also where it is paused.

        Unless the schedule lets its jobs overlap, the job waits for those before it.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            ScheduleError: Its workflow is unknown, or its declaration cannot be read.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        entry = await self._found(store, name)
        schedule = store.schedule_of(entry)
        self.maker.check(schedule, entry.now)
        job_id, arguments = self.maker.arguments(
            schedule, entry.now, entry.now, job_id=hand_id(self.owner, name, entry.now)
        )
        status = await store.start_now(entry, arguments)
        if status is None:
            raise _not_found(name, await store.names())
        return Job(job_id, self._broker(), status=status)

    async def _change(
        self, name: str, change: Callable[[ScheduleStore, Entry], Awaitable[bool]], *, must_exist: bool = True
    ) -> ScheduleInfo:
        """Change a schedule as it is; again, where it was changed meanwhile."""
        store = self.store()
        for _ in range(TRIES):
            entry = await self._found(store, name) if must_exist else await store.read(name)
            if await change(store, entry):
                return await self.get_async(name)
        raise _contended(name)

    async def _found(self, store: ScheduleStore, name: str) -> Entry:
        entry = await store.read(name)
        if not entry:
            raise _not_found(name, await store.names())
        return entry

    # What there is

    async def get_async(self, name: str) -> ScheduleInfo:
        """A schedule as it is now.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        return info_of(await self._found(store, name), store, self.owner)

    async def list_async(self) -> Sequence[ScheduleInfo]:
        """All schedules as they are now, by name.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        entries = await store.read_many(await store.names())
        return [info_of(entry, store, self.owner) for entry in entries if entry]

    async def history_async(self, name: str) -> Sequence[Tick]:
        """What became of a schedule's last ticks, 20 at most, newest first; also of one removed within the last day.

        Raises:
            ScheduleNotFoundError: There is no such schedule, and nothing is known of one.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        found = await store.history(name)
        if not found:
            await self._found(store, name)
        return [tick_of(item) for item in found]

    async def leader_async(self) -> str | None:
        """Name of the scheduler that leads; None where none runs, or the last one died a moment ago.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        return await self.store().leader()

    # The same from synchronous code

    def add(self, name: str, workflow: Workflow | Callable[..., Any] | str, **arguments: Any) -> ScheduleInfo:
        """``add_async`` from synchronous code."""
        return run_sync(self.add_async(name, workflow, **arguments))

    def update(self, name: str, **changes: Any) -> ScheduleInfo:
        """``update_async`` from synchronous code."""
        return run_sync(self.update_async(name, **changes))

    def pause(self, name: str, reason: str | None = None) -> ScheduleInfo:
        """``pause_async`` from synchronous code."""
        return run_sync(self.pause_async(name, reason))

    def resume(self, name: str) -> ScheduleInfo:
        """``resume_async`` from synchronous code."""
        return run_sync(self.resume_async(name))

    def remove(self, name: str) -> None:
        """``remove_async`` from synchronous code."""
        run_sync(self.remove_async(name))

    def run_now(self, name: str) -> Job:
        """``run_now_async`` from synchronous code."""
        return run_sync(self.run_now_async(name))

    def get(self, name: str) -> ScheduleInfo:
        """``get_async`` from synchronous code."""
        return run_sync(self.get_async(name))

    def history(self, name: str) -> Sequence[Tick]:
        """``history_async`` from synchronous code."""
        return run_sync(self.history_async(name))

    def leader(self) -> str | None:
        """``leader_async`` from synchronous code."""
        return run_sync(self.leader_async())

    def list(self) -> Sequence[ScheduleInfo]:
        """``list_async`` from synchronous code."""
        return run_sync(self.list_async())


def _insist_on_same(store: ScheduleStore, entry: Entry, schedule: Schedule) -> None:
    if entry.text("origin") != "declared" and store.schedule_of(entry) == schedule:
        return
    raise ScheduleError(
        f"There is another schedule named {entry.name!r}.", hint="update() changes it.", part="name", value=entry.name
    )


def _not_found(name: str, known: Sequence[str]) -> ScheduleNotFoundError:
    return ScheduleNotFoundError(f"There is no schedule {name!r}.", hint=did_you_mean(name, known))


def _contended(name: str) -> ScheduleError:
    return ScheduleError(f"The schedule {name!r} changes all the time.", hint="Try again.")
