"""PythonCodeNode: a snippet of Python as a node."""

from __future__ import annotations

import os
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dataflow.errors import InputError
from dataflow.nodes.builtin.function import FunctionNode
from dataflow.nodes.interface import Node, NodeSpec, Parameter, RunContext, TemplateUse
from dataflow.nodes.user_code import call
from dataflow.values import copy_containers

_FILE = "<PythonCodeNode>"
_MISSING = object()


@lru_cache(maxsize=256)
def _compile(code: str) -> types.CodeType:
    try:
        return compile(code, _FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f" ({error.text.strip()})" if error.text else ""
        raise InputError(f"PythonCodeNode: line {error.lineno} of the code: {error.msg}{line}.") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise InputError(f"PythonCodeNode: the code cannot be compiled: {error}.") from None


def _check_code(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"PythonCodeNode: 'code' is text, got {type(value).__name__}.")
    _compile(value)
    return value


@dataclass(frozen=True)
class PythonCodeNode(Node):
    """Runs a snippet of Python, in a thread.

    All parameters but ``code`` are names in the snippet; ``input_data`` is a dict of them all. A dict that is
    connected to ``input_data`` itself adds its keys to that dict; another value takes its place. ``os`` is there
    without import, and so is ``idempotency_key``, a text that is the same each time that this node of this run is
    started. The result is

    - ``{"result": result}`` where the snippet sets ``result``, else
    - ``output_data`` where it sets that to a dict, else
    - the names it sets, except functions, classes, modules and names that begin with ``_``.

    Inputs are copies: changing them changes neither the workflow nor another node's output. An exception keeps its
    type, with a note that says which line of the snippet raised it.
    """

    spec = NodeSpec(
        type="PythonCodeNode",
        description="Runs a snippet of Python.",
        parameters=(
            Parameter(
                "code", str, required=True, description="The snippet.", coerce=_check_code, templates=TemplateUse.KEEP
            ),
        ),
        open_parameters=True,
        open_outputs=True,
    )

    @staticmethod
    def from_function(func: Callable[..., Any], name: str | None = None) -> FunctionNode:
        """A node that calls a function: ``add_node(PythonCodeNode.from_function(f), "id")``. Its workflow runs in this
        process only.

        Args:
            func: The function, sync or async.
            name: What messages call it; default its own name.

        Raises:
            InputError: It is no function, or has parameters without names.
        """
        return FunctionNode.of(func, name)

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Run the snippet."""
        bound = self.spec.bind(inputs)
        code = bound.pop("code")
        outputs: dict[str, Any] = await call(_execute, code, bound, context)
        return outputs


def _execute(code: str, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
    given = {name: copy_containers(value) for name, value in inputs.items()}
    given["input_data"] = _input_data(given)
    given.setdefault("idempotency_key", context.idempotency_key)
    namespace = {"__name__": "python_code", "os": os, **given}
    try:
        exec(_compile(code), namespace)
    except Exception as error:
        _note_line(error, code, context.node_id)
        raise
    return _outputs(namespace, given)


def _input_data(given: Mapping[str, Any]) -> Any:
    rest = {name: value for name, value in given.items() if name != "input_data"}
    fed = given.get("input_data")
    if fed is None:
        return rest
    return {**rest, **fed} if isinstance(fed, dict) else fed


def _outputs(namespace: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in namespace.items() if given.get(name, _MISSING) is not value}
    if "result" in new:
        return {"result": new["result"]}
    output_data = new.get("output_data")
    if isinstance(output_data, dict):
        return output_data
    return {
        name: value
        for name, value in new.items()
        if not name.startswith("_") and not callable(value) and not isinstance(value, types.ModuleType)
    }


def _note_line(error: Exception, code: str, node_id: str) -> None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
    if lines and lines[-1]:
        text = code.splitlines()[lines[-1] - 1].strip()
        error.add_note(f"In line {lines[-1]} of the code of node '{node_id}': {text}")
