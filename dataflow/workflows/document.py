"""The workflow document: a Workflow as plain data, for the wire and for people.

::

    {"v": 1, "name": "signup",
     "nodes": [{"id": "create", "type": "UserCreateNode", "params": {"name": "Alice"}, "database": "primary"}],
     "edges": [["create", "id", "read", "id"]]}

``database`` is there where the workflow names one, and ``"exactly_once": false`` where its jobs may repeat effects. No
code travels, except the text of a PythonCodeNode.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dataflow.errors import InputError, NodeNotFoundError, PayloadError, WorkflowValidationError
from dataflow.nodes.registry import NodeCatalog
from dataflow.workflows.validation import assemble
from dataflow.workflows.workflow import Edge, Step, Workflow

#: Version of the document that is written, and the only one read.
VERSION = 1


def workflow_to_document(workflow: Workflow) -> dict[str, Any]:
    """A workflow as plain data.

    Raises:
        InputError: A node is an object of this process, which cannot be sent.
    """
    document: dict[str, Any] = {
        "v": VERSION,
        "name": workflow.name,
        "nodes": [_step_to_data(step) for step in workflow.steps],
        "edges": [[edge.source, edge.output, edge.target, edge.input] for edge in workflow.edges],
    }
    return document if workflow.exactly_once else {**document, "exactly_once": False}


def workflow_from_document(document: Any, catalog: NodeCatalog) -> Workflow:
    """The workflow of a document, checked against the nodes that exist here.

    Raises:
        PayloadError: It is no workflow document, or one of an unknown version.
        NodeNotFoundError: A node type does not exist here.
        WorkflowValidationError: It cannot be built for another reason.
    """
    if not isinstance(document, Mapping):
        raise PayloadError(f"A workflow document is a dict, got {type(document).__name__}.")
    version = document.get("v")
    if version != VERSION:
        raise PayloadError(
            f"The workflow document has version {version!r}, and this program reads version {VERSION}.",
            hint="It was written by another release: upgrade the older side.",
            version=version,
        )
    name = _part(document, "name", str, "the document")
    steps = [_step_from_data(item) for item in _part(document, "nodes", list, "the document")]
    ids = {step.id for step in steps}
    if len(ids) < len(steps):
        raise PayloadError(f"Workflow document '{name}' has two nodes with one id.")
    edges = [_edge_from_data(item, ids) for item in _part(document, "edges", list, "the document")]
    exactly_once = True if "exactly_once" not in document else _part(document, "exactly_once", bool, "the document")
    try:
        return assemble(name, steps, edges, catalog, exactly_once=exactly_once)
    except WorkflowValidationError as error:
        if isinstance(error.__cause__, NodeNotFoundError):
            raise error.__cause__ from None
        raise


def _step_to_data(step: Step) -> dict[str, Any]:
    if step.node is not None:
        raise InputError(
            f"Node '{step.id}' ({step.type}) is an object of this process, so its workflow can only run here.",
            hint="Register a class with db.register_node and name it in add_node, or use the code text of a "
            "PythonCodeNode.",
            node_id=step.id,
        )
    data = {"id": step.id, "type": step.type, "params": dict(step.params)}
    return data if step.database is None else {**data, "database": step.database}


def _step_from_data(data: Any) -> Step:
    if not isinstance(data, Mapping):
        raise PayloadError(f"A node of a workflow document is a dict, got {type(data).__name__}.")
    step_id = _part(data, "id", str, "a node")
    where = f"node '{step_id}'"
    params = _part(data, "params", dict, where)
    if not all(isinstance(name, str) for name in params):
        raise PayloadError(f"Workflow document: {where} has a parameter whose name is not text.")
    database = None if data.get("database") is None else _part(data, "database", str, where)
    return Step(step_id, _part(data, "type", str, where), MappingProxyType(params), database)


def _edge_from_data(data: Any, ids: set[str]) -> Edge:
    if not isinstance(data, list | tuple) or len(data) != 4 or not all(isinstance(part, str) for part in data):
        raise PayloadError(f"Workflow document: {data!r} is no edge: [source, output, target, input].")
    edge = Edge(*data)
    for step_id in (edge.source, edge.target):
        if step_id not in ids:
            raise PayloadError(f"Workflow document: an edge names the node {step_id!r}, which is not in it.")
    return edge


def _part(data: Mapping[str, Any], key: str, kind: type[Any], where: str) -> Any:
    value = data.get(key)
    if not isinstance(value, kind):
        raise PayloadError(f"Workflow document: {where} has no {key!r} that is a {kind.__name__}.")
    return value
