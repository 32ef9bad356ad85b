"""Workflow: the built, immutable graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from dataflow.nodes.interface import Node


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a workflow.

    Attributes:
        id: Its id in the workflow.
        type: Its node type, such as ``"UserCreateNode"``.
        params: Parameters given in ``add_node``, ``database`` excepted.
        database: Name of the instance that it runs on, where the workflow says so.
        node: The node itself, where ``add_node`` was given an object, or a class that no instance has registered;
            such a workflow runs in this process only.
    """

    id: str
    type: str
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    database: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """``source``'s output at ``output`` (a dotted path) feeds ``target``'s parameter ``input``."""

    source: str
    output: str
    target: str
    input: str


@dataclass(frozen=True, eq=False)
class Workflow:
    """A graph of steps, validated when it was built.

    Attributes:
        name: Its name, for people.
        steps: In an order in which every step follows those that feed it.
        edges: All connections.
        reads: Step id → steps that its templates read, where there are any.
        exactly_once: Jobs of it leave their effects on databases once, unless they are enqueued otherwise.
    """

    name: str
    steps: tuple[Step, ...]
    edges: tuple[Edge, ...] = ()
    reads: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    exactly_once: bool = True

    @cached_property
    def by_id(self) -> Mapping[str, Step]:
        """Step id → Step."""
        return MappingProxyType({step.id: step for step in self.steps})

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Edge, ...]]:
        """Step id → edges that feed it."""
        groups: dict[str, list[Edge]] = {step.id: [] for step in self.steps}
        for edge in self.edges:
            groups[edge.target].append(edge)
        return MappingProxyType({step_id: tuple(edges) for step_id, edges in groups.items()})
