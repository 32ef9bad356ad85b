"""EventProcessorNode: starts a workflow for each event that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflow.errors import MissingParameterError
from dataflow.events.envelope import event_of
from dataflow.events.nodes.starting import CHOOSING, STARTING, run_here, stream_of, trigger_of
from dataflow.events.selection import Selection
from dataflow.events.triggers import Trigger, Triggers
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext


class EventProcessorNode(Node):
    """One event starts one job, also where the node is run again with it.

    Args:
        triggers: Those of the instance.
    """

    spec = NodeSpec(
        "EventProcessorNode",
        "Starts a workflow for each event that is given.",
        (
            Parameter("events", list[dict[str, Any]] | None, description="Events, as EventSourceNode gives them."),
            Parameter("event", dict[str, Any] | None, description="Or one."),
            *CHOOSING,
            Parameter("event_filter", dict[str, Any] | None, description="What the row or the payload must be like."),
            Parameter("target_workflow", str, required=True, description="Name of a registered workflow or actor."),
            *STARTING,
            Parameter("name", str | None, description="Part of the ids of its jobs; default the node's id."),
            *CONTROLS,
        ),
        (
            Output("jobs", list[str], "Ids of the jobs, in the order of the events."),
            Output("results", list[dict[str, Any]], "Without async_execution: what the workflow gave, for each event."),
            Output("processed", int, "Events that it was started for."),
            Output("skipped", int, "Events that were not asked for."),
        ),
    )

    def __init__(self, triggers: Callable[[], Triggers]) -> None:
        self._triggers = triggers

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Start the workflow, event by event.

        Raises:
            InputError: A parameter is wrong.
            BrokerUnavailableError: The broker cannot be reached.
            WorkflowExecutionError: The workflow was run here, and failed.
        """
        bound = self.spec.bind(inputs)
        if bound["events"] is None and bound["event"] is None:
            raise MissingParameterError(
                "EventProcessorNode has no events.", hint="Connect 'events' of an EventSourceNode.", parameter="events"
            )
        given = [*(bound["events"] or ()), *([bound["event"]] if bound["event"] is not None else ())]
        triggers, name = self._triggers(), bound["name"] or context.node_id
        known: dict[str, tuple[Trigger, Selection]] = {}
        jobs: list[str] = []
        results: list[dict[str, Any]] = []
        for item in given:
            event = event_of(item)
            stream = stream_of(event)
            if stream not in known:
                trigger = trigger_of(triggers, name, bound["target_workflow"], [stream], bound["event_filter"], bound)
                known[stream] = trigger, triggers.jobs.check(trigger)
            trigger, selection = known[stream]
            if not selection.matches(event):
                continue
            if bound["async_execution"]:
                jobs.append((await triggers.start_async(trigger, event)).id)
            else:
                results.append(await run_here(triggers, trigger, event))
        done = len(jobs) + len(results)
        return {"jobs": jobs, "results": results, "processed": done, "skipped": len(given) - done}
