"""What the generated nodes do with their inputs before they ask ``queries`` for a plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from dataflow.errors import InputError, UnknownParameterError
from dataflow.models import ModelSpec
from dataflow.models.spec import Managed
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.interface import NodeSpec, Parameter, missing_parameter
from dataflow.queries.filters import Filter, parse_filter
from dataflow.queries.model import ModelRows


def resolve(spec: NodeSpec, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by parameter name, aliases resolved; values are not checked, but for parameters of later versions.

    Raises:
        UnknownParameterError: A parameter is unknown, or given under two names.
        InputError: A parameter asks for what this version does not have.
    """
    by_name = spec.by_name
    given: dict[str, Any] = {}
    for name, value in inputs.items():
        parameter = by_name.get(name) or spec.parameter(name)
        assert parameter is not None
        if parameter.name in given:
            raise UnknownParameterError(
                f"{spec.type}: '{name}' is another name of '{parameter.name}', give one of them.",
                node_type=spec.type,
                parameter=name,
            )
        given[parameter.name] = value
        if isinstance(parameter, LaterParameter):
            parameter.check(value, spec.type)
    return given


#: Types of an id that a filter compares by equality.
_PLAIN_IDS = (int, str, UUID)


class LaterParameter(Parameter):
    """A parameter that is known, but whose effect this version does not have: only values that ask for nothing pass."""

    def check(self, value: Any, node_type: str) -> Any:
        """None and the default pass.

        Raises:
            InputError: Any other value.
        """
        if value is None or (type(value) is type(self.default) and value == self.default):
            return value
        raise InputError(
            f"{node_type}: {self.name}={value!r} is not in this version yet.",
            hint="Leave it out: it is refused rather than silently ignored.",
            node_type=node_type,
            parameter=self.name,
        )


#: Parameters of reads that only have a meaning with features of later versions.
READ_LATER = (
    LaterParameter("read_preference", str, description="Which server to read from."),
    LaterParameter("enable_cache", bool, default=False, description="Answer from the query cache."),
    LaterParameter("cache_ttl", int, description="Seconds a cached answer is good for."),
    LaterParameter("cache_key", str, description="Name of the cached answer."),
)
INCLUDE_DELETED = Parameter("include_deleted", bool, default=False, description="Also rows that were soft-deleted.")


def filter_parameter(binding: ModelBinding, *aliases: str) -> Parameter:
    """The parameter ``filter``, checked against the model when a workflow is built."""
    return Parameter(
        "filter",
        dict[str, Any],
        default={},
        aliases=aliases,
        description="Which rows, in the notation of MongoDB.",
        coerce=checked_by(lambda value: parse_filter(binding.rows, value)),
    )


def id_parameter(binding: ModelBinding) -> Parameter:
    """The parameter ``id``, also called ``record_id``."""
    key = binding.spec.primary_key
    return Parameter(
        key.name,
        key.type.python,
        aliases=("record_id",),
        description=f"Which {binding.spec.name}.",
        coerce=checked_by(lambda value: key.coerce(value, binding.spec.name)),
    )


