"""Nodes for events: one of each kind for an instance, whatever its models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dataflow.databases.interface import Database
from dataflow.events.dead_letters import DeadLetters
from dataflow.events.nodes.listener import CDCListenerNode
from dataflow.events.nodes.processor import EventProcessorNode
from dataflow.events.nodes.publish import EventPublishNode
from dataflow.events.nodes.source import EventSourceNode
from dataflow.events.nodes.trigger import EventTriggerNode
from dataflow.events.nodes.webhook import WebhookNode
from dataflow.events.triggers import Triggers
from dataflow.events.webhooks.webhooks import Webhooks
from dataflow.jobs import Broker
from dataflow.models import ModelSpec
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node
from dataflow.settings import Settings


class Instance(Protocol):
    """What the nodes need of a DataFlow instance."""

    name: str
    settings: Settings
    database: Database

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
        ...

    @property
    def broker(self) -> Broker:
        """Where its queues and streams are."""
        ...

    @property
    def dead_events(self) -> DeadLetters:
        """What could not be done."""
        ...

    @property
    def triggers(self) -> Triggers:
        """Its triggers."""
        ...


def event_nodes(app: Instance, schema: Schema) -> dict[str, Node]:
    """The nodes for events of an instance, by type name.

    Args:
        app: The instance.
        schema: Its models.

    Raises:
        ConfigurationError: A setting of webhooks is wrong.
    """
    webhooks = Webhooks(app.settings.secrets_of_webhooks(), app.settings.webhook_allow)
    nodes = (
        EventPublishNode.of(schema, app.database, may_create=app.settings.may_create_tables),
        WebhookNode(
            webhooks,
            lambda listener, reason: app.triggers.pause_async(listener, reason),
            lambda fields: app.dead_events.add(fields),
        ),
        CDCListenerNode(app.name, webhooks, lambda: app.triggers),
        EventSourceNode(app.name, lambda: app.broker, lambda: app.models),
        EventTriggerNode(lambda: app.triggers),
        EventProcessorNode(lambda: app.triggers),
    )
    return {node.spec.type: node for node in nodes}
