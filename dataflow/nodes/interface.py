"""What a node is: a declaration as data (NodeSpec), and something that runs.

One declaration serves build-time validation, the wire codec, the inspector and generated APIs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from dataflow.databases.interface import Executor, Guard
from dataflow.errors import MissingParameterError, TypeMismatchError, UnknownParameterError, did_you_mean
from dataflow.nodes.ledger import RunRecord

#: Name of the control parameter that only orders a node after others; several connections may lead to it.
ORDER_INPUT = "input"


class TemplateUse(StrEnum):
    """What happens to ``{{…}}`` in a parameter."""

    #: It is replaced by its value before the node runs.
    REPLACE = "replace"
    #: It is text like any other (code).
    KEEP = "keep"
    #: Its value reaches the node beside the text, as an Expression, and is never pasted into it.
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Expression:
    """Text of an expression parameter, with the values its templates stand for.

    Attributes:
        text: The text, with a name in place of each template.
        values: Value by that name; empty while the workflow is built.
        source: The text as the user wrote it.
    """

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Parameter:
    """One input of a node.

    Attributes:
        name: Its name.
        annotation: Its Python type (``int``, ``dict[str, Any]``, ``str | None``, …).
        required: Whether the node cannot run without it.
        default: Its value when absent.
        aliases: Other names it is known by.
        description: One sentence.
        coerce: Checks and converts a value, raising an InputError; by default pydantic does, in strict mode.
        control: The runtime acts on it (``timeout``, ``retry``, ``input``); the node never sees it.
        templates: What happens to ``{{…}}`` in it.
    """

    name: str
    annotation: Any = Any
    required: bool = False
    default: Any = None
    aliases: tuple[str, ...] = ()
    description: str = ""
    coerce: Callable[[Any], Any] | None = None
    control: bool = False
    templates: TemplateUse = TemplateUse.REPLACE

    @cached_property
    def _validate(self) -> Callable[[Any], Any]:
        # Declaring needs no pydantic, only checking does; it takes a while to import.
        from pydantic import ConfigDict, TypeAdapter

        config = ConfigDict(strict=True, arbitrary_types_allowed=True)
        return TypeAdapter(self.annotation, config=config).validate_python

    def check(self, value: Any, node_type: str) -> Any:
        """``value`` as the node takes it.

        Raises:
            TypeMismatchError: It is of another type.
        """
        if self.coerce is not None:
            return self.coerce(value)
        if self.annotation is Any:
            return value
        try:
            return self._validate(value)
        except ValueError as error:
            from pydantic import ValidationError

            if not isinstance(error, ValidationError):
                raise
            problem = error.errors()[0]
            where = ".".join(str(part) for part in (self.name, *problem["loc"]))
            raise TypeMismatchError(
                f"{node_type}: parameter '{where}' got {type(problem['input']).__name__}: {problem['msg']}.",
                node_type=node_type,
                parameter=self.name,
            ) from None


@dataclass(frozen=True, slots=True)
class Output:
    """One key of a node's result."""

    name: str
    annotation: Any = Any
    description: str = ""


