"""From an annotation and a default to a FieldSpec."""

from __future__ import annotations

import copy
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING as DATACLASS_MISSING
from dataclasses import Field as DataclassField
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, ForwardRef, Union, get_args, get_origin
from uuid import UUID

from dataflow.errors import ModelError
from dataflow.models.options import FieldOptions
from dataflow.models.spec import MISSING, FieldSpec, ForeignKey, ModelSpec, RelationSpec
from dataflow.models.types import FieldType, Kind
from dataflow.models.validation import RESERVED

#: Digits of a Decimal field. MySQL calculates with 65, and cuts what a grouped sum has more without a word: this leaves
#: room for the sum of ten billion rows.
MAX_PRECISION = 55
MAX_SCALE = 30

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


def type_hints(cls: type[Any], known: Mapping[str, ModelSpec], local_names: Mapping[str, Any]) -> dict[str, Any]:
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


def declared_field(
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
        most_scale = min(MAX_SCALE, options.precision)
        if not (0 < options.precision <= MAX_PRECISION and 0 <= options.scale <= most_scale):
            raise ModelError(
                f"{where}: precision is 1 to {MAX_PRECISION}, scale 0 to {MAX_SCALE} and not above the precision."
            )
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
    if options.events not in ("show", "mask", "omit"):
        raise ModelError(f"{where}: events={options.events!r} is not known.", hint="Use 'show', 'mask' or 'omit'.")
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
        events=options.events,
        index=options.index or reference is not None,
        references=reference,
    )


def _copier(default: Any) -> Callable[[], Any]:
    return lambda: copy.deepcopy(default)
