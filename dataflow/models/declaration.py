"""From a class to a ModelSpec: annotations, defaults, ``__indexes__``, ``__tablename__``, ``__dataflow__``."""

from __future__ import annotations

import copy
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING as DATACLASS_MISSING
from dataclasses import Field as DataclassField
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, ForwardRef, Union, get_args, get_origin
from uuid import UUID

from dataflow.errors import ConfigurationError, ModelError, did_you_mean
from dataflow.models.identity import uuid7
from dataflow.models.naming import camel_case, table_name
from dataflow.models.spec import MISSING, Features, FieldSpec, ForeignKey, IndexSpec, Managed, ModelSpec, RelationSpec
from dataflow.models.types import FieldType, Kind
from dataflow.models.validation import RESERVED, validate

#: InnoDB indexes at most 3,072 bytes, and a character of utf8mb4 may take four: text in a unique key is limited so on
#: every database, since a limit on one of them only would be a different meaning.
KEY_BYTES = 3072
KEY_CHARACTERS = KEY_BYTES // 4

_PLAIN = {
    str: Kind.STR,
    int: Kind.INT,
    float: Kind.FLOAT,
    bool: Kind.BOOL,
    Decimal: Kind.DECIMAL,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    timedelta: Kind.TIMEDELTA,
    UUID: Kind.UUID,
    bytes: Kind.BYTES,
}

_TIMESTAMPS = (Managed.CREATED_AT, Managed.UPDATED_AT)

#: ``__dataflow__`` keys of the guides that are not built yet. A feature that would silently do nothing is refused.
_LATER_FEATURES = {"multi_tenant", "soft_delete", "versioned", "audit_log", "encryption"}


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """What ``Field(…)`` carries; made by :func:`Field`."""

    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    unique: bool = False
    index: bool = False
    references: str | None = None
    on_delete: str = "restrict"
    max_length: int | None = None
    precision: int = 38
    scale: int = 10


