"""ModelSpec and FieldSpec: a model's declaration as immutable data, read by every other room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from dataflow.errors import NotNullViolationError, TypeMismatchError, UnknownFieldError, did_you_mean
from dataflow.models.types import Coercer, FieldType


class Missing(Enum):
    """Marks "no default", since None is a default."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing.MISSING


class Managed(StrEnum):
    """Fields that are filled in for the user, in column order; they come last in a table."""

    TENANT_ID = "tenant_id"
    VERSION = "version"
    DELETED_AT = "deleted_at"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference to another model's primary key.

    Attributes:
        model: Name of the other model.
        on_delete: ``"restrict"`` (default), ``"cascade"`` or ``"set null"``.
    """

    model: str
    on_delete: str = "restrict"


@dataclass(frozen=True)
class FieldSpec:
    """One field.

    Attributes:
        name: Its name in Python, in nodes and in the database.
        type: What it holds.
        nullable: Whether None is a value.
        default: Value used when a create does not give one; MISSING if there is none.
        default_factory: Called for each new row where there is no ``default``.
        primary_key: True for ``id``.
        generated: The database makes the value (an integer id).
        managed: Filled in for the user, and how.
        unique: No two rows hold the same value; in a multi-tenant model, no two rows of a tenant.
        index: The database keeps an index on it.
        references: The model it points to.
        events: What change events tell of it: ``show``, ``mask`` or ``omit``.
    """

    name: str
    type: FieldType
    nullable: bool = False
    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    primary_key: bool = False
    generated: bool = False
    managed: Managed | None = None
    unique: bool = False
    index: bool = False
    references: ForeignKey | None = None
    events: str = "show"

    @cached_property
    def coercer(self) -> Coercer:
        """The type's own coercer, for code that adds its own context to the ValueError it raises."""
        return self.type.coercer()

    @property
    def required(self) -> bool:
        """Whether a create must give it."""
        return not (self.has_default or self.generated or self.managed or self.nullable)

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING or self.default_factory is not None

    def new_default(self) -> Any:
        """The default for a new row (None where there is none)."""
        if self.default_factory is not None:
            return self.default_factory()
        return None if self.default is MISSING else self.default

    def coerce(self, value: Any, model: str) -> Any:
        """``value`` in the field's Python type.

        Raises:
            TypeMismatchError: It is of another type, or cannot be stored the same way on every database.
            NotNullViolationError: It is None and the field is required.
        """
        if value is None:
            if self.nullable:
                return None
            raise NotNullViolationError(
                f"{model}.{self.name} must not be None.",
                hint=f"Give a value, or declare it as '{self.name}: {self.type.label} | None'.",
                model=model,
                field=self.name,
            )
        try:
            return self.coercer(value)
        except ValueError as error:
            raise self.mismatch(value, error, model) from None

    def mismatch(self, value: Any, reason: ValueError, model: str) -> TypeMismatchError:
        """The error for a value that the coercer refused."""
        shown = repr(value)
        if len(shown) > 80:
            shown = f"{shown[:77]}..."
        return TypeMismatchError(
            f"{model}.{self.name} is {self.type.label}, got {type(value).__name__} {shown}: {reason}.",
            model=model,
            field=self.name,
            expected=self.type.label,
        )


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """An index over one or more fields, in order. A unique one of a multi-tenant model begins with the tenant."""

    name: str
    fields: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True)
class RelationSpec:
    """A way to another model: ``Order.customer`` through ``customer_id``.

    Attributes:
        name: What filters call it.
        model: Name of the other model.
        field: The field of this model that holds the other's id.
    """

    name: str
    model: str
    field: str


@dataclass(frozen=True, slots=True)
class Features:
    """What ``__dataflow__`` and the decorator's options switched on or off.

    Attributes:
        strict: Validation problems were errors.
        timestamps: The model has ``created_at`` and ``updated_at``, filled in for the user. Off for existing tables
            that have no such columns.
        soft_delete: Deleting sets ``deleted_at``; rows that have one are not seen unless asked for.
        versioned: ``version`` counts the changes of a row, for optimistic locking.
        multi_tenant: ``tenant_id`` says whose row it is; a run sees those of its tenant only.
        row_level_security: PostgreSQL itself also holds the tenants apart.
        events: Changes of its rows are captured as events, where an app captures any.
    """

    strict: bool = False
    timestamps: bool = True
    soft_delete: bool = False
    versioned: bool = False
    multi_tenant: bool = False
    row_level_security: bool = False
    events: bool = True

    @property
    def managed(self) -> tuple[Managed, ...]:
        """The fields that these features add, in column order."""
        wanted = {
            Managed.TENANT_ID: self.multi_tenant,
            Managed.VERSION: self.versioned,
            Managed.DELETED_AT: self.soft_delete,
            Managed.CREATED_AT: self.timestamps,
            Managed.UPDATED_AT: self.timestamps,
        }
        return tuple(name for name, on in wanted.items() if on)


@dataclass(frozen=True)
class ModelSpec:
    """A model.

    Attributes:
        name: Name of the class; node types start with it.
        table_name: Its table.
        fields: All columns in order, ``id`` first, managed timestamps last.
        indexes: Declared indexes, beside those of unique and indexed fields.
        relations: Declared and inferred relations.
        doc: The class's docstring.
    """

    name: str
    table_name: str
    fields: tuple[FieldSpec, ...]
    indexes: tuple[IndexSpec, ...] = ()
    relations: tuple[RelationSpec, ...] = ()
    features: Features = field(default_factory=Features)
    doc: str = ""

    @cached_property
    def by_name(self) -> Mapping[str, FieldSpec]:
        """Field name → FieldSpec."""
        return MappingProxyType({item.name: item for item in self.fields})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in column order."""
        return tuple(item.name for item in self.fields)

    @cached_property
    def writable(self) -> tuple[FieldSpec, ...]:
        """Fields that users may set."""
        return tuple(item for item in self.fields if item.managed is None)

    @cached_property
    def primary_key(self) -> FieldSpec:
        return next(item for item in self.fields if item.primary_key)

    @cached_property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """Every set of fields that no two rows share, the primary key's first.

        In a multi-tenant model each begins with the tenant, so that a row found by its key is the tenant's own.
        """
        single = [(item.name,) for item in self.fields if item.primary_key or item.unique]
        tenant = (Managed.TENANT_ID.value,) if self.features.multi_tenant else ()
        return (*((*tenant, *key) for key in single), *(index.fields for index in self.indexes if index.unique))

    def field(self, name: str) -> FieldSpec:
        """The field of that name.

        Raises:
            UnknownFieldError: There is none; the message names the nearest.
        """
        try:
            return self.by_name[name]
        except (KeyError, TypeError):
            raise UnknownFieldError(
                f"{self.name} has no field {name!r}.",
                hint=did_you_mean(str(name), self.names),
                model=self.name,
                field=name,
            ) from None
