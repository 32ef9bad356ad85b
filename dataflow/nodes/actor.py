"""ActorNode: a function of the application as a node type with a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.errors import ConfigurationError, InputError
from dataflow.nodes.builtin.function import named_parameters
from dataflow.nodes.current import running_node
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.nodes.user_code import call
from dataflow.nodes.wire_values import outgoing, typed_parameter
from dataflow.values import copy_containers

_TAKEN = frozenset({item.name for item in CONTROLS} | {"database"})


@dataclass(frozen=True)
class ActorNode(Node):
    """A function as a node; its output is ``{"result": what the function returned}``.

    Attributes:
        function: The function; a sync one runs in a thread.
        declaration: What ``spec`` gives.
    """

    function: Callable[..., Any]
    declaration: NodeSpec

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, local_names: Mapping[str, Any]) -> ActorNode:
        """The node of a function.

        Args:
            function: The function.
            name: Its node type.
            local_names: Names, besides those of its module, that its annotations may use.

        Raises:
            ConfigurationError: Its parameters cannot be those of a node.
        """
        try:
            named, takes_more = named_parameters(function, name)
        except InputError as error:
            raise ConfigurationError(f"The actor {error.message}", hint=error.hint) from None
        taken = sorted(_TAKEN & {item.name for item in named})
        if taken:
            raise ConfigurationError(
                f"The actor {name} has a parameter {taken[0]!r}, which every node has already.",
                hint=f"Call it otherwise. Taken are {', '.join(sorted(_TAKEN))}.",
            )
        hints = _annotations(function, name, local_names)
        parameters = (
            typed_parameter(item.name, hints.get(item.name, Any), required=item.required, default=item.default)
            for item in named
        )
        spec = NodeSpec(
            type=name,
            description=(inspect.getdoc(function) or f"Calls {name}.").partition("\n")[0],
            parameters=(*parameters, *CONTROLS),
            outputs=(Output("result", description="What the function returned."),),
            open_parameters=takes_more,
        )
        return cls(function, spec)

    @property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return self.declaration

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the function."""
        return tuple(item for item in self.spec.parameters if not item.control)

    def outgoing(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments in the form in which they travel.

        Raises:
            InputError: An argument is unknown, missing or of another type.
        """
        bound = self.spec.bind(arguments)
        return {name: outgoing(self.spec.parameter(name), bound[name], self.spec.type) for name in arguments}

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Call the function, with copies of the inputs."""
        arguments = {name: copy_containers(value) for name, value in self.spec.bind(inputs).items()}
        token = running_node.set(context)
        try:
            return {"result": await call(self.function, **arguments)}
        finally:
            running_node.reset(token)


def _annotations(function: Callable[..., Any], name: str, local_names: Mapping[str, Any]) -> dict[str, Any]:
    """Types of its parameters; those written as text are evaluated."""
    scope = {**getattr(inspect.unwrap(function), "__globals__", {}), **local_names}
    found: dict[str, Any] = {}
    for item in inspect.signature(function).parameters.values():
        hint = Any if item.annotation is item.empty else item.annotation
        while isinstance(hint, str):
            try:
                hint = eval(hint, scope)  # the application's own source text, as typing.get_type_hints evaluates it
            except NameError as error:
                raise ConfigurationError(
                    f"The actor {name}: the annotation {hint!r} names {error.name!r}, which is not known here.",
                    hint="Import it at run time, outside of `if TYPE_CHECKING`.",
                ) from None
        found[item.name] = hint
    return found
