"""Workflows: building and checking graphs of nodes, and their form on the wire.

This room knows nodes only through ``nodes.interface`` and ``nodes.registry``.
"""

from dataflow.workflows.builder import WorkflowBuilder
from dataflow.workflows.document import workflow_from_document, workflow_to_document
from dataflow.workflows.order import dependencies
from dataflow.workflows.resolve import resolve_step
from dataflow.workflows.workflow import Edge, Step, Workflow

__all__ = [
    "Edge",
    "Step",
    "Workflow",
    "WorkflowBuilder",
    "dependencies",
    "resolve_step",
    "workflow_from_document",
    "workflow_to_document",
]