def Field(  # noqa: N802 - reads as a type in declarations
    default: Any = MISSING,
    *,
    default_factory: Callable[[], Any] | None = None,
    unique: bool = False,
    index: bool = False,
    references: str | None = None,
    on_delete: str = "restrict",
    max_length: int | None = None,
    precision: int = 38,
    scale: int = 10,
) -> Any:
    """Options of a field, as its default or in ``Annotated``.

    Args:
        default: Value of rows that do not give one.
        default_factory: Called for each such row instead.
        unique: No two rows may hold the same value.
        index: Keep an index.
        references: Name of the model whose id this field holds.
        on_delete: What happens to this row when that one goes: ``"restrict"``, ``"cascade"`` or ``"set null"``.
        max_length: Characters of a text field, or bytes of a bytes field, at most.
        precision: Significant digits of a Decimal field, at most 65.
        scale: Digits after the point of a Decimal field, at most 30.

    Example:
        >>> class User:
        ...     email: str = Field(unique=True)
        ...     team_id: int = Field(references="Team", on_delete="cascade")
    """
    return FieldOptions(default, default_factory, unique, index, references, on_delete, max_length, precision, scale)


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
    hints = _type_hints(cls, known, local_names or {})
    declared = {name: _field(cls, name, hint, known) for name, hint in hints.items()}
    relations = [relation for _, relation in declared.values() if relation]
    fields = {item.name: item for item, _ in declared.values()}
    timestamps = [name for name in _TIMESTAMPS if fields.pop(name, None)] if features.timestamps else []

    primary_key = fields.pop("id", None)
    ordered = [_primary_key(cls.__name__, primary_key), *fields.values(), *_timestamps(features)]
    indexes = _indexes(cls, ordered)
    spec = ModelSpec(
        name=cls.__name__,
        table_name=getattr(cls, "__tablename__", table_name(cls.__name__)),
        fields=_limit_keys(ordered, indexes),
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


def _type_hints(cls: type[Any], known: Mapping[str, ModelSpec], local_names: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations of the class and its bases, text ones evaluated; names of known models stand for themselves."""
    scope: dict[str, Any] = {name: _ModelName(name) for name in known}
    scope[cls.__name__] = cls
    scope.update(local_names)
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        module = sys.modules.get(base.__module__)
        names = {**vars(module), **scope} if module else scope
        for name, hint in inspect.get_annotations(base).items():
            origin: Any = get_origin(hint)
            if name.startswith("_") or ClassVar in (hint, origin):
                continue
            while isinstance(hint, str):  # a quoted annotation under `from __future__ import annotations` is text twice
                hint = _evaluate(hint, names, f"{cls.__name__}.{name}")
            found[name] = hint
    return found


class _ModelName:
    """Stands for a declared model in an evaluated annotation, so that ``"Customer | None"`` works as text."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - `|` is what is being defined

    def __call__(self) -> None:
        """Callable, since typing takes only callables as types."""


def _evaluate(hint: str, names: Mapping[str, Any], where: str) -> Any:
    try:
        # The class body's own source text, as typing.get_type_hints evaluates it.
        return eval(hint, dict(names))
    except NameError as error:
        raise ModelError(
            f"{where}: the annotation {hint!r} names {error.name!r}, which is not known here.",
            hint="Import it, or declare that model first.",
        ) from None


def _field(
    cls: type[Any], name: str, hint: Any, known: Mapping[str, ModelSpec]
) -> tuple[FieldSpec, RelationSpec | None]:
    where = f"{cls.__name__}.{name}"
    if name in RESERVED:
        raise ModelError(
            f"{where}: every node has a parameter {name!r}, so no field can have this name.",
            hint=f"Rename it, for example to '{name}_value'.",
        )
    default = _class_default(cls, name)
    hint, options = _unwrap(hint, default)
    hint, nullable = _optional(hint)
    target = _model_named(hint, cls, known)
    if target is not None:
        column = f"{name}_id"
        key_type = known[target].primary_key.type if target in known else FieldType(Kind.INT, int)
        options = replace(options, references=target)
        relation = RelationSpec(name=name, model=target, field=column)
        return _spec(where, column, key_type, nullable, options), relation
    spec = _spec(where, name, _field_type(where, hint, options), nullable, options)
    if options.references:
        relation_name = name.removesuffix("_id")
        return spec, RelationSpec(name=relation_name, model=options.references, field=name)
    return spec, None


def _class_default(cls: type[Any], name: str) -> Any:
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def _unwrap(hint: Any, default: Any) -> tuple[Any, FieldOptions]:
    options = FieldOptions()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        options = next((extra for extra in extras if isinstance(extra, FieldOptions)), options)
    if isinstance(default, FieldOptions):
        return hint, default
    if isinstance(default, DataclassField):
        if default.default_factory is not DATACLASS_MISSING:
            return hint, replace(options, default_factory=default.default_factory)
        default = MISSING if default.default is DATACLASS_MISSING else default.default
    if isinstance(default, types.MemberDescriptorType):  # a __slots__ entry, not a value
        default = MISSING
    if default is MISSING:
        return hint, options
    if callable(default) and not isinstance(default, type):
        factory = default.__func__ if isinstance(default, staticmethod) else default
        return hint, replace(options, default_factory=factory)
    return hint, replace(options, default=default)


def _optional(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        if len(parts) == 1:
            return parts[0], len(parts) < len(get_args(hint))
    return hint, False


def _model_named(hint: Any, cls: type[Any], known: Mapping[str, ModelSpec]) -> str | None:
    if isinstance(hint, ForwardRef):  # the text within Optional["Customer"]
        hint = _ModelName(hint.__forward_arg__) if hint.__forward_arg__ in known else hint
    if isinstance(hint, _ModelName):
        return hint.name
    if hint is cls:
        return str(cls.__name__)
    if isinstance(hint, type) and hint.__name__ in known and hint not in _PLAIN and not issubclass(hint, Enum):
        return str(hint.__name__)
    return None


def _field_type(where: str, hint: Any, options: FieldOptions) -> FieldType:
    if hint in _PLAIN:
        kind = _PLAIN[hint]
        if not (0 < options.precision <= 65 and 0 <= options.scale <= min(30, options.precision)):
            raise ModelError(f"{where}: precision is 1 to 65, scale 0 to 30 and not above the precision.")
        return FieldType(kind, hint, max_length=options.max_length, precision=options.precision, scale=options.scale)
    if hint is Any:
        return FieldType(Kind.JSON, object)
    container = get_origin(hint) or hint
    if container in (dict, list):
        return FieldType(Kind.JSON, container)
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [member.value for member in hint]
        if values and all(type(value) is int for value in values):
            return FieldType(Kind.INT, hint, enum=hint)
        if values and all(isinstance(value, str) for value in values):
            return FieldType(Kind.STR, hint, enum=hint, max_length=max(255, *map(len, values)))
        raise ModelError(f"{where}: {hint.__name__} must have text values, or whole numbers, and at least one.")
    supported = ", ".join(cls.__name__ for cls in _PLAIN)
    raise ModelError(
        f"{where}: {hint!r} is not a type a field can have.",
        hint=f"Use {supported}, dict, list, an Enum, or another declared model.",
    )


def _spec(where: str, name: str, field_type: FieldType, nullable: bool, options: FieldOptions) -> FieldSpec:
    if options.on_delete not in ("restrict", "cascade", "set null"):
        raise ModelError(
            f"{where}: on_delete={options.on_delete!r} is not known.",
            hint="Use 'restrict', 'cascade' or 'set null'.",
        )
    reference = ForeignKey(options.references, options.on_delete) if options.references else None
    default, factory = options.default, options.default_factory
    if default is None:
        nullable = True
    elif default is not MISSING:
        try:
            default = field_type.coercer()(default)
        except ValueError as error:
            raise ModelError(f"{where}: the default {default!r} is not {field_type.label}: {error}.") from None
        if isinstance(default, dict | list):
            default, factory = MISSING, _copier(default)
    return FieldSpec(
        name=name,
        type=field_type,
        nullable=nullable,
        default=default,
        default_factory=factory,
        unique=options.unique,
        index=options.index or reference is not None,
        references=reference,
    )


def _copier(default: Any) -> Callable[[], Any]:
    return lambda: copy.deepcopy(default)


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


def _indexes(cls: type[Any], fields: list[FieldSpec]) -> tuple[IndexSpec, ...]:
    names = [item.name for item in fields]
    found: list[IndexSpec] = []
    for number, entry in enumerate(getattr(cls, "__indexes__", ())):
        where = f"{cls.__name__}.__indexes__[{number}]"
        if not isinstance(entry, Mapping) or not entry.get("fields"):
            example = "Write {'name': 'idx_x', 'fields': ['x'], 'unique': False}."
            raise ModelError(f"{where} needs 'fields'.", hint=example)
        for key in entry:
            if key not in ("name", "fields", "unique"):
                raise ModelError(
                    f"{where} has no option {key!r}.", hint=did_you_mean(key, ("name", "fields", "unique"))
                )
        columns = tuple(entry["fields"])
        for column in columns:
            if column not in names:
                raise ModelError(f"{where} names the field {column!r}.", hint=did_you_mean(column, names))
        name = entry.get("name") or f"ix_{table_name(cls.__name__)}_{'_'.join(columns)}"
        found.append(IndexSpec(name, columns, bool(entry.get("unique", False))))
    return tuple(found)


def _limit_keys(fields: list[FieldSpec], indexes: tuple[IndexSpec, ...]) -> tuple[FieldSpec, ...]:
    """Give every text and bytes field that is part of a key the length that all three databases can index."""
    by_name = {item.name: item for item in fields}
    sharers: dict[str, int] = {}
    keys: list[tuple[str, ...]] = [index.fields for index in indexes if index.unique]
    keys += [(item.name,) for item in fields if item.primary_key or item.unique or item.references]
    for key in keys:
        long = [name for name in key if by_name[name].type.kind in (Kind.STR, Kind.BYTES)]
        for name in long:
            sharers[name] = max(sharers.get(name, 0), len(long))

    def limited(item: FieldSpec) -> FieldSpec:
        if item.name not in sharers:
            return item
        limit = (KEY_CHARACTERS if item.type.kind is Kind.STR else KEY_BYTES) // sharers[item.name]
        own = item.type.max_length
        return replace(item, type=replace(item.type, max_length=min(limit, own or limit)))

    return tuple(limited(item) for item in fields)


def _inferred_relations(fields: Any, declared: list[RelationSpec]) -> list[RelationSpec]:
    """``customer_id`` also reads as the relation ``customer`` to ``Customer``, for filters; it adds no constraint."""
    taken = {relation.field for relation in declared}
    return [
        RelationSpec(item.name[:-3], camel_case(item.name[:-3]), item.name)
        for item in fields
        if item.name.endswith("_id") and len(item.name) > 3 and item.name not in taken
    ]
