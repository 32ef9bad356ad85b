"""Parameters of actors: values of any type that pydantic knows, in the form in which they reach a worker.

The codec carries plain values as they are. Values of other types (dataclasses, pydantic models, enums, sets, tuples)
travel as JSON has them, and are made again on the other side.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

from dataflow.errors import InputError, TypeMismatchError
from dataflow.nodes.interface import Parameter

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_PLAIN = (NoneType, bool, int, float, str, bytes, datetime, date, time, Decimal, UUID, Any)
_NESTED = (list, dict, Mapping, Union, types.UnionType)


def travels_as_it_is(annotation: Any) -> bool:
    """Whether all values of a type reach a worker unchanged."""
    origin = get_origin(annotation)
    if origin is None:
        return annotation in _PLAIN or annotation in (list, dict, None)
    if origin is Literal:
        return True
    return origin in _NESTED and all(travels_as_it_is(item) for item in get_args(annotation))


class WireParameter(Parameter):
    """A parameter whose values travel as JSON."""

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        from pydantic import PydanticSchemaGenerationError, TypeAdapter

        try:
            return TypeAdapter(self.annotation)
        except PydanticSchemaGenerationError:
            raise InputError(
                f"Parameter '{self.name}': values of {self.annotation!r} cannot be checked.",
                hint="Use plain types, dataclasses, enums or pydantic models.",
            ) from None

    def check(self, value: Any, node_type: str) -> Any:
        """The value, itself or made from its JSON form; no other conversion is made.

        Raises:
            TypeMismatchError: It is of another type.
            InputError: pydantic does not know the type.
        """
        from pydantic import ValidationError

        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
        try:
            return self._adapter.validate_json(msgspec.json.encode(value), strict=True)
        except (ValidationError, TypeError):
            raise TypeMismatchError(
                f"{node_type}: parameter '{self.name}' got {type(problem['input']).__name__}: {problem['msg']}.",
                node_type=node_type,
                parameter=self.name,
            ) from None

    def outgoing(self, value: Any, node_type: str) -> Any:
        """The JSON form of a checked value.

        Raises:
            InputError: It has none (bytes that are no text).
        """
        try:
            return self._adapter.dump_python(value, mode="json")
        except ValueError as error:
            raise InputError(f"{node_type}: parameter '{self.name}' cannot be sent: {error}") from None


def typed_parameter(name: str, annotation: Any, *, required: bool, default: Any) -> Parameter:
    """A parameter whose values are checked strictly, and may be given in the form in which they travel."""
    kind = Parameter if travels_as_it_is(annotation) else WireParameter
    return kind(name, annotation, required=required, default=default)


def outgoing(parameter: Parameter | None, value: Any, node_type: str) -> Any:
    """A checked value of a parameter in the form in which it travels."""
    return parameter.outgoing(value, node_type) if isinstance(parameter, WireParameter) else value
