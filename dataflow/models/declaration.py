"""From a class to a ModelSpec: annotations, defaults, ``__indexes__``, ``__tablename__``, ``__dataflow__``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from dataflow.errors import ConfigurationError, ModelError, did_you_mean
from dataflow.models.annotations import declared_field, type_hints
from dataflow.models.identity import uuid7
from dataflow.models.keys import declared_indexes, limit_keys
from dataflow.models.naming import camel_case, table_name
from dataflow.models.spec import Features, FieldSpec, Managed, ModelSpec, RelationSpec
from dataflow.models.types import FieldType, Kind
from dataflow.models.validation import validate

_TIMESTAMPS = (Managed.CREATED_AT, Managed.UPDATED_AT)

#: ``__dataflow__`` keys of the guides that are not built yet. A feature that would silently do nothing is refused.
_LATER_FEATURES = {"multi_tenant", "soft_delete", "versioned", "audit_log", "encryption"}


def declare(
    cls: type[Any],
    *,
    known: Mapping[str, ModelSpec] | None = None,
    strict: bool = False,
    skip_validation: bool = False,
    local_names: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """The ModelSpec of a class.

    Args:
        cls: A class with annotations.
        known: Models declared before, by name; relations may point to them.
        strict: Raise on every problem that validation finds, instead of warning.
        skip_validation: Do not look for problems.
        local_names: Names that text annotations may use besides those of the class's module.

    Raises:
        ModelError: The class cannot be a model (unknown type, reserved name, unusable option).
        ModelValidationError: ``strict`` and validation found problems.
    """
    known = known or {}
    features = _features(cls, strict)
    hints = type_hints(cls, known, local_names or {})
    declared = {name: declared_field(cls, name, hint, known) for name, hint in hints.items()}
    relations = [relation for _, relation in declared.values() if relation]
    fields = {item.name: item for item, _ in declared.values()}
    timestamps = [name for name in _TIMESTAMPS if fields.pop(name, None)] if features.timestamps else []

    primary_key = fields.pop("id", None)
    ordered = [_primary_key(cls.__name__, primary_key), *fields.values(), *_timestamps(features)]
    indexes = declared_indexes(cls, ordered)
    spec = ModelSpec(
        name=cls.__name__,
        table_name=getattr(cls, "__tablename__", table_name(cls.__name__)),
        fields=limit_keys(ordered, indexes),
        indexes=indexes,
        relations=(*relations, *_inferred_relations(fields.values(), relations)),
        features=features,
        doc=(cls.__doc__ or "").strip(),
    )
    if not skip_validation:
        validate(spec, known=known, strict=strict, has_own_key=primary_key is not None, timestamps=timestamps)
    return spec


def _features(cls: type[Any], strict: bool) -> Features:
    timestamps = True
    for name, value in getattr(cls, "__dataflow__", {}).items():
        if name == "timestamps":
            timestamps = bool(value)
        elif name not in _LATER_FEATURES:
            raise ConfigurationError(
                f"{cls.__name__}.__dataflow__ has no option {name!r}.",
                hint=did_you_mean(name, ("timestamps", *_LATER_FEATURES)),
            )
        elif value:
            raise ConfigurationError(
                f"{cls.__name__}.__dataflow__ asks for {name!r}, which this version does not have yet.",
                hint="Remove it: it is refused rather than silently ignored.",
            )
    return Features(strict=strict, timestamps=timestamps)


def _primary_key(model: str, declared: FieldSpec | None) -> FieldSpec:
    if declared is None:
        return FieldSpec("id", FieldType(Kind.INT, int), primary_key=True, generated=True)
    if declared.type.enum or declared.type.kind not in (Kind.INT, Kind.STR, Kind.UUID):
        raise ModelError(f"{model}.id is {declared.type.label}; a primary key is str, int or UUID.")
    if declared.nullable:
        raise ModelError(f"{model}.id cannot be None.", hint="Declare it without a default of None or '| None'.")
    factory = declared.default_factory
    if declared.type.kind is Kind.UUID and not declared.has_default:
        factory = uuid7
    generated = declared.type.kind is Kind.INT and not declared.has_default and declared.references is None
    return replace(declared, primary_key=True, generated=generated, default_factory=factory, unique=False, index=False)


def _timestamps(features: Features) -> list[FieldSpec]:
    if not features.timestamps:
        return []
    return [FieldSpec(kind.value, FieldType(Kind.DATETIME, datetime), managed=kind) for kind in _TIMESTAMPS]


def _inferred_relations(fields: Iterable[FieldSpec], declared: list[RelationSpec]) -> list[RelationSpec]:
    """``customer_id`` also reads as the relation ``customer`` to ``Customer``, for filters; it adds no constraint."""
    taken = {relation.field for relation in declared}
    return [
        RelationSpec(item.name[:-3], camel_case(item.name[:-3]), item.name)
        for item in fields
        if item.name.endswith("_id") and len(item.name) > 3 and item.name not in taken
    ]