@dataclass(frozen=True)
class NodeSpec:
    """Declaration of a node type.

    Attributes:
        type: Name used in ``add_node``.
        description: One sentence.
        parameters: Its inputs, in order.
        outputs: Keys of its result.
        open_parameters: It also takes inputs that are not declared (PythonCodeNode).
        open_outputs: Its result may have keys that are not declared.
        branching: Its result has a key only for the branches it takes (SwitchNode); what is connected to another of
            its outputs does not run.
        waits_for: ``"all"``: it runs when everything connected to it has a value. ``"any"``: it runs when everything
            connected to it has ended and at least one has a value (MergeNode).
    """

    type: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    outputs: tuple[Output, ...] = ()
    open_parameters: bool = False
    open_outputs: bool = False
    branching: bool = False
    waits_for: Literal["all", "any"] = "all"

    @cached_property
    def by_name(self) -> Mapping[str, Parameter]:
        """Parameter by name or alias."""
        found = {alias: item for item in self.parameters for alias in item.aliases}
        found.update({item.name: item for item in self.parameters})
        return MappingProxyType(found)

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name or alias; None where the node takes undeclared ones.

        Raises:
            UnknownParameterError: The node has no such parameter.
        """
        found = self.by_name.get(name)
        if found is None and not self.open_parameters:
            raise UnknownParameterError(
                f"{self.type} has no parameter {name!r}.",
                hint=did_you_mean(name, self.by_name),
                node_type=self.type,
                parameter=name,
            )
        return found

    def bind(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs by parameter name: aliases resolved, types checked, defaults filled in.

        Raises:
            InputError: A parameter is unknown, missing, given twice or of another type.
        """
        bound: dict[str, Any] = {}
        for name, value in inputs.items():
            parameter = self.parameter(name)
            key = parameter.name if parameter else name
            if key in bound:
                raise UnknownParameterError(f"{self.type}: '{name}' is another name of '{key}', give one of them.")
            bound[key] = parameter.check(value, self.type) if parameter else value
        for item in self.parameters:
            if item.name not in bound and not item.control:
                if item.required:
                    raise missing_parameter(self.type, item.name)
                bound[item.name] = item.default
        return bound


def missing_parameter(node_type: str, name: str, node_id: str | None = None) -> MissingParameterError:
    """The error for a required parameter that nothing feeds."""
    where = f"{node_type} '{node_id}'" if node_id else node_type
    return MissingParameterError(
        f"{where} needs the parameter '{name}'.",
        hint=(
            f"Give it in add_node, connect an output to '{name}', or, if the run's inputs give it, "
            f"say so: add_workflow_inputs({node_id or 'node_id'!r}, [{name!r}])."
        ),
        node_type=node_type,
        parameter=name,
    )


class RunContext(msgspec.Struct, frozen=True):
    """What a node may know of the run it is part of.

    Attributes:
        run_id: The run.
        node_id: This node's id in the workflow.
        tenant_id: Whose rows the run is about; None where it does not say.
        record: What the run remembers of its effects, where they must happen once.
        executor: What a generated node's statements go to, where that is not the database itself.
    """

    run_id: str
    node_id: str
    tenant_id: str | None = None
    record: RunRecord | None = None
    executor: Executor | None = None

    @property
    def idempotency_key(self) -> str:
        """A text that is the same each time that this node of this run is started, and no other's."""
        return f"{self.run_id if self.record is None else self.record.run}:{self.node_id}"


class Node(ABC):
    """A node type, ready to run. Stateless: one object serves every step and run that uses it."""

    @property
    def guard(self) -> Guard | None:
        """The guard of what it cannot do without, such as its database; None where nothing is known of that."""
        return None

    @property
    @abstractmethod
    def spec(self) -> NodeSpec:
        """Its declaration."""

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        """Check what is known when a workflow is built.

        Args:
            params: Parameters whose values are known.
            later: Names of inputs that come from connections, templates or run inputs.

        Raises:
            InputError: A parameter is unknown or of another type. What is missing is checked by the caller, who
                knows whether run inputs can still give it.
        """
        for name, value in params.items():
            parameter = self.spec.parameter(name)
            if parameter is not None:
                parameter.check(value, self.spec.type)
        for name in later:
            self.spec.parameter(name)

    def has_output(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether its result can have a key of that name, with these parameters."""
        return self.spec.open_outputs or any(item.name == name for item in self.spec.outputs)

    @abstractmethod
    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Do the work. ``inputs`` are as given (aliases, unchecked): a node binds them itself, by ``spec.bind`` or
        a faster way with the same meaning.

        Raises:
            DataFlowError: It failed.
        """


class NodeAuthor(ABC):
    """Base of the classes that people write their own nodes with; ``add_node`` takes such a class, or an object of it,
    in place of a node type.
    """

    @classmethod
    @abstractmethod
    def class_node(cls) -> Node:
        """The node type that this class is."""

    @abstractmethod
    def instance_node(self) -> Node:
        """A node that runs this very object."""
