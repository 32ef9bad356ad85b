"""WorkflowBuilder: collects nodes and connections, and builds Workflows of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dataflow.errors import InputError, WorkflowValidationError, did_you_mean
from dataflow.nodes.interface import ORDER_INPUT, Node, NodeAuthor
from dataflow.nodes.registry import NodeCatalog, process_catalog
from dataflow.values import copy_containers
from dataflow.workflows.paths import WHOLE
from dataflow.workflows.validation import assemble
from dataflow.workflows.workflow import Edge, Step, Workflow

#: What ``add_node`` takes as a node's type.
NodeType = str | type[Node] | type[NodeAuthor] | Node | NodeAuthor


class WorkflowBuilder:
    """Collects nodes and connections, and builds Workflows of them.

    Args:
        name: The workflow's name, for people; default ``"workflow"``.
        catalog: Which node types exist; default: the built-in ones and those of every open DataFlow instance.
        exactly_once: Jobs of the workflow leave their effects on databases once, even if they are started again. False
            saves the entries that this takes.

    Example:
        >>> workflow = WorkflowBuilder()
        >>> workflow.add_node("UserCreateNode", "create", {"name": "Alice"})
        'create'
        >>> workflow.add_node("UserReadNode", "read")
        'read'
        >>> workflow = workflow.add_connection("create", "id", "read", "id")
    """

    def __init__(
        self, name: str | None = None, catalog: NodeCatalog | None = None, *, exactly_once: bool = True
    ) -> None:
        self.name = name or "workflow"
        self._catalog = catalog
        self._exactly_once = exactly_once
        self._steps: dict[str, Step] = {}
        self._edges: list[Edge] = []

    def __repr__(self) -> str:
        return f"WorkflowBuilder({self.name!r}, nodes={list(self._steps)}, connections={len(self._edges)})"

    def add_node(
        self,
        node_type: NodeType,
        node_id: str | Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> str:
        """Add a node.

        ``add_node(type, id, params)``; also ``(type)`` and ``(type, params)``, which make an id up.

        Args:
            node_type: Name of a node type such as ``"UserCreateNode"``; a node class; or a node object. A class that
                is registered under its name works everywhere; other classes, and objects, in this process only.
            node_id: Its id in the workflow; default ``node_`` and eight hex digits.
            config: Its parameters. They are copied. ``"database"`` names the DataFlow instance to run on. Texts in
                them may hold templates, see ``dataflow.workflows.references``.
            params: More parameters.

        Returns:
            The node's id.

        Raises:
            WorkflowValidationError: The id is taken.
            InputError: The arguments are of the wrong types.
        """
        if isinstance(node_id, Mapping):
            if config is not None:
                raise InputError("add_node takes (type, id, params), (type, params) or (type); got params twice.")
            node_id, config = None, node_id
        if node_id is None:
            node_id = f"node_{secrets.token_hex(4)}"
        if not isinstance(node_id, str) or not node_id:
            raise InputError(
                f"A node id is text, got {node_id!r}.", hint="The order is add_node(type, id, params).", node_id=node_id
            )
        if node_id in self._steps:
            raise WorkflowValidationError(
                f"There is a node {node_id!r} already ({self._steps[node_id].type}).",
                hint="Give each node an id of its own.",
                node_id=node_id,
            )
        given = _params(node_id, config, params)
        database = given.pop("database", None)
        if database is not None and not isinstance(database, str):
            raise InputError(
                f"Node '{node_id}': 'database' is the name of a DataFlow instance, got {type(database).__name__}."
            )
        name, node = _named(node_type)
        self._steps[node_id] = Step(node_id, name, MappingProxyType(given), database, node)
        return node_id

    def add_connection(self, from_node: str, from_output: str, to_node: str, to_input: str) -> WorkflowBuilder:
        """Feed a node's output into another's parameter; it overrides what ``add_node`` gave for that parameter.

        Args:
            from_node: Id of the node whose output is used.
            from_output: Where in its output: a key, a path such as ``"records.0.id"``, or ``"result"`` for the whole.
            to_node: Id of the node that takes it.
            to_input: The parameter it feeds; ``"input"`` of a generated node only orders it after the other.

        Raises:
            WorkflowValidationError: There is no node of that id.
        """
        for node_id in (from_node, to_node):
            self._require(node_id)
        self._edges.append(Edge(from_node, from_output, to_node, to_input))
        return self

    def connect(
        self,
        from_node: str,
        to_node: str,
        mapping: Mapping[str, str] | None = None,
        from_output: str | None = None,
        to_input: str | None = None,
    ) -> WorkflowBuilder:
        """Connect two nodes by several outputs at once: ``connect("a", "b", {"id": "user_id", "name": "name"})``.

        Without a mapping it connects ``from_output`` (default the whole output) to ``to_input`` (default ``"input"``,
        which for generated nodes only says what comes first).

        Raises:
            WorkflowValidationError: There is no node of that id.
        """
        if mapping is None:
            mapping = {from_output or WHOLE: to_input or ORDER_INPUT}
        elif from_output is not None or to_input is not None:
            raise InputError("connect takes a mapping, or from_output and to_input, not both.")
        for output, name in mapping.items():
            self.add_connection(from_node, output, to_node, name)
        return self

    def add_workflow_inputs(self, node_id: str, inputs: Mapping[str, str] | Iterable[str]) -> WorkflowBuilder:
        """Say that inputs of the run give parameters of a node, so that ``build`` does not miss them.

        The same as a template: ``{"email": "address"}`` is the parameter ``"email": "{{address}}"``.

        Args:
            node_id: The node.
            inputs: Parameter → name of the run input; or names, where both are the same.

        Raises:
            WorkflowValidationError: There is no node of that id.
        """
        step = self._require(node_id)
        if isinstance(inputs, str):
            raise InputError(f"add_workflow_inputs takes names in a list: [{inputs!r}].")
        names = inputs if isinstance(inputs, Mapping) else {name: name for name in inputs}
        templates = {parameter: f"{{{{{name}}}}}" for parameter, name in names.items()}
        self._steps[node_id] = replace(step, params=MappingProxyType({**step.params, **templates}))
        return self

    def build(self) -> Workflow:
        """The workflow, checked. Later changes of the builder do not change it.

        Raises:
            WorkflowValidationError: Node types or parameters do not exist, values have wrong types, required
                parameters are missing, connections do not fit, or nodes wait for each other in a circle. All problems
                are in ``context["issues"]``; ``__cause__`` is the first.
        """
        catalog = self._catalog if self._catalog is not None else process_catalog
        steps, edges = tuple(self._steps.values()), tuple(self._edges)
        return assemble(self.name, steps, edges, catalog, exactly_once=self._exactly_once)

    def _require(self, node_id: str) -> Step:
        step = self._steps.get(node_id)
        if step is None:
            raise WorkflowValidationError(
                f"There is no node {node_id!r} in the workflow.",
                hint=did_you_mean(str(node_id), self._steps),
                node_id=node_id,
            )
        return step


def _params(node_id: str, config: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    if config is not None and not isinstance(config, Mapping):
        raise InputError(f"Node '{node_id}': parameters are a dict, got {type(config).__name__}.")
    given = {**(config or {}), **more}
    for name in given:
        if not isinstance(name, str):
            raise InputError(f"Node '{node_id}': names of parameters are text, got {name!r}.")
    return {name: copy_containers(value) for name, value in given.items()}


def _named(node_type: Any) -> tuple[str, Node | None]:
    """Name of a node type, and the node where an object or a class was given."""
    if isinstance(node_type, str):
        return node_type, None
    node = _node(node_type)
    return node.spec.type, node


def _node(node_type: Any) -> Node:
    if isinstance(node_type, Node):
        return node_type
    if isinstance(node_type, NodeAuthor):
        return node_type.instance_node()
    if isinstance(node_type, type) and issubclass(node_type, NodeAuthor):
        return node_type.class_node()
    if isinstance(node_type, type) and issubclass(node_type, Node):
        try:
            return node_type()
        except TypeError as error:
            raise InputError(
                f"{node_type.__name__} cannot be made without arguments: {error}.", hint="Give an object of it instead."
            ) from None
    raise InputError(
        f"{node_type!r} is not a node type.",
        hint="Give the name of one, a BaseDataFlowNode class, or an object of one; add_node(type, id, params).",
    )
