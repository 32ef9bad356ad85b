"""TriggeredJobs: the job that an event starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflow.errors import DataFlowError, InputError, TriggerError, did_you_mean
from dataflow.events.envelope import Event, event_inputs
from dataflow.events.selection import Selection
from dataflow.events.triggers.ids import event_job_id
from dataflow.events.triggers.paths import fill, pick
from dataflow.events.triggers.trigger import Trigger
from dataflow.jobs.actor import Actor
from dataflow.jobs.queue import JobQueue
from dataflow.jobs.requests import EnqueueRequest
from dataflow.jobs.scripts import Argument
from dataflow.models import ModelSpec
from dataflow.nodes.interface import Node, missing_parameter
from dataflow.nodes.registry import process_catalog
from dataflow.runtime.graph import graph_of
from dataflow.workflows import Workflow


class TriggeredJobs:
    """Makes the jobs of triggers.

    Workflows and actors are looked up when a job is made, so each job has what the code says now; options that the
    trigger has count more than those of its actor.

    Args:
        owner: Name of the instance.
        queue: Gives a queue by name.
        models: The instance's models, by name.
        workflows: Its workflows, by name.
        actors: Its actors, by name.
        nodes: Its node types.
    """

    def __init__(
        self,
        owner: str,
        queue: Callable[[str], JobQueue],
        models: Callable[[], Mapping[str, ModelSpec]],
        workflows: Mapping[str, Workflow],
        actors: Mapping[str, Actor[..., Any]],
        nodes: Mapping[str, Node],
    ) -> None:
        self.owner = owner
        self._queue = queue
        self._models = models
        self._workflows = workflows
        self._actors = actors
        self._nodes = nodes

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
        return self._models()

    def selection(self, trigger: Trigger) -> Selection:
        """Which events it asks for.

        Raises:
            TriggerError: A subject, an operation or the filter cannot be used.
        """
        try:
            return Selection(
                self.models,
                trigger.subjects,
                operations=trigger.operations,
                filter=trigger.filter,
                transition=trigger.transition,
                changed=trigger.changed,
            )
        except InputError as error:
            raise TriggerError(error.message, hint=error.hint, part="selection") from error

    def check(self, trigger: Trigger) -> Selection:
        """Refuse a trigger that could start nothing; returns which events it asks for.

        Raises:
            TriggerError: Its events cannot be told apart, its workflow is unknown, or does not take its inputs.
        """
        selection = self.selection(trigger)
        try:
            if isinstance(trigger.workflow, str) and trigger.workflow in self._actors:
                self._check_arguments(trigger.workflow, trigger.paths)
            else:
                workflow = self.workflow(trigger.workflow)
                names = {
                    name: dict(path) if isinstance(path, Mapping) else path for name, path in trigger.paths.items()
                }
                graph_of(workflow, process_catalog).split_inputs(names)
        except InputError as error:
            raise TriggerError(error.message, hint=error.hint, part="inputs") from error
        return selection

    def workflow(self, given: Any) -> Workflow:
        """A workflow that is given itself, or by its name.

        Raises:
            TriggerError: None is registered under the name.
        """
        if isinstance(given, Workflow):
            return given
        found = self._workflows.get(given)
        if found is None:
            raise TriggerError(
                f"No workflow is registered as {given!r}.",
                hint=did_you_mean(given, self._workflows),
                part="workflow",
                value=given,
            )
        return found

    def _check_arguments(self, actor: str, paths: Mapping[str, Any]) -> None:
        spec = self._nodes[actor].spec
        for name in paths:
            spec.parameter(name)
        for item in spec.parameters:
            if item.required and item.name not in paths:
                raise missing_parameter(actor, item.name)

    def arguments(self, trigger: Trigger, event: Event, stream: str, at: str) -> tuple[str, list[Argument]]:
        """Id of the job that an event starts, and the arguments of ``put_job.lua`` that enqueue it.

        Args:
            trigger: What it fires.
            event: The event.
            stream: Where the event is: the name of its table, or ``@`` and its type.
            at: Text of now.

        Raises:
            DataFlowError: It cannot become a job: its workflow is unknown, a path leads nowhere, it is too large.
        """
        queue, request = self.request(trigger, event, event_job_id(self.owner, trigger.name, stream, event.id))
        return queue.arguments(request, at)

    def request(self, trigger: Trigger, event: Event, job_id: str) -> tuple[JobQueue, EnqueueRequest]:
        """The job that an event starts, and its queue; errors as of ``arguments``."""
        data = event_inputs(event)
        inputs = pick(data, trigger.paths)
        options = dict(trigger.options)
        queue = options.pop("queue", None)
        options["meta"] = {**(options.get("meta") or {}), "trigger": trigger.name, "event": event.id}
        options |= {"job_id": job_id, "unique": True}
        if options.get("tenant_id") is None:
            options["tenant_id"] = event.source.tenant
        if trigger.ordering_key is not None:
            options["ordering_key"] = fill(trigger.ordering_key, data)
        actor = self._actors.get(trigger.workflow) if isinstance(trigger.workflow, str) else None
        if actor is None:
            return self._queue(queue or "default"), EnqueueRequest(workflow=trigger.workflow, inputs=inputs, **options)
        return self._queue(queue) if queue else actor.queue, actor.with_options(**options).request(**inputs)


def reason_of(error: Exception) -> str:
    """Why something cannot be done, in one line."""
    return error.message if isinstance(error, DataFlowError) else f"{type(error).__name__}: {error}"
