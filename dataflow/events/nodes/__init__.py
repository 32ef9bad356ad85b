"""Nodes for events: one of each kind for an instance, whatever its models."""

from __future__ import annotations

from typing import Protocol

from dataflow.databases.interface import Database
from dataflow.events.nodes.processor import EventProcessorNode
from dataflow.events.nodes.publish import EventPublishNode
from dataflow.events.nodes.trigger import EventTriggerNode
from dataflow.events.triggers import Triggers
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node
from dataflow.settings import Settings


class Instance(Protocol):
    """What the nodes need of a DataFlow instance."""

    settings: Settings
    database: Database

    @property
    def triggers(self) -> Triggers:
        """Its triggers."""
        ...


def event_nodes(app: Instance, schema: Schema) -> dict[str, Node]:
    """The nodes for events of an instance, by type name.

    Args:
        app: The instance.
        schema: Its models.
    """
    nodes = (
        EventPublishNode.of(schema, app.database, may_create=app.settings.may_create_tables),
        EventTriggerNode(lambda: app.triggers),
        EventProcessorNode(lambda: app.triggers),
    )
    return {node.spec.type: node for node in nodes}
