"""JobMaker: the job of a tick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from dataflow.errors import InputError, NodeNotFoundError, ScheduleError
from dataflow.jobs.actor import Actor
from dataflow.jobs.queue import JobQueue
from dataflow.jobs.requests import EnqueueRequest
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import format_time
from dataflow.schedules.ids import tick_id
from dataflow.schedules.schedule import Schedule


class JobMaker:
    """Makes jobs of schedules.

    Workflows and actors are looked up when a job is made, so each job has what the code says now; options that the
    schedule has count more than those of its actor.

    Args:
        owner: Name of the instance.
        queue: Gives a queue by name.
        actors: The instance's actors, by name.
    """

    def __init__(self, owner: str, queue: Callable[[str], JobQueue], actors: Mapping[str, Actor[..., Any]]) -> None:
        self._owner = owner
        self._queue = queue
        self._actors = actors

    def check(self, schedule: Schedule, now: datetime) -> None:
        """Refuse a schedule whose jobs could not be enqueued.

        Raises:
            ScheduleError: Its workflow is unknown, or its actor does not take its inputs.
        """
        try:
            self.arguments(schedule, now, now)
        except NodeNotFoundError as error:
            raise ScheduleError(error.message, hint=error.hint, part="workflow", value=schedule.workflow) from error
        except InputError as error:
            raise ScheduleError(error.message, hint=error.hint, part="inputs") from error

    def arguments(
        self, schedule: Schedule, due: datetime, now: datetime, *, job_id: str | None = None
    ) -> tuple[str, list[Argument]]:
        """Id of the job that is due then, and the arguments of ``put_job.lua`` that enqueue it.

        Args:
            schedule: Whose job.
            due: Time of its tick.
            now: The present moment, by the clock of the broker.
            job_id: Its id; default the tick's.

        Raises:
            NodeNotFoundError: The workflow is unknown.
            InputError: The actor does not take the inputs, or an option cannot be used.
        """
        queue, request = self._request(schedule, due, job_id or tick_id(self._owner, schedule.name, due))
        # A tick that is run late must not find its signature expired.
        counts_from = max(due, now).timestamp()
        return queue.arguments(request, format_time(now), schedule=f"{self._owner}:{schedule.name}", due=counts_from)

    def _request(self, schedule: Schedule, due: datetime, job_id: str) -> tuple[JobQueue, EnqueueRequest]:
        options = dict(schedule.options)
        queue = options.pop("queue", None)
        inputs = options.pop("inputs", None) or {}
        options["meta"] = {**(options.get("meta") or {}), "schedule": schedule.name, "due": due}
        options |= {"job_id": job_id, "unique": True}
        actor = self._actors.get(schedule.workflow)
        if actor is None:
            request = EnqueueRequest(workflow=schedule.workflow, inputs=inputs, **options)
            place = self._queue(queue or "default")
        else:
            request = actor.with_options(**options).request(**inputs)
            place = self._queue(queue) if queue else actor.queue
        if request.ordering_key is None and schedule.overlap != "allow":
            # Their line says which of its jobs have not ended, and lets none begin before another has.
            request = replace(request, ordering_key=f"schedule:{self._owner}:{schedule.name}")
        return place, request
