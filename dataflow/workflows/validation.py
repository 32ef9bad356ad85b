"""From steps and edges to a Workflow, or to one error that lists everything wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dataflow.errors import (
    DataFlowError,
    InputError,
    NodeNotFoundError,
    OutputPathError,
    WorkflowValidationError,
    did_you_mean,
)
from dataflow.nodes.interface import ORDER_INPUT, Node, missing_parameter
from dataflow.nodes.registry import NodeCatalog
from dataflow.workflows.order import in_order
from dataflow.workflows.paths import WHOLE, parse_path
from dataflow.workflows.references import NodeReference
from dataflow.workflows.resolve import find_node
from dataflow.workflows.templates import Template, compile_templates
from dataflow.workflows.workflow import Edge, Step, Workflow


def assemble(
    name: str, steps: Sequence[Step], edges: Sequence[Edge], catalog: NodeCatalog, *, exactly_once: bool = True
) -> Workflow:
    """Check a graph against what nodes exist, and make it a Workflow.

    Args:
        name: The workflow's name.
        steps: Its steps, with unique ids.
        edges: Its connections, between those steps.
        catalog: Where node types are found.
        exactly_once: See Workflow.

    Raises:
        WorkflowValidationError: There is something wrong; ``context["issues"]`` has all of it, as dicts with the keys
            ``node_id``, ``code`` and ``message``, and ``__cause__`` is the first error.
    """
    return _Assembly(name, catalog, exactly_once).assemble(steps, edges)


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A step, its node, and what is known of its parameters."""

    step: Step
    node: Node
    static: Mapping[str, Any]
    templates: Sequence[Template]

    def canonical(self, parameter: str) -> str:
        """The name that a parameter's aliases stand for."""
        found = self.node.spec.by_name.get(parameter)
        return found.name if found is not None else parameter


