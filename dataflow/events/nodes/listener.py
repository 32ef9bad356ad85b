"""CDCListenerNode: has the changes of a table, or messages of a type, told to a server of others from now on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from dataflow.errors import InputError
from dataflow.events.webhooks.webhooks import Webhooks
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.workflows import WorkflowBuilder

if TYPE_CHECKING:
    from dataflow.events.triggers import Triggers

#: How often a delivery is tried again: after about 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, then every 4 hours; a day.
RETRY: Mapping[str, Any] = {
    "max": 12, "backoff": "exponential", "base_delay": 5.0, "multiplier": 4.0, "max_delay": 14_400.0, "jitter": 0.5,
}  # fmt: skip
#: Seconds that a job of it may run.
TIMEOUT = 60
_WHAT = ("table", "model", "event_type")


class CDCListenerNode(Node):
    """Adds a trigger whose workflow is one WebhookNode.

    Args:
        instance: Name of the instance.
        webhooks: Knows where they may be sent.
        triggers: Those of the instance.
    """

    def __init__(self, instance: str, webhooks: Webhooks, triggers: Callable[[], Triggers]) -> None:
        self._instance = instance
        self._webhooks = webhooks
        self._triggers = triggers
        self._spec = NodeSpec(
            "CDCListenerNode",
            "Has events posted to a URL from now on, each once it is taken.",
            (
                Parameter("table", str | None, description="Whose changes: a table."),
                Parameter("model", str | None, description="Whose changes: a model."),
                Parameter("event_type", str | None, description="Or a type of messages of the application."),
                Parameter(
                    "operations", list[str], default=[], description="INSERT, UPDATE, DELETE; default all three."
                ),
                Parameter("filter", dict[str, Any] | None, description="What the row must be like."),
                Parameter("transition", bool, default=False, description="Only events that made the row match."),
                Parameter("webhook_url", str, required=True, description="Where to, https://…"),
                Parameter("name", str | None, description="Of the listener; default the node's id."),
                *CONTROLS,
            ),
            (
                Output("listener", str, "Its name, that of a trigger."),
                Output("registered", bool),
                Output("state", str, "active; or paused, as after 410 Gone."),
            ),
        )

    @property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return self._spec

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        """See Node: what it is about is named once."""
        super().check(params, later)
        if sum(name in params or name in later for name in _WHAT) != 1:
            raise InputError("CDCListenerNode takes one of table, model and event_type.")

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Add the listener, or change one of that name, which keeps its place.

        Raises:
            InputError: The URL, the selection or the name cannot be used.
            ConfigurationError: There is no secret to sign with.
            BrokerUnavailableError: The broker cannot be reached.
        """
        self.check(inputs, ())
        bound = self._spec.bind(inputs)
        self._webhooks.check(bound["webhook_url"])
        name = bound["name"] or context.node_id
        workflow = WorkflowBuilder("webhook")
        params = {"url": bound["webhook_url"], "listener": name, "database": self._instance}
        workflow.add_node("WebhookNode", "deliver", params)
        workflow.add_workflow_inputs("deliver", ["event"])
        message = bound["event_type"]
        added = await self._triggers().add_async(
            name,
            workflow,
            f"@{message}" if message is not None else bound["table"] or bound["model"],
            operations=bound["operations"],
            filter=bound["filter"],
            transition=bound["transition"],
            replace=True,
            retry=RETRY,
            timeout=TIMEOUT,
        )
        return {"listener": name, "registered": True, "state": added.state}
