"""What the nodes that start workflows for events have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataflow.errors import InputError
from dataflow.events.envelope import Event, Op
from dataflow.events.selection import MESSAGE
from dataflow.events.triggers import Trigger, Triggers
from dataflow.nodes.interface import Parameter
from dataflow.runtime import AsyncLocalRuntime

#: How the workflow is started.
STARTING = (
    Parameter("async_execution", bool, default=True, description="As a job; else here, while the node waits."),
    Parameter(
        "inputs", dict[str, Any] | None, description="Input of the workflow → path into the event; default event."
    ),
    Parameter("ordering_key", str | None, description="Jobs with the same key run one by one: order:{row.id}."),
    Parameter("queue", str | None, description="Queue of the jobs."),
)
#: Which events.
CHOOSING = (
    Parameter("operations", list[str], default=[], description="INSERT, UPDATE, DELETE; default all three."),
    Parameter("transition", bool, default=False, description="Only events that made the row match."),
)


def stream_of(event: Event) -> str:
    """Name of the stream that an event is in."""
    return MESSAGE + event.source.table if event.op is Op.MESSAGE else event.source.table


def trigger_of(
    triggers: Triggers, name: str, workflow: str, subjects: Sequence[str], conditions: Any, bound: Mapping[str, Any]
) -> Trigger:
    """The trigger that a node's parameters describe.

    Raises:
        TriggerError: One is wrong.
    """
    options = {} if bound["queue"] is None else {"queue": bound["queue"]}
    return triggers.trigger(
        name, workflow, subjects, operations=bound["operations"], filter=conditions, transition=bound["transition"],
        inputs=bound["inputs"], ordering_key=bound["ordering_key"], **options,
    )  # fmt: skip


async def run_here(triggers: Triggers, trigger: Trigger, event: Event) -> dict[str, Any]:
    """Run the workflow of an event here; results by node.

    Raises:
        WorkflowExecutionError: A node of it failed.
    """
    _, request = triggers.jobs.request(trigger, event, "here")
    workflow = triggers.jobs.workflow(request.workflow)
    runtime = AsyncLocalRuntime()
    results, _ = await runtime.execute_workflow_async(workflow, request.inputs, tenant_id=request.tenant_id)
    return results


def one_subject(bound: Mapping[str, Any], node_type: str) -> str | None:
    """What a node's parameters say that the events are about; None where they say nothing.

    Raises:
        InputError: They say several things.
    """
    given = [name for name in ("event_type", "table", "model") if bound[name] is not None]
    if len(given) > 1:
        raise InputError(f"{node_type} takes one of event_type, table and model, got {' and '.join(given)}.")
    if not given:
        return None
    subject: str = bound[given[0]]
    return MESSAGE + subject.removeprefix(MESSAGE) if given == ["event_type"] else subject