def checked_by(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parameter's coercion that lets ``check`` raise and keeps the value as it was given."""

    def coerce(value: Any) -> Any:
        check(value)
        return value

    return coerce


def whole_number(node_type: str, name: str, value: Any) -> int:
    """A limit or an offset.

    Raises:
        InputError: It is not a whole number from 0 to 2**63 - 2.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 - 1:
        return value
    raise InputError(
        f"{node_type}: {name} is {value!r}, it is a whole number, 0 or more.", node_type=node_type, parameter=name
    )


def flag(node_type: str, name: str, value: Any) -> bool:
    """A switch.

    Raises:
        InputError: It is not True or False.
    """
    if value is True or value is False:
        return value
    raise InputError(f"{node_type}: {name} is {value!r}, it is True or False.", node_type=node_type, parameter=name)


def seen_rows(binding: ModelBinding, node_type: str, given: Mapping[str, Any]) -> ModelRows:
    """The rows that a node sees: those that were soft-deleted only with ``include_deleted``."""
    return binding.all_rows if flag(node_type, "include_deleted", given.get("include_deleted", False)) else binding.rows


def deletes_softly(binding: ModelBinding, node_type: str, soft_delete: Any) -> bool:
    """Whether a node marks rows instead of removing them; None is the model's own way.

    Raises:
        InputError: The model has no such mark.
    """
    softly = binding.spec.features.soft_delete
    if soft_delete is None:
        return softly
    if flag(node_type, "soft_delete", soft_delete) and not softly:
        raise InputError(
            f"{node_type}: {binding.spec.name} rows cannot be soft-deleted.",
            hint="Declare the model with __dataflow__ = {'soft_delete': True}.",
            node_type=node_type,
        )
    return bool(soft_delete)


def version_parameter(binding: ModelBinding) -> tuple[Parameter, ...]:
    """The parameter ``version`` of a versioned model."""
    if not binding.spec.features.versioned:
        return ()
    return (
        Parameter(
            Managed.VERSION.value,
            int,
            description="The version that the row must have, else VersionConflictError.",
            coerce=lambda value: binding.codec.fields[Managed.VERSION.value].bind(value),
        ),
    )


def given_version(binding: ModelBinding, given: Mapping[str, Any]) -> list[Any]:
    """The version that the row must have, in a list; an empty one where it may have any.

    Raises:
        TypeMismatchError: It is no whole number.
        NotNullViolationError: It is None: a connection that brings no version must not switch the check off.
    """
    name = Managed.VERSION.value
    if not binding.spec.features.versioned or name not in given:
        return []
    return [binding.codec.fields[name].bind(given[name])]


def pick_row(binding: ModelBinding, node_type: str, given: Mapping[str, Any]) -> tuple[Any, Filter | None]:
    """Which row a node is for: the driver value of its id, or else a filter that should match one row.

    Raises:
        MissingParameterError: Neither ``id`` nor ``filter`` is given.
        InputError: Both are, or the filter matches every row, or one of them is wrong.
    """
    key = binding.spec.primary_key.name
    if key in given:
        if "filter" in given:
            raise InputError(
                f"{node_type}: '{key}' and 'filter' both say which row.",
                hint=f"Put the id into the filter, {{'filter': {{'{key}': …}}}}, or leave the filter out.",
                node_type=node_type,
            )
        return binding.codec.fields[key].bind(given[key]), None
    if "filter" not in given:
        raise missing_parameter(node_type, key)
    conditions = given["filter"]
    if type(conditions) is dict and len(conditions) == 1 and type(conditions.get(key)) in _PLAIN_IDS:
        # What most of these filters are needs no parsing.
        return binding.codec.fields[key].bind(conditions[key]), None
    where = parse_filter(binding.rows, conditions)
    if where.is_empty:
        raise InputError(
            f"{node_type}: the filter matches every row, this node is for one.",
            hint=f"Write {{'filter': {{'{key}': …}}}}.",
            node_type=node_type,
        )
    return (where.values[0], None) if where.shape == ("eq", key) else (None, where)


def as_given(binding: ModelBinding, key: Any) -> Any:
    """An id's driver value as results show it; None stays None."""
    decode = binding.codec.fields[binding.spec.primary_key.name].decode
    return key if key is None or decode is None else decode(key)


def warn_stripped(binding: ModelBinding, names: Iterable[str], action: str) -> None:
    """Say, once per model, that managed timestamps are not the user's to set."""
    if binding.warned_of_timestamps:
        return
    binding.warned_of_timestamps = True
    warnings.warn(
        f"AUTO-STRIPPED: Fields {sorted(names)} removed from {action} of {binding.spec.name}. DataFlow manages "
        f"{' and '.join(binding.spec.features.managed)}: leave them out.",
        UserWarning,
        stacklevel=3,
    )


def managed_names(spec: ModelSpec) -> frozenset[str]:
    """Names of the fields that are filled in for the user."""
    return frozenset(item.name for item in spec.fields if item.managed is not None)
