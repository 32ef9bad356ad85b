"""From a step to its node.

Generated node types have other spellings in the guides, which a built workflow no longer has: ``"User_Create"`` is
UserCreateNode, and ``"ReadNode"`` with the parameter ``"model": "User"`` is UserReadNode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dataflow.errors import NodeNotFoundError
from dataflow.nodes.interface import Node
from dataflow.nodes.registry import NodeCatalog
from dataflow.workflows.workflow import Step

_OPERATIONS = "Create|Read|Update|Delete|List|Count|Upsert|BulkCreate|BulkUpdate|BulkDelete|BulkUpsert|Aggregate"
_MODEL_FIRST = re.compile(rf"(\w+?)_({_OPERATIONS})(?:Node)?")
_MODEL_APART = re.compile(rf"(?:{_OPERATIONS})Node")


def resolve_step(step: Step, catalog: NodeCatalog) -> Node:
    """The node of a built workflow's step.

    Raises:
        NodeNotFoundError: Its type is not offered.
        AmbiguousNodeError: Several instances offer it, and the step names none.
        ConfigurationError: The step names an instance that is not there.
    """
    return step.node if step.node is not None else catalog.resolve(step.type, step.database)


def find_node(step: Step, catalog: NodeCatalog) -> tuple[Step, Node]:
    """A step as the user wrote it in its usual form, and its node.

    Raises:
        NodeNotFoundError: Its type is not offered.
        AmbiguousNodeError: Several instances offer it, and the step names none.
        ConfigurationError: The step names an instance that is not there.
    """
    if step.node is not None:
        return _prefer_registered(step, step.node, catalog)
    try:
        return step, catalog.resolve(step.type, step.database)
    except NodeNotFoundError:
        usual = _usual_spelling(step.type, step.params)
        if usual is None:
            raise
    step = replace(step, type=usual[0], params=MappingProxyType(dict(usual[1])))
    return step, catalog.resolve(step.type, step.database)


def _prefer_registered(step: Step, node: Node, catalog: NodeCatalog) -> tuple[Step, Node]:
    """A class that the catalog offers under its name needs no object in the workflow, which then can be sent away."""
    try:
        registered = catalog.resolve(step.type, step.database)
    except NodeNotFoundError:
        return step, node
    return (replace(step, node=None), registered) if registered == node else (step, node)


def _usual_spelling(node_type: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Node type and parameters in their usual form; None if this is not one of the other spellings."""
    if match := _MODEL_FIRST.fullmatch(node_type):
        return f"{match[1]}{match[2]}Node", params
    model = params.get("model")
    if isinstance(model, str) and _MODEL_APART.fullmatch(node_type):
        return f"{model}{node_type}", {name: value for name, value in params.items() if name != "model"}
    return None
