"""The nodes that every model has."""

from __future__ import annotations

from dataflow.nodes.generated.aggregate import AggregateNode
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.bulk_create import BulkCreateNode
from dataflow.nodes.generated.bulk_delete import BulkDeleteNode
from dataflow.nodes.generated.bulk_update import BulkUpdateNode
from dataflow.nodes.generated.bulk_upsert import BulkUpsertNode
from dataflow.nodes.generated.count import CountNode
from dataflow.nodes.generated.create import CreateNode
from dataflow.nodes.generated.delete import DeleteNode
from dataflow.nodes.generated.list import ListNode
from dataflow.nodes.generated.read import ReadNode
from dataflow.nodes.generated.update import UpdateNode
from dataflow.nodes.generated.upsert import UpsertNode
from dataflow.nodes.interface import Node

OPERATIONS: tuple[type[GeneratedNode], ...] = (
    CreateNode,
    ReadNode,
    UpdateNode,
    DeleteNode,
    ListNode,
    CountNode,
    UpsertNode,
    BulkCreateNode,
    BulkUpdateNode,
    BulkDeleteNode,
    BulkUpsertNode,
    AggregateNode,
)


def generated_nodes(binding: ModelBinding) -> dict[str, Node]:
    """The nodes of a model on a database, by type name such as ``"UserCreateNode"``."""
    nodes = [operation(binding) for operation in OPERATIONS]
    return {node.type: node for node in nodes}
