"""Explanation: what a node would do in the database, without doing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.errors import InputError, NodeNotFoundError, RecordError, did_you_mean
from dataflow.nodes.builtin import BUILTIN
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.recorder import ExplainedStatement, Recorder, RecordingEnded
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node, RunContext
from dataflow.tenants import checked_tenant

#: Characters of a value that ``str()`` shows.
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Explanation:
    """The statements of one call of a node; ``print`` shows them.

    Attributes:
        node_type: The node.
        statements: What it sends, in order. All but the last only read, since a write ends the explanation.
    """

    node_type: str
    statements: tuple[ExplainedStatement, ...]

    def __str__(self) -> str:
        lines = [self.node_type]
        for number, statement in enumerate(self.statements, 1):
            fate = "run" if statement.ran else "not run"
            times = f", for {statement.rows} rows" if statement.rows > 1 else ""
            lines += ["", f"Statement {number} ({fate}{times})", *_indented(statement.sql.split("\n"))]
            if statement.binds:
                lines += ["  Values", *_indented(map(_shown, statement.binds), 4)]
            if statement.plan:
                lines += ["  Plan", *_indented(statement.plan, 4)]
        return "\n".join(lines)


async def explain_node(
    schema: Schema, nodes: Mapping[str, Node], node_type: str, params: Mapping[str, Any], tenant_id: str | None
) -> Explanation:
    """Explain a node of a model.

    The node is built anew on a Recorder, so it does just what it would, down to the first write. Where it fails because
    of the rows it found or did not find, what it asked until then is the explanation.

    Args:
        schema: The models of the instance.
        nodes: Its node types.
        node_type: Which node.
        params: Its parameters.
        tenant_id: Whose rows.

    Raises:
        NodeNotFoundError: There is no such node type.
        InputError: The node is not a model's, or a parameter is wrong.
        MissingTableError: The model's table is not there.
    """
    node = nodes.get(node_type) or BUILTIN.get(node_type)
    if node is None:
        raise NodeNotFoundError(
            f"There is no node type {node_type!r}.", hint=did_you_mean(node_type, nodes), node_type=node_type
        )
    if not isinstance(node, GeneratedNode):
        raise InputError(
            f"{node_type} is not a node of a model, so there are no statements to explain.",
            hint="Explain the nodes that it would be connected to.",
            node_type=node_type,
        )
    node.check(params, ())
    controls = {name for name, parameter in node.spec.by_name.items() if parameter.control}
    inputs = {name: value for name, value in params.items() if name not in controls}
    tenant = None if tenant_id is None else checked_tenant(tenant_id)
    binding = node.binding
    recorder = Recorder(binding.database)
    explained = type(node)(binding.on(recorder, lambda: schema.check(binding.spec)))
    try:
        await explained.run(inputs, RunContext(run_id="explain", node_id=node_type, tenant_id=tenant))
    except RecordingEnded:
        pass
    except RecordError:
        if not recorder.statements:
            raise
    return Explanation(node_type, tuple(recorder.statements))


def _indented(lines: Iterable[str], width: int = 2) -> list[str]:
    return [" " * width + line for line in lines]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
