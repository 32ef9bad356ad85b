"""Conflict keys: the fields by which an upsert recognises the row that exists already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dataflow.errors import InputError, MissingParameterError, TypeMismatchError
from dataflow.models import ModelSpec
from dataflow.models.spec import Managed


def conflict_key(spec: ModelSpec, names: Any) -> tuple[str, ...]:
    """``names`` as a conflict key of the model; that of a multi-tenant one has the tenant, named or not.

    Raises:
        UnknownFieldError: One of them is not a field.
        TypeMismatchError: They are not a field name or a list of them.
        InputError: No unique index covers exactly these fields.
    """
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names:
        raise TypeMismatchError(
            f"{spec.name}: conflict_on is a list of field names, got {names!r}.",
            hint="Write ['email'].",
            model=spec.name,
        )
    implied = {Managed.TENANT_ID.value} if spec.features.multi_tenant else set()
    wanted = {spec.field(name).name for name in names} - implied
    for key in spec.unique_keys:
        if set(key) - implied == wanted:
            return key
    raise InputError(
        f"conflict_on={sorted(wanted)} of {spec.name} is covered by no unique index, so the database cannot tell "
        "which row exists already.",
        hint=_how_to_add(spec, list(dict.fromkeys(names))),
        model=spec.name,
        fields=sorted(wanted),
    )


def default_conflict_key(spec: ModelSpec) -> tuple[str, ...]:
    """The conflict key of a bulk create that names none: ``id``, or the only other unique key where ids are generated.

    Raises:
        MissingParameterError: There are several.
    """
    primary, *others = spec.unique_keys
    if not spec.primary_key.generated or not others:
        return primary
    if len(others) == 1:
        return others[0]
    keys = ", ".join(str(list(key)) for key in others)
    raise MissingParameterError(
        f"{spec.name} has several unique keys: {keys}.", hint="Name one of them as conflict_on.", model=spec.name
    )


def check_update_fields(spec: ModelSpec, names: Iterable[str], key: Sequence[str]) -> frozenset[str]:
    """Fields that the update branch of an upsert may set.

    Raises:
        UnknownFieldError: One is not a field.
        InputError: One is part of the conflict key, the id, or managed.
    """
    if isinstance(names, str):
        raise TypeMismatchError(f"{spec.name}: update_fields is a list of field names, got {names!r}.")
    found = frozenset(spec.field(name).name for name in names)
    for name in sorted(found):
        item = spec.by_name[name]
        if name in key or item.primary_key or item.managed:
            raise InputError(
                f"update_fields of {spec.name} names '{name}', which an upsert never sets on a row that exists.",
                hint="Leave it out.",
                model=spec.name,
                field=name,
            )
    return found


def _how_to_add(spec: ModelSpec, names: list[str]) -> str:
    item = spec.by_name[names[0]]
    if len(names) == 1:
        return f"Declare it as '{names[0]}: {item.type.label} = Field(unique=True)'."
    return f'Add __indexes__ = [{{"fields": {names}, "unique": True}}] to the class.'.replace("'", '"')
