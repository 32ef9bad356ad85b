"""EventTriggerNode: has a workflow started by events from now on, or by one that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflow.errors import InputError
from dataflow.events.envelope import event_of
from dataflow.events.nodes.starting import CHOOSING, STARTING, one_subject, run_here, stream_of, trigger_of
from dataflow.events.triggers import Triggers
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext


class EventTriggerNode(Node):
    """Without ``event`` it adds a trigger to those of the instance, or changes the one of its name, which keeps its
    place; run again, it changes nothing. With an ``event`` it starts the workflow for this one.

    Args:
        triggers: Those of the instance.
    """

    spec = NodeSpec(
        "EventTriggerNode",
        "Starts a workflow by events: from now on, or by the one that is given.",
        (
            Parameter("event_type", str | None, description="A type of messages, such as order_created."),
            Parameter("table", str | None, description="Or changes of a table."),
            Parameter("model", str | None, description="Or of a model."),
            *CHOOSING,
            Parameter("filter", dict[str, Any] | None, description="What the row or the payload must be like."),
            Parameter("workflow_id", str, required=True, description="Name of a registered workflow or actor."),
            *STARTING,
            Parameter("name", str | None, description="Of the trigger; default the node's id."),
            Parameter("event", dict[str, Any] | None, description="An event, as EventSourceNode gives them."),
            *CONTROLS,
        ),
        (
            Output("trigger", str, "Name of the trigger."),
            Output("registered", bool, "Whether it is there for events to come."),
            Output("job_id", str | None, "Job of the given event; None where it was not asked for."),
            Output("result", dict[str, Any] | None, "Without async_execution: what the workflow gave, by node."),
        ),
    )

    def __init__(self, triggers: Callable[[], Triggers]) -> None:
        self._triggers = triggers

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Add the trigger, or start the workflow.

        Raises:
            InputError: A parameter is wrong.
            BrokerUnavailableError: The broker cannot be reached.
            WorkflowExecutionError: The workflow was run here, and failed.
        """
        bound = self.spec.bind(inputs)
        triggers = self._triggers()
        name, subject = bound["name"] or context.node_id, one_subject(bound, self.spec.type)
        if bound["event"] is not None:
            event = event_of(bound["event"])
            trigger = trigger_of(
                triggers, name, bound["workflow_id"], [subject or stream_of(event)], bound["filter"], bound
            )
            output = {"trigger": name, "registered": False, "job_id": None, "result": None}
            if not triggers.jobs.check(trigger).matches(event):
                return output
            if bound["async_execution"]:
                return output | {"job_id": (await triggers.start_async(trigger, event)).id}
            return output | {"result": await run_here(triggers, trigger, event)}
        if subject is None:
            raise InputError("EventTriggerNode needs an event_type, a table or a model, or an event.")
        if not bound["async_execution"]:
            raise InputError(
                "EventTriggerNode: events to come start jobs.",
                hint="async_execution=False needs the event: connect one to 'event'.",
            )
        trigger = trigger_of(triggers, name, bound["workflow_id"], [subject], bound["filter"], bound)
        await triggers.keep_async(trigger)
        return {"trigger": name, "registered": True, "job_id": None, "result": None}
