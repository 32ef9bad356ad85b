"""FunctionNode: a function of the user's as a node, for workflows that run in this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dataflow.errors import InputError
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.nodes.user_code import call
from dataflow.values import copy_containers


@dataclass(frozen=True)
class FunctionNode(Node):
    """A function as a node; its output is ``{"result": what the function returned}``.

    Attributes:
        function: The function; sync ones run in a thread.
        description: What it is called.
        parameters: Its parameters.
        open_parameters: It takes others too (``**kwargs``).
    """

    function: Callable[..., Any]
    description: str
    parameters: tuple[Parameter, ...]
    open_parameters: bool

    @classmethod
    def of(cls, function: Callable[..., Any], name: str | None = None) -> FunctionNode:
        """The node of a function.

        Raises:
            InputError: It is no function, or has parameters without names.
        """
        if not callable(function):
            raise InputError(f"from_function takes a function, got {type(function).__name__}.")
        label = name or str(getattr(function, "__name__", type(function).__name__))
        parameters, takes_more = named_parameters(function, label)
        return cls(function, f"Calls {label}.", parameters, takes_more)

    @cached_property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return NodeSpec(
            type="PythonCodeNode",
            description=self.description,
            parameters=self.parameters,
            outputs=(Output("result", description="What the function returned."),),
            open_parameters=self.open_parameters,
        )

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Call the function, with copies of the inputs."""
        arguments = {name: copy_containers(value) for name, value in self.spec.bind(inputs).items()}
        return {"result": await call(self.function, **arguments)}


def named_parameters(function: Callable[..., Any], name: str, skip: int = 0) -> tuple[tuple[Parameter, ...], bool]:
    """Parameters of a function, of any type, and whether it takes others too.

    Args:
        function: The function.
        name: What messages call it.
        skip: Leading parameters that are not asked for.

    Raises:
        InputError: It has parameters without names, or does not tell them.
    """
    found: list[Parameter] = []
    takes_more = False
    try:
        declared = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        raise InputError(f"{name} does not tell its parameters.", hint="Wrap it in a function of yours.") from None
    for item in declared:
        if item.kind is item.VAR_KEYWORD:
            takes_more = True
        elif item.kind in (item.POSITIONAL_ONLY, item.VAR_POSITIONAL):
            raise InputError(
                f"{name}: the parameter '{item.name}' has no name for a node to use.",
                hint="Write it without * and before no /.",
            )
        else:
            required = item.default is item.empty
            found.append(Parameter(item.name, required=required, default=None if required else item.default))
    return tuple(found), takes_more
