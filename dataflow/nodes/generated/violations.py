"""From a driver's constraint error to one that names model, field and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dataflow.errors import (
    CheckViolationError,
    ConstraintError,
    ForeignKeyViolationError,
    NotNullViolationError,
    UniqueViolationError,
)
from dataflow.models.spec import Managed
from dataflow.nodes.generated.binding import ModelBinding


def explain(
    error: ConstraintError, binding: ModelBinding, values: Mapping[str, Any], *, deleting: bool = False
) -> ConstraintError:
    """The same error in the model's words.

    Args:
        error: From the database; its context may name ``fields`` or the ``constraint``.
        binding: The model.
        values: Field → value of what was to be written; may be empty.
        deleting: Rows were to be deleted, so a foreign key is one that leads to them.
    """
    model = binding.spec.name
    if deleting and isinstance(error, ForeignKeyViolationError):
        return ForeignKeyViolationError(
            f"Rows of other models, or of {model} itself, still refer to this {model}.",
            hint="Delete them first, or declare their reference with on_delete='cascade' or 'set null'.",
            **{**error.context, "model": model},
        )
    fields = [name for name in _fields(error, binding) if not _is_tenant(name, binding)]
    fields = fields or _only_reference(error, binding, values)
    context = {**error.context, "model": model, "fields": fields}
    if len(fields) == 1:
        context["field"] = fields[0]
        if fields[0] in values:
            context["value"] = values[fields[0]]
    what = " and ".join(f"{name} {_shown(values[name])}" if name in values else name for name in fields)
    message, hint = _text(error, model, what, fields)
    if isinstance(error, UniqueViolationError) and binding.spec.features.soft_delete:
        hint = f"{hint} It may be soft-deleted: such a row keeps its unique values, and an upsert brings it back."
    return type(error)(message, hint=hint, **context)


def _text(error: ConstraintError, model: str, what: str, fields: list[str]) -> tuple[str, str | None]:
    match error:
        case UniqueViolationError():
            return (
                f"A {model} with {what or 'the same unique value'} exists already.",
                f"Use another value, or {model}UpsertNode to change the row that is there.",
            )
        case ForeignKeyViolationError() if fields:
            return f"{model}.{what} refers to a row that does not exist.", "Create that row first."
        case ForeignKeyViolationError():
            return f"A {model} refers to a row that does not exist.", "Create that row first."
        case NotNullViolationError():
            return f"{model}.{' and '.join(fields) or 'a required column'} must not be None.", "Give a value."
        case CheckViolationError():
            return f"A {model} breaks a check of its table: {error.message}", None
    return error.message, error.hint


def _fields(error: ConstraintError, binding: ModelBinding) -> list[str]:
    """Fields of the model that the violated constraint is over, as far as the driver tells."""
    named = error.context.get("fields")
    if named:
        return [name for name in named if name in binding.spec.by_name]
    constraint = error.context.get("constraint")
    if not isinstance(constraint, str):
        return []
    if constraint in ("PRIMARY", f"{binding.table.name}_pkey"):
        return [binding.spec.primary_key.name]
    keys: list[sa.UniqueConstraint | sa.Index] = list(binding.table.indexes)
    keys += [found for found in binding.table.constraints if isinstance(found, sa.UniqueConstraint)]
    for key in keys:
        if key.name == constraint:
            return [column.name for column in key.columns]
    if isinstance(error, ForeignKeyViolationError):
        prefix = f"fk_{binding.table.name}_"
        return [item.name for item in binding.spec.fields if item.references and constraint == prefix + item.name]
    return []


def _is_tenant(name: str, binding: ModelBinding) -> bool:
    """Whether a field is the tenant, which is part of every key of its model and says nothing of what is wrong."""
    return binding.spec.by_name[name].managed is Managed.TENANT_ID


def _only_reference(error: ConstraintError, binding: ModelBinding, values: Mapping[str, Any]) -> list[str]:
    """The one field that can be meant where the driver names none (SQLite): the only reference that was written."""
    if not isinstance(error, ForeignKeyViolationError):
        return []
    written = [item.name for item in binding.spec.fields if item.references and values.get(item.name) is not None]
    return written if len(written) == 1 else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
