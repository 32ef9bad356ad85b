"""DeferredNode: a node that few use, made when somebody does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

from dataflow.databases.interface import Guard
from dataflow.nodes.interface import Node, NodeSpec, RunContext


class DeferredNode(Node):
    """Stands for a node whose modules are imported when it is first asked for anything.

    Args:
        make: Gives the node.
    """

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make

    @cached_property
    def _node(self) -> Node:
        return self._make()

    @property
    def guard(self) -> Guard | None:
        return self._node.guard

    @property
    def spec(self) -> NodeSpec:
        return self._node.spec

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        self._node.check(params, later)

    def has_output(self, name: str, params: Mapping[str, Any]) -> bool:
        return self._node.has_output(name, params)

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        return await self._node.run(inputs, context)
