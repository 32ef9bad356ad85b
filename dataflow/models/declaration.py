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
from dataflow.tenants import TENANT_CHARACTERS

_FEATURES = ("timestamps", "soft_delete", "versioned", "multi_tenant", "row_level_security", "events")

#: ``__dataflow__`` keys of the guides that are not built yet. A feature that would silently do nothing is refused.
_LATER_FEATURES = {"audit_log", "encryption"}

_MANAGED_TYPES = {
    Managed.TENANT_ID: FieldType(Kind.STR, str, max_length=TENANT_CHARACTERS),
    Managed.VERSION: FieldType(Kind.INT, int),
    Managed.DELETED_AT: FieldType(Kind.DATETIME, datetime),
    Managed.CREATED_AT: FieldType(Kind.DATETIME, datetime),
    Managed.UPDATED_AT: FieldType(Kind.DATETIME, datetime),
}


def declare(
    cls: type[Any],
    *,
    known: Mapping[str, ModelSpec] | None = None,
    strict: bool = False,
    skip_validation: bool = False,
    multi_tenant: bool = False,
    local_names: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """The ModelSpec of a class.

    Args:
        cls: A class with annotations.
        known: Models declared before, by name; relations may point to them.
        strict: Raise on every problem that validation finds, instead of warning.
        skip_validation: Do not look for problems.
        multi_tenant: Whether a model is multi-tenant that does not say.
        local_names: Names that text annotations may use besides those of the class's module.

    Raises:
        ModelError: The class cannot be a model (unknown type, reserved name, unusable option).
        ModelValidationError: ``strict`` and validation found problems.
    """
    known = known or {}
    features = _features(cls, Features(strict=strict, multi_tenant=multi_tenant))
    hints = type_hints(cls, known, local_names or {})
    declared = {name: declared_field(cls, name, hint, known) for name, hint in hints.items()}
    relations = [relation for _, relation in declared.values() if relation]
    fields = {item.name: item for item, _ in declared.values()}
    by_hand = [item for item in (fields.pop(name, None) for name in features.managed) if item]

    primary_key = fields.pop("id", None)
    ordered = [_primary_key(cls.__name__, primary_key), *fields.values(), *_managed(cls, features, by_hand)]
    _check_names(cls.__name__, ordered)
    indexes = declared_indexes(cls, ordered, multi_tenant=features.multi_tenant)
    spec = ModelSpec(
        name=cls.__name__,
        table_name=getattr(cls, "__tablename__", table_name(cls.__name__)),
        fields=limit_keys(ordered, indexes, multi_tenant=features.multi_tenant),
        indexes=indexes,
        relations=(*relations, *_inferred_relations(fields.values(), relations)),
        features=features,
        doc=(cls.__doc__ or "").strip(),
    )
    if not skip_validation:
        needless = [item.name for item in by_hand if item.name != Managed.TENANT_ID]
        validate(spec, known=known, strict=strict, has_own_key=primary_key is not None, needless=needless)
    return spec


def _check_names(model: str, fields: Iterable[FieldSpec]) -> None:
    taken: dict[str, str] = {}
    for item in fields:
        other = taken.setdefault(item.name.casefold(), item.name)
        if other != item.name:
            raise ModelError(
                f"{model}: '{other}' and '{item.name}' are one name: MySQL and SQLite ignore its letter case.",
                hint="Rename one of them.",
            )


def _features(cls: type[Any], defaults: Features) -> Features:
    given: dict[str, bool] = {}
    for name, value in getattr(cls, "__dataflow__", {}).items():
        if name in _FEATURES:
            if not isinstance(value, bool):
                raise ConfigurationError(f"{cls.__name__}.__dataflow__: {name!r} is True or False, got {value!r}.")
            given[name] = value
        elif name not in _LATER_FEATURES:
            raise ConfigurationError(
                f"{cls.__name__}.__dataflow__ has no option {name!r}.",
                hint=did_you_mean(name, (*_FEATURES, *_LATER_FEATURES)),
            )
        elif value:
            raise ConfigurationError(
                f"{cls.__name__}.__dataflow__ asks for {name!r}, which this version does not have yet.",
                hint="Remove it: it is refused rather than silently ignored.",
            )
    features = replace(defaults, **given)
    if features.row_level_security and not features.multi_tenant:
        raise ConfigurationError(
            f"{cls.__name__}.__dataflow__: row_level_security holds tenants apart, and this model has none.",
            hint="Add 'multi_tenant': True.",
        )
    return features


def _primary_key(model: str, declared: FieldSpec | None) -> FieldSpec:
    if declared is None:
        return FieldSpec("id", FieldType(Kind.INT, int), primary_key=True, generated=True)
    if declared.type.enum or declared.type.kind not in (Kind.INT, Kind.STR, Kind.UUID):
        raise ModelError(f"{model}.id is {declared.type.label}; a primary key is str, int or UUID.")
    if declared.nullable:
        raise ModelError(f"{model}.id cannot be None.", hint="Declare it without a default of None or '| None'.")
    if declared.events != "show":
        raise ModelError(f"{model}.id cannot be kept out of change events: they name rows by it.")
    factory = declared.default_factory
    if declared.type.kind is Kind.UUID and not declared.has_default:
        factory = uuid7
    generated = declared.type.kind is Kind.INT and not declared.has_default and declared.references is None
    return replace(declared, primary_key=True, generated=generated, default_factory=factory, unique=False, index=False)


def _managed(cls: type[Any], features: Features, by_hand: Iterable[FieldSpec]) -> list[FieldSpec]:
    for item in by_hand:
        expected = _MANAGED_TYPES[Managed(item.name)]
        if item.type.kind is not expected.kind:
            raise ModelError(
                f"{cls.__name__}.{item.name} is {item.type.label}, but is managed for you as {expected.label}.",
                hint="Remove it from the class.",
            )
    return [
        FieldSpec(name.value, _MANAGED_TYPES[name], nullable=name is Managed.DELETED_AT, managed=name)
        for name in features.managed
    ]


def _inferred_relations(fields: Iterable[FieldSpec], declared: list[RelationSpec]) -> list[RelationSpec]:
    """``customer_id`` also reads as the relation ``customer`` to ``Customer``, for filters; it adds no constraint."""
    taken = {relation.field for relation in declared}
    return [
        RelationSpec(item.name[:-3], camel_case(item.name[:-3]), item.name)
        for item in fields
        if item.name.endswith("_id") and len(item.name) > 3 and item.name not in taken
    ]
