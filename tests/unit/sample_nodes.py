"""A few node types, declared as the generated ones of a model User are, for tests of building workflows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflow.nodes import BUILTIN
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.nodes.registry import Catalog

CONTROLS = (Parameter("timeout", control=True), Parameter("retry", control=True), Parameter("input", control=True))
ROW = (Output("id"), Output("name"), Output("email"), Output("joined"))


@dataclass(frozen=True)
class Declared(Node):
    """A node that is its declaration, and returns what it was given."""

    declared: NodeSpec

    @property
    def spec(self) -> NodeSpec:
        return self.declared

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        return self.spec.bind(inputs)


def _node(type_: str, *parameters: Parameter, outputs: tuple[Output, ...]) -> Node:
    return Declared(NodeSpec(type_, "", (*parameters, *CONTROLS), outputs))


USER = {
    node.spec.type: node
    for node in (
        _node(
            "UserCreateNode",
            Parameter("name", str, required=True),
            Parameter("email", str, required=True),
            Parameter("joined"),
            outputs=ROW,
        ),
        _node(
            "UserReadNode",
            Parameter("id", int | None, aliases=("record_id",)),
            Parameter("filter", dict[str, Any] | None),
            outputs=(*ROW, Output("found")),
        ),
        _node(
            "UserListNode",
            Parameter("filter", dict[str, Any] | None),
            Parameter("limit", int, default=100),
            outputs=(Output("records"), Output("count")),
        ),
        _node("UserBulkCreateNode", Parameter("data", list[Any], required=True), outputs=(Output("inserted"),)),
    )
}


@dataclass(frozen=True)
class Source:
    """What a catalog sees of a DataFlow instance."""

    name: str = "default"
    nodes: Mapping[str, Node] = field(default_factory=lambda: USER)
    environment: tuple[str, ...] = ()


def catalog(*sources: Source) -> Catalog:
    return Catalog(BUILTIN, sources or (Source(),))
