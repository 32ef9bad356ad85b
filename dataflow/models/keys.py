"""Indexes, and the length of text in keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dataflow.errors import ModelError, did_you_mean
from dataflow.models.naming import table_name
from dataflow.models.spec import FieldSpec, IndexSpec, Managed
from dataflow.models.types import Kind

#: PostgreSQL indexes at most 2,704 bytes and InnoDB 3,072, a character may take four, and other columns of the key need
#: some: indexed text is limited so on every database, since a limit on one of them only would be a different meaning
#: (PostgreSQL compresses before it looks, so it would even depend on the text).
KEY_BYTES = 2560
KEY_CHARACTERS = KEY_BYTES // 4
_TENANT = Managed.TENANT_ID.value


def declared_indexes(cls: type[Any], fields: list[FieldSpec], *, multi_tenant: bool = False) -> tuple[IndexSpec, ...]:
    """The indexes of ``__indexes__``; unique ones of a multi-tenant model are made to begin with the tenant."""
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
        unique = bool(entry.get("unique", False))
        if unique and multi_tenant:
            columns = (_TENANT, *(column for column in columns if column != _TENANT))
        found.append(IndexSpec(name, columns, unique))
    return tuple(found)


def limit_keys(
    fields: list[FieldSpec], indexes: tuple[IndexSpec, ...], *, multi_tenant: bool = False
) -> tuple[FieldSpec, ...]:
    """Give every text and bytes field that is indexed the length that all three databases can index."""
    by_name = {item.name: item for item in fields}
    sharers: dict[str, int] = {}
    keys: list[tuple[str, ...]] = [index.fields for index in indexes]
    keys += [(item.name,) for item in fields if item.index]
    tenant = (_TENANT,) if multi_tenant else ()
    keys += [(*tenant, item.name) for item in fields if item.primary_key or item.unique or item.references]
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
