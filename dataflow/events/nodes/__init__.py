"""Nodes for events: one of each kind for an instance, whatever its models."""

from __future__ import annotations

from dataflow.databases.interface import Database
from dataflow.events.nodes.publish import EventPublishNode
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node
from dataflow.settings import Settings


def event_nodes(schema: Schema, database: Database, settings: Settings) -> dict[str, Node]:
    """The nodes for events of an instance, by type name.

    Args:
        schema: Its models.
        database: Where they are.
        settings: Its settings.
    """
    publish = EventPublishNode.of(schema, database, may_create=settings.may_create_tables)
    return {publish.type: publish}
