"""``db.schedule``: workflows and actors that run because it is time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from dataflow.errors import ScheduleError
from dataflow.jobs import Broker, JobQueue
from dataflow.jobs.actor import Actor
from dataflow.jobs.signatures import SigningKeys
from dataflow.workflows import Workflow

if TYPE_CHECKING:
    from dataflow.schedules.schedule import Misfire, Overlap
    from dataflow.schedules.schedules import Schedules

Target = TypeVar("Target", bound=Callable[..., Any])


class OffersSchedules(ABC):
    """The part of a DataFlow instance that has schedules."""

    name: str
    _actors: dict[str, Actor[..., Any]]
    _workflows: dict[str, Workflow]
    _factories: dict[str, Callable[[], Any]]
    _signing_keys: SigningKeys | None

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The Redis that the schedules are kept in."""

    @abstractmethod
    def queue(self, name: str = "default", url: str | None = None) -> JobQueue:
        """A queue of workflows."""

    @cached_property
    def schedules(self) -> Schedules:
        """The schedules of this instance, to add, change and look at.

        Raises:
            ConfigurationError: The instance's name has other characters than letters, digits, ``_`` and ``-``.
        """
        from dataflow.schedules.making import JobMaker
        from dataflow.schedules.schedules import Schedules

        maker = JobMaker(self.name, self.queue, self._actors)
        return Schedules(self.name, lambda: self.broker, maker, self._name_of, self._signing_keys)

    def schedule(
        self,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        at: datetime | Sequence[datetime] | None = None,
        name: str | None = None,
        timezone: str = "UTC",
        jitter: float = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        misfire: Misfire = "run_once",
        grace: float = 60.0,
        overlap: Overlap = "skip",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Callable[[Target], Target]:
        """Run an actor, or what ``db.workflow`` decorates, by time (decorator; may be stacked, each with a name).

        It stays as it is. Schedules get into Redis when a scheduler (``dataflow scheduler``) starts.

        Args:
            cron: ``"0 2 * * *"``; exactly one of ``cron``, ``every`` and ``at`` is given.
            every: Seconds from 1, or a timedelta.
            at: Once then, or at each of several moments.
            name: Its name: letters, digits, ``_`` and ``-``; default that of the workflow or actor.
            timezone: IANA name of the zone of ``cron`` and of naive datetimes.
            jitter: Seconds: each tick starts up to that much later.
            start: No tick is due before.
            end: No tick is due after.
            misfire: What becomes of ticks that are later than ``grace``: ``"skip"``, ``"run_once"`` or ``"run_all"``.
            grace: Seconds that a tick may be late.
            overlap: What becomes of a tick whose predecessor has not ended: ``"skip"``, ``"queue"``,
                ``"cancel_previous"`` or ``"allow"``.
            inputs: Of the workflow's run; of an actor, its arguments by name.
            options: Of the jobs: ``queue``, ``timeout``, ``retry``, ``tenant_id``, ``at_front``, ``result_ttl``,
                ``failure_ttl``, ``meta``, ``exactly_once``.

        Raises:
            ScheduleError: An argument is wrong, the name is taken, or it decorates something else.

        Example:
            >>> @db.schedule(cron="0 2 * * *", timezone="Europe/Berlin")
            ... @db.actor
            ... async def report() -> None: ...
        """
        from dataflow.schedules.schedule import Schedule

        given: dict[str, Any] = {
            "cron": cron, "every": every, "at": at, "timezone": timezone, "jitter": jitter, "start": start, "end": end,
            "misfire": misfire, "grace": grace, "overlap": overlap, **options,
        }  # fmt: skip
        if inputs is not None:
            given["inputs"] = inputs

        def register(target: Target) -> Target:
            workflow = self._name_of(target)
            schedule = Schedule.declare(name or workflow, workflow, **given)
            self.schedules.maker.check(schedule, datetime.now(UTC))
            self.schedules.declare(schedule)
            return target

        return register

    def _name_of(self, target: Any) -> str:
        """The name that a workflow or actor is registered under, given it, what made it, or its name."""
        if isinstance(target, str):
            return target
        known: tuple[Mapping[str, Any], ...] = (self._actors, self._factories, self._workflows)
        for things in known:
            for name, thing in things.items():
                if thing is target:
                    return name
        raise ScheduleError(
            f"A schedule runs an actor or a registered workflow of this instance, not {target!r}.",
            hint="Put @db.actor or @db.workflow beneath @db.schedule.",
            part="workflow",
        )