class _Assembly:
    def __init__(self, name: str, catalog: NodeCatalog, exactly_once: bool) -> None:
        self._name = name
        self._catalog = catalog
        self._exactly_once = exactly_once
        self._problems: list[tuple[Step | None, DataFlowError]] = []

    def assemble(self, steps: Sequence[Step], edges: Sequence[Edge]) -> Workflow:
        ids = frozenset(step.id for step in steps)
        resolved: dict[str, _Resolved] = {}
        for step in steps:
            found = self._resolve(step, ids)
            if found is not None:
                resolved[step.id] = found
        feeds = self._check_edges(edges, resolved)
        finished = {step_id: self._check_inputs(item, feeds[step_id]) for step_id, item in resolved.items()}
        reads = self._check_reads(resolved, finished)
        needs: dict[str, set[str]] = {step.id: set(reads.get(step.id, ())) for step in steps}
        for edge in edges:
            needs[edge.target].add(edge.source)
        order: list[str] = []
        try:
            order = in_order([step.id for step in steps], needs)
        except WorkflowValidationError as error:
            self._problems.append((None, error))
        if self._problems:
            raise self._error(len(steps))
        return Workflow(
            self._name,
            tuple(finished[step_id] for step_id in order),
            tuple(edges),
            MappingProxyType(reads),
            self._exactly_once,
        )

    def _resolve(self, step: Step, ids: frozenset[str]) -> _Resolved | None:
        try:
            step, node = find_node(step, self._catalog)
            static, templates = compile_templates(step.params, node.spec, ids)
        except DataFlowError as error:
            self._problems.append((step, error))
            return None
        return _Resolved(step, node, static, templates)

    def _check_edges(self, edges: Sequence[Edge], resolved: Mapping[str, _Resolved]) -> dict[str, dict[str, Edge]]:
        """Step id → parameter → the edge that feeds it."""
        feeds: dict[str, dict[str, Edge]] = {step_id: {} for step_id in resolved}
        for edge in edges:
            source, target = resolved.get(edge.source), resolved.get(edge.target)
            if source is not None:
                try:
                    _check_output(source, parse_path(edge.output)[0])
                except DataFlowError as error:
                    self._problems.append(((target or source).step, error))
            if target is not None:
                self._check_feed(edge, target, feeds[edge.target])
        return feeds

    def _check_feed(self, edge: Edge, target: _Resolved, feeds: dict[str, Edge]) -> None:
        try:
            parameter = target.node.spec.parameter(edge.input)
        except InputError as error:
            self._problems.append((target.step, error))
            return
        name = parameter.name if parameter is not None else edge.input
        if parameter is not None and parameter.control:
            if name != ORDER_INPUT:
                text = f"'{name}' cannot be connected: it is a setting of the step. Give its value in add_node."
                self._problems.append((target.step, InputError(text, parameter=name)))
            return
        other = feeds.setdefault(name, edge)
        if other is not edge:
            text = (
                f"Two connections lead to '{name}': {other.source}.{other.output} and {edge.source}.{edge.output}. "
                "Keep one, or merge them with a MergeNode."
            )
            self._problems.append((target.step, WorkflowValidationError(text, parameter=name)))

    def _check_inputs(self, item: _Resolved, feeds: Mapping[str, Edge]) -> Step:
        """Check a step's parameters; the step without those that a connection overrides."""
        step, node = item.step, item.node
        static = dict(item.static)
        later = {edge.input for edge in feeds.values()}
        for template in item.templates:
            parameter = node.spec.by_name.get(template.parameter)
            if parameter is not None and parameter.control:
                text = f"'{template.parameter}' takes no template: it is a setting of the step. Give its value."
                self._problems.append((step, InputError(text, parameter=template.parameter)))
            elif template.expression is not None:
                static[template.parameter] = template.expression
            else:
                later.add(template.parameter)
        overridden = {name for name in step.params if item.canonical(name) in feeds}
        if node.spec.waits_for == "any":
            # A branch not taken gives nothing: the parameter is what is used then.
            overridden = set()
        known = {name: value for name, value in static.items() if name not in overridden}
        self._check_values(step, node, known, later | overridden)
        given = {item.canonical(name) for name in step.params} | set(feeds)
        for required in node.spec.parameters:
            if required.required and not required.control and required.name not in given:
                self._problems.append((step, missing_parameter(node.spec.type, required.name, step.id)))
        if not overridden:
            return step
        params = {name: value for name, value in step.params.items() if name not in overridden}
        return replace(step, params=MappingProxyType(params))

    def _check_values(self, step: Step, node: Node, known: Mapping[str, Any], later: set[str]) -> None:
        try:
            node.check(known, later)
        except DataFlowError as first:
            # The node stops at its first problem; each parameter by itself tells of all of them.
            found = [error for name in (*known, *sorted(later)) if (error := _problem(node, name, known)) is not None]
            self._problems.extend((step, error) for error in found or [first])

    def _check_reads(
        self, resolved: Mapping[str, _Resolved], finished: Mapping[str, Step]
    ) -> dict[str, frozenset[str]]:
        """Step id → nodes that its templates read, those that a connection overrides left out."""
        reads: dict[str, frozenset[str]] = {}
        for step_id, item in resolved.items():
            live = [template for template in item.templates if template.parameter in finished[step_id].params]
            nodes = frozenset(node for template in live for node in template.nodes)
            if nodes:
                reads[step_id] = nodes
            for reference in (reference for template in live for reference in template.references):
                if isinstance(reference, NodeReference) and reference.path and reference.node in resolved:
                    try:
                        _check_output(resolved[reference.node], reference.path[0])
                    except DataFlowError as error:
                        self._problems.append((item.step, error))
        return reads

    def _error(self, count: int) -> WorkflowValidationError:
        # What a node is comes before what is wrong with its parameters.
        self._problems.sort(key=lambda problem: not isinstance(problem[1], NodeNotFoundError))
        issues, lines = [], []
        for step, error in self._problems:
            text = f"{error.message} {error.hint}" if error.hint else error.message
            named = step is None or f"'{step.id}'" in error.message
            issues.append({"node_id": step.id if step else None, "code": error.code, "message": text})
            lines.append(text if step is None or named else f"node '{step.id}' ({step.type}): {text}")
        if len(lines) == 1:
            message = f"Workflow '{self._name}' cannot be built: {lines[0]}"
        else:
            listed = "".join(f"\n  - {line}" for line in lines)
            message = f"Workflow '{self._name}' cannot be built, it has {len(lines)} problems:{listed}"
        error = WorkflowValidationError(message, issues=issues, nodes=count)
        error.__cause__ = self._problems[0][1]
        return error


def _check_output(source: _Resolved, name: str) -> None:
    if name == WHOLE or source.node.has_output(name, source.step.params):
        return
    spec = source.node.spec
    raise OutputPathError(
        f"'{source.step.id}' ({spec.type}) has no output {name!r}.",
        hint=did_you_mean(name, [*(output.name for output in spec.outputs), WHOLE]),
        node_id=source.step.id,
        output=name,
    )


def _problem(node: Node, name: str, known: Mapping[str, Any]) -> DataFlowError | None:
    try:
        parameter = node.spec.parameter(name)
        if parameter is not None and name in known:
            parameter.check(known[name], node.spec.type)
    except DataFlowError as error:
        return error
    return None
