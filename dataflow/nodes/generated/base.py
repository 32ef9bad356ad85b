"""What the generated nodes of a model have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Mapping
from functools import cached_property
from typing import Any, ClassVar

from msgspec.structs import replace

from dataflow.databases.interface import Guard
from dataflow.errors import DataFlowError, TenantError
from dataflow.models import FieldSpec
from dataflow.models.spec import Managed
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.exactly_once import run_once
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.tenants import checked_tenant, no_tenant

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


_TENANT_ID = Managed.TENANT_ID.value


class GeneratedNode(Node):
    """A node of one model. Subclasses name their operation and describe their parameters and outputs."""

    #: Second part of the node type: ``"Create"`` in ``UserCreateNode``.
    operation: ClassVar[str]
    #: Whether it changes rows.
    writes: ClassVar[bool] = False

    def __init__(self, binding: ModelBinding) -> None:
        self.binding = binding
        self.type = f"{binding.spec.name}{self.operation}Node"
        self._has_tenants = binding.spec.features.multi_tenant

    @property
    def guard(self) -> Guard:
        return self.binding.database.guard

    @cached_property
    def spec(self) -> NodeSpec:
        described = self.describe()
        return NodeSpec(
            type=self.type,
            description=described.description,
            parameters=(*described.parameters, *self._tenant_parameter(), *CONTROLS),
            outputs=described.outputs,
        )

    @abstractmethod
    def describe(self) -> NodeSpec:
        """The declaration without what all generated nodes share; asked once, when first needed."""

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Coroutine[Any, Any, dict[str, Any]]:
        if self._has_tenants:
            if _TENANT_ID in inputs:
                inputs = dict(inputs)
                context = self._in_tenant(inputs.pop(_TENANT_ID), context)
            elif context.tenant_id is None:
                raise no_tenant()
        if context.record is not None and self.writes:
            return run_once(self, inputs, context, context.record)
        return self.perform(inputs, context)

    def takes_one_statement(self, inputs: Mapping[str, Any]) -> bool:
        """Whether its whole work is one ``fetch_one`` that returns a row of the model, or none."""
        return False

    def rows_in(self, output: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """The rows of the model that an output of the node holds."""
        return ()

    def may_succeed_again(self, error: DataFlowError, inputs: Mapping[str, Any]) -> bool:
        """Whether, after its transaction was undone because of an error, the same inputs may be tried again."""
        return False

    @abstractmethod
    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Do the work, for the tenant that the context names. ``inputs`` are as given: aliases, unchecked."""

    def _tenant_parameter(self) -> tuple[Parameter, ...]:
        if not self._has_tenants:
            return ()
        return (
            Parameter(
                _TENANT_ID,
                str,
                description="Whose rows are meant, where the run does not say.",
                coerce=checked_tenant,
            ),
        )

    def _in_tenant(self, tenant_id: Any, context: RunContext) -> RunContext:
        tenant_id = checked_tenant(tenant_id)
        if context.tenant_id is not None and tenant_id != context.tenant_id:
            raise TenantError(
                f"{self.type}: the run is for another tenant than the node's tenant_id.",
                hint="Leave tenant_id out: the run's own tenant is meant then.",
                node_type=self.type,
            )
        return replace(context, tenant_id=tenant_id)

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
