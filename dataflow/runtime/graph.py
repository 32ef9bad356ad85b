"""A workflow made ready to run: nodes resolved, templates compiled, dependencies counted. Done once per workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from dataflow.errors import InputError, did_you_mean
from dataflow.nodes.interface import Node
from dataflow.nodes.registry import NodeCatalog
from dataflow.resilience import RetryPolicy
from dataflow.values import is_mapping
from dataflow.workflows import Step, Workflow, dependencies, resolve_step
from dataflow.workflows.paths import WHOLE, Path, parse_path
from dataflow.workflows.references import NodeReference
from dataflow.workflows.templates import Template, compile_templates


@dataclass(frozen=True, slots=True)
class Source:
    """A node whose output a step uses, and which branch of it.

    Attributes:
        step: Its id.
        branch: The output's key, where the node is a switch: a result without it means a branch not taken.
    """

    step: str
    branch: str | None


@dataclass(frozen=True, slots=True)
class Feed:
    """An edge, seen from its target. An empty ``input`` only orders the two."""

    source: Source
    path: Path
    input: str


@dataclass(frozen=True, slots=True)
class GraphStep:
    """A step with everything that is the same in every run."""

    id: str
    type: str
    node: Node
    params: Mapping[str, Any]
    templates: tuple[Template, ...]
    feeds: tuple[Feed, ...]
    #: What its templates use.
    reads: tuple[Source, ...]
    depends_on: frozenset[str]
    dependents: tuple[str, ...]
    timeout: float | None
    retry: RetryPolicy | None

    @property
    def is_plain(self) -> bool:
        """Whether its node is called without a time limit or tries of its own."""
        return self.timeout is None and self.retry is None

    def accepts(self, name: str) -> bool:
        """Whether a flat run input of that name goes to this step. What its templates read goes where they say."""
        if any(name in template.parameters for template in self.templates):
            return False
        spec = self.node.spec
        return spec.open_parameters or name in spec.by_name


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow resolved against a catalog."""

    workflow: Workflow
    steps: Mapping[str, GraphStep]
    #: Names of workflow parameters that templates read.
    parameters: frozenset[str]
    #: For each step, how many it waits for.
    waits: Mapping[str, int]
    #: Whether any step has templates.
    has_templates: bool
    #: The steps that wait for none.
    roots: tuple[str, ...]
    catalog: NodeCatalog
    version: int

    def split_inputs(self, inputs: Mapping[str, Any]) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Any]]:
        """Run inputs by step, and the flat ones that templates may read.

        Raises:
            InputError: An input goes to no step and no template.
        """
        flat = {name: value for name, value in inputs.items() if not (name in self.steps and is_mapping(value))}
        if not flat:
            return inputs, flat
        by_step = {name: dict(value) for name, value in inputs.items() if name not in flat}
        for name, value in flat.items():
            takers = [step.id for step in self.steps.values() if step.accepts(name)]
            if not takers and name not in self.parameters:
                known = {*self.steps, *self.parameters}
                known.update(*(step.node.spec.by_name for step in self.steps.values()))
                raise InputError(
                    f"Workflow '{self.workflow.name}' has no node, parameter or template for the input {name!r}.",
                    hint=did_you_mean(name, known),
                    input=name,
                )
            for step_id in takers:
                by_step.setdefault(step_id, {}).setdefault(name, value)
        return by_step, flat


_graphs: WeakKeyDictionary[Workflow, Graph] = WeakKeyDictionary()


def graph_of(workflow: Workflow, catalog: NodeCatalog) -> Graph:
    """The graph of a workflow, kept while the catalog offers the same nodes.

    Raises:
        NodeNotFoundError: A node type is no longer offered.
        AmbiguousNodeError: Several instances offer it now.
    """
    graph = _graphs.get(workflow)
    if graph is None or graph.catalog is not catalog or graph.version != catalog.version:
        graph = _build(workflow, catalog)
        _graphs[workflow] = graph
    return graph


def _build(workflow: Workflow, catalog: NodeCatalog) -> Graph:
    needs = dependencies(workflow)
    dependents: dict[str, list[str]] = {step.id: [] for step in workflow.steps}
    for step_id, sources in needs.items():
        for source in sources:
            dependents[source].append(step_id)
    nodes = {step.id: resolve_step(step, catalog) for step in workflow.steps}
    steps: dict[str, GraphStep] = {}
    parameters: set[str] = set()
    for step in workflow.steps:
        built = _build_step(workflow, step, nodes, needs[step.id], tuple(dependents[step.id]))
        parameters.update(name for template in built.templates for name in template.parameters)
        steps[step.id] = built
    waits = {step_id: len(sources) for step_id, sources in needs.items()}
    roots = tuple(step_id for step_id, count in waits.items() if count == 0)
    return Graph(
        workflow=workflow,
        steps=steps,
        parameters=frozenset(parameters),
        has_templates=any(step.templates for step in steps.values()),
        waits=waits,
        roots=roots,
        catalog=catalog,
        version=catalog.version,
    )


def _build_step(
    workflow: Workflow,
    step: Step,
    nodes: Mapping[str, Node],
    needs: frozenset[str],
    dependents: tuple[str, ...],
) -> GraphStep:
    node = nodes[step.id]
    params, controls = _split_controls(step, node)
    static, templates = compile_templates(params, node.spec, workflow.by_id)

    def source(step_id: str, path: Path) -> Source:
        is_branch = bool(path) and path[0] != WHOLE and nodes[step_id].spec.branching
        return Source(step_id, path[0] if is_branch else None)

    feeds = []
    for edge in workflow.incoming[step.id]:
        path = parse_path(edge.output)
        parameter = node.spec.by_name.get(edge.input)
        target = "" if parameter is not None and parameter.control else edge.input
        feeds.append(Feed(source(edge.source, path), path, target))
    references = [item for template in templates for item in template.references if isinstance(item, NodeReference)]
    return GraphStep(
        id=step.id,
        type=step.type,
        node=node,
        params=static,
        templates=tuple(templates),
        feeds=tuple(feeds),
        reads=tuple(source(item.node, item.path) for item in references),
        depends_on=needs,
        dependents=dependents,
        timeout=controls.get("timeout"),
        retry=RetryPolicy.of(controls.get("retry")),
    )


def _split_controls(step: Step, node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters for the node, and those that the runtime acts on."""
    params: dict[str, Any] = {}
    controls: dict[str, Any] = {}
    for name, value in step.params.items():
        parameter = node.spec.by_name.get(name)
        (controls if parameter is not None and parameter.control else params)[name] = value
    return params, controls
