"""Nodes for events: one of each kind for an instance, whatever its models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

from dataflow.databases.interface import Database
from dataflow.events.nodes.publish import EventPublishNode
from dataflow.jobs import Broker
from dataflow.models import ModelSpec
from dataflow.nodes.deferred import DeferredNode
from dataflow.nodes.interface import Node
from dataflow.settings import Settings

if TYPE_CHECKING:
    from dataflow.events.dead_letters import DeadLetters
    from dataflow.events.triggers import Triggers
    from dataflow.events.webhooks.webhooks import Webhooks
    from dataflow.nodes.generated.schema import Schema


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
    """The nodes for events of an instance, by type name. Most are imported and made when one is first used.

    Args:
        app: The instance.
        schema: Its models.

    Raises:
        ConfigurationError: A setting of webhooks is wrong.
    """

    @cache
    def webhooks() -> Webhooks:
        from dataflow.events.webhooks.webhooks import Webhooks

        return Webhooks(app.settings.secrets_of_webhooks(), app.settings.webhook_allow)

    def webhook() -> Node:
        from dataflow.events.nodes.webhook import WebhookNode

        return WebhookNode(
            webhooks(),
            lambda listener, reason: app.triggers.pause_async(listener, reason),
            lambda fields: app.dead_events.add(fields),
        )

    def listener() -> Node:
        from dataflow.events.nodes.listener import CDCListenerNode

        return CDCListenerNode(app.name, webhooks(), lambda: app.triggers)

    def source() -> Node:
        from dataflow.events.nodes.source import EventSourceNode

        return EventSourceNode(app.name, lambda: app.broker, lambda: app.models)

    def trigger() -> Node:
        from dataflow.events.nodes.trigger import EventTriggerNode

        return EventTriggerNode(lambda: app.triggers)

    def processor() -> Node:
        from dataflow.events.nodes.processor import EventProcessorNode

        return EventProcessorNode(lambda: app.triggers)

    if app.settings.webhook_secrets or app.settings.webhook_allow:
        webhooks()  # what is wrong with them is told at once
    publish = EventPublishNode.of(schema, app.database, may_create=app.settings.may_create_tables)
    return {
        publish.spec.type: publish,
        "WebhookNode": DeferredNode(webhook),
        "CDCListenerNode": DeferredNode(listener),
        "EventSourceNode": DeferredNode(source),
        "EventTriggerNode": DeferredNode(trigger),
        "EventProcessorNode": DeferredNode(processor),
    }
