"""What the generated nodes of a model have in common."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from dataflow.models import FieldSpec
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter

#: Parameters that the runtime acts on, the same for every generated node.
CONTROLS = (
    Parameter("timeout", float | int | None, description="Seconds this node may take.", control=True),
    Parameter(
        "retry",
        int | dict[str, Any] | None,
        description="Tries on transient database errors: a number, or options of RetryPolicy.",
        control=True,
    ),
    Parameter("input", description="Only orders this node after the one it is connected from.", control=True),
)


class GeneratedNode(Node):
    """A node of one model. Subclasses name their operation and describe their parameters and outputs."""

    #: Second part of the node type: ``"Create"`` in ``UserCreateNode``.
    operation: ClassVar[str]

    def __init__(self, binding: ModelBinding) -> None:
        self.binding = binding
        self.type = f"{binding.spec.name}{self.operation}Node"

    @cached_property
    def spec(self) -> NodeSpec:
        described = self.describe()
        return NodeSpec(
            type=self.type,
            description=described.description,
            parameters=(*described.parameters, *CONTROLS),
            outputs=described.outputs,
        )

    @abstractmethod
    def describe(self) -> NodeSpec:
        """The declaration without what all generated nodes share; asked once, when first needed."""

    def field_parameter(self, item: FieldSpec, *, required: bool) -> Parameter:
        """A parameter that takes a value of a field."""
        model = self.binding.spec.name
        return Parameter(
            item.name,
            item.type.python | None if item.nullable else item.type.python,
            required=required,
            description=f"{model}.{item.name}",
            coerce=lambda value: item.coerce(value, model),
        )

    def field_outputs(self) -> tuple[Output, ...]:
        """The columns of a stored row."""
        return tuple(Output(item.name, item.type.python) for item in self.binding.spec.fields)
