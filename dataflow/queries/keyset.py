"""Keyset pages: the rows of a sorted list that come after one of them, found by its sort keys.

For the keys ``a, b`` in ascending order these are the rows with ``a >= x AND (a > x OR (a = x AND b > y))``. The first
part follows from the second; it is what an index on ``a`` can serve. Such a page costs the same however far down the
list it is, and rows that are inserted or deleted meanwhile move no other row to another page.

NULLs come last in both directions, so after NULL come only other NULLs, and after a value also NULL. For the first key
that would make a condition which no index serves. A list whose first key may be NULL therefore has two stretches, each
read by a statement of its own: the rows that have the key, then those that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect, Row
from dataflow.models.tables import column_type
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Binds
from dataflow.queries.sort import MYSQL_SORTED, Sort, is_cut, order_by, sortable

#: For each sort key, whether the row that a page comes after has none; part of a plan's shape. Without keys it is the
#: beginning of the second stretch: of the rows whose first key is NULL.
Nulls = tuple[bool, ...]
SECOND_STRETCH: Nulls = ()


def with_keys(names: Sequence[str], sort: Sort) -> tuple[str, ...]:
    """What a page selects: the fields wanted, then the sort keys that are not among them."""
    return (*names, *[name for name, _ in sort if name not in names])


def keys_of(rows: ModelRows, row: Row, names: tuple[str, ...], sort: Sort) -> list[Any]:
    """The sort keys of a row that was selected by ``with_keys(names, sort)``, as the driver takes them."""
    values = [row[place] for place in _places(names, sort)]
    if rows.dialect is Dialect.SQLITE:
        # It compares what is stored, which a table that we did not create may spell otherwise than we would.
        return values
    fields = rows.codec.fields
    return [_as_bound(fields[name], value, rows.dialect) for (name, _), value in zip(sort, values, strict=True)]


@lru_cache(maxsize=1024)
def _places(names: tuple[str, ...], sort: Sort) -> tuple[int, ...]:
    selected = with_keys(names, sort)
    return tuple(selected.index(name) for name, _ in sort)


def _as_bound(codec: FieldCodec, value: Any, dialect: Dialect) -> Any:
    if is_cut(codec.spec.type, dialect) and value is not None:
        return value[:MYSQL_SORTED]
    if value is None or codec.decode is None:
        return value
    decoded = codec.decode(value)
    return decoded if codec.encode is None else codec.encode(decoded)


def ends_first_stretch(rows: ModelRows, sort: Sort, nulls: Nulls) -> bool:
    """Whether another stretch follows the rows that ``rows_after`` finds."""
    return not nulls[0] and rows.spec.by_name[sort[0][0]].nullable


def rows_after(rows: ModelRows, sort: Sort, nulls: Nulls, binds: Binds) -> sa.ColumnElement[bool]:
    """The condition of the rows of a stretch that come after one row.

    Args:
        rows: The rows.
        sort: Their order, whose last key is unique.
        nulls: Which keys of the one row are NULL.
        binds: Hands out one bind per key that is not NULL, in order.
    """
    if nulls == SECOND_STRETCH:
        return rows.columns[sort[0][0]].is_(None)
    keys = [
        _Key(rows, name, descending, None if is_null else binds)
        for (name, descending), is_null in zip(sort, nulls, strict=True)
    ]
    first = keys[0]
    # The rows without the first key are another stretch.
    first.nullable = False
    condition = keys[-1].after()
    for key in reversed(keys[:-1]):
        condition = sa.and_(key.is_same(), condition) if key.value is None else key.after_or_same(condition)
    if len(keys) == 1 or first.value is None:
        return condition
    return sa.and_(first.not_before(), condition)


def stretch_order(rows: ModelRows, sort: Sort, nulls: Nulls) -> list[sa.ColumnElement[Any]]:
    """The ORDER BY of a stretch: where its first key is NULL it orders nothing, and else NULLs need no place."""
    specs = rows.spec.by_name
    if nulls == SECOND_STRETCH or nulls[0]:
        return order_by(sort[1:], rows.columns, specs, rows.dialect)
    first = sort[0][0]
    return order_by(sort, rows.columns, {**specs, first: replace(specs[first], nullable=False)}, rows.dialect)


class _Key:
    """One sort key of the row that a page comes after."""

    def __init__(self, rows: ModelRows, name: str, descending: bool, binds: Binds | None) -> None:
        spec = rows.spec.by_name[name]
        self.column = sortable(rows.columns[name], spec, rows.dialect)
        self.value = None if binds is None else binds.next(column_type(spec.type))
        self.descending = descending
        self.nullable = spec.nullable

    def after(self) -> sa.ColumnElement[bool]:
        later = self.column < self.value if self.descending else self.column > self.value
        return sa.or_(later, self.column.is_(None)) if self.nullable else later

    def not_before(self) -> sa.ColumnElement[bool]:
        return self.column <= self.value if self.descending else self.column >= self.value

    def is_same(self) -> sa.ColumnElement[bool]:
        return self.column.is_(None) if self.value is None else self.column == self.value

    def after_or_same(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return sa.or_(self.after(), sa.and_(self.is_same(), condition))
