"""Sort orders: ``"-age"``, ``["name", "-age"]``, ``[{"created_at": -1}]``, ``[{"field": "age", "order": "desc"}]``.

NULLs come last in both directions, and text sorts by code point. A model's rows are always in one definite order: the
id breaks ties, in the direction of the last key. Without a sort the newest id comes first.

MySQL sorts by the first ``max_sort_length`` bytes of a text, by default 1,024, while its comparisons look at the whole.
Pages go by both, so there a text or bytes field too long for a key sorts by its first 2,048 characters (bytes), said in
so many words. No index of ours is lost: those of such columns hold a prefix, which serves no sort.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, TypeMismatchError, UnknownFieldError, did_you_mean
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec
from dataflow.models.keys import KEY_BYTES, KEY_CHARACTERS
from dataflow.queries.clauses import Columns, comparable

#: ``(name, descending)`` pairs; also the sort's part of a plan's shape.
Sort = tuple[tuple[str, bool], ...]

#: What of a long text is sorted by on MySQL: in utf8mb4 as many bytes as its session sorts by.
MYSQL_SORTED = 2_048

_ASCENDING = (1, "asc", "ascending")
_DESCENDING = (-1, "desc", "descending")
_EXAMPLE = "Write '-age', ['name', '-age'], [{'age': -1}] or [{'field': 'age', 'order': 'desc'}]."


def parse_sort(spec: ModelSpec, sort: Any) -> Sort:
    """The order of a model's rows.

    Args:
        spec: The model.
        sort: In any of the notations; None or empty is newest id first.

    Raises:
        UnknownFieldError: It names a field that does not exist.
        InputError: It is in none of the notations, or names a JSON field.
    """
    key = spec.primary_key.name
    if not sort and sort != 0:
        return ((key, True),)
    keys = parse_keys(sort, spec.names, spec.name)
    for name, _ in keys:
        if spec.by_name[name].type.kind is Kind.JSON:
            raise InputError(f"{spec.name}.{name} is JSON, which has no order.", model=spec.name, field=name)
    for place, (name, _) in enumerate(keys):
        if name == key:
            # No two rows share it, so keys behind it decide nothing.
            return keys[: place + 1]
    return (*keys, (key, keys[-1][1]))


def parse_keys(sort: Any, known: Collection[str], owner: str) -> Sort:
    """The keys of a sort over known names; a name's second mention is left out.

    Raises:
        UnknownFieldError: A name is not known.
        InputError: It is in none of the notations.
    """
    items = sort if isinstance(sort, list | tuple) else [sort]
    keys: dict[str, bool] = {}
    for item in items:
        for name, descending in _read(item, owner):
            if name not in known:
                raise UnknownFieldError(
                    f"{owner} cannot be sorted by {name!r}.", hint=did_you_mean(name, known), model=owner, field=name
                )
            keys.setdefault(name, descending)
    return tuple(keys.items())


def _read(item: Any, owner: str) -> list[tuple[str, bool]]:
    if isinstance(item, str):
        if item[:1] in ("-", "+"):
            return [(item[1:], item[0] == "-")]
        return [(item, False)]
    if not isinstance(item, Mapping) or not item:
        raise TypeMismatchError(
            f"{owner}: a sort key is text or a dict, got {type(item).__name__} {item!r}.", hint=_EXAMPLE, model=owner
        )
    name = item.get("field")
    if isinstance(name, str) and item.keys() <= {"field", "order", "direction"}:
        return [(name, _descending(item.get("order", item.get("direction", 1)), name, owner))]
    return [(str(name), _descending(direction, str(name), owner)) for name, direction in item.items()]


def _descending(direction: Any, name: str, owner: str) -> bool:
    key = direction.lower() if isinstance(direction, str) else direction
    if isinstance(key, bool) or key not in (*_ASCENDING, *_DESCENDING):
        raise InputError(
            f"{owner}: the sort direction of '{name}' is {direction!r}.",
            hint="Use 1 or 'asc', -1 or 'desc'.",
            model=owner,
            field=name,
        )
    return key in _DESCENDING


def is_cut(field_type: FieldType, dialect: Dialect) -> bool:
    """Whether values of a field sort by their first MYSQL_SORTED characters or bytes only."""
    if dialect is not Dialect.MYSQL or field_type.enum is not None:
        return False
    longest = {Kind.STR: KEY_CHARACTERS, Kind.BYTES: KEY_BYTES}.get(field_type.kind)
    return longest is not None and (field_type.max_length is None or field_type.max_length > longest)


def sortable(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    """A column as rows are sorted by it."""
    if is_cut(spec.type, dialect):
        return sa.func.left(column, sa.literal_column(str(MYSQL_SORTED)), type_=column.type)
    return comparable(column, spec, dialect)


def order_by(
    sort: Sort, columns: Columns, specs: Mapping[str, FieldSpec], dialect: Dialect
) -> list[sa.ColumnElement[Any]]:
    """The ORDER BY of a sort.

    Args:
        sort: From ``parse_sort``.
        columns: What stands for each name.
        specs: Their declarations.
        dialect: Which SQL; what puts NULLs last is left out where it already does, so that indexes serve.
    """
    keys: list[sa.ColumnElement[Any]] = []
    for name, descending in sort:
        column = sortable(columns[name], specs[name], dialect)
        key: sa.ColumnElement[Any] = column.desc() if descending else column.asc()
        if specs[name].nullable and descending == (dialect is Dialect.POSTGRESQL):
            if dialect is Dialect.MYSQL:
                keys.append(column.is_(None))
            else:
                key = key.nulls_last()
        keys.append(key)
    return keys
