"""A filter asked of one row that is at hand, rather than of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.models.tables import column_type
from dataflow.queries.codecs import FieldCodec
from dataflow.queries.filters import Filter
from dataflow.queries.json_readings import ReadingKey
from dataflow.queries.leaves import Shape
from dataflow.queries.plan import Binds, Plan, compile_plan


def asked_fields(shape: Shape) -> set[str]:
    """Names of the fields that a filter without relations looks at."""
    if shape[0] in ("and", "or", "not"):
        return set[str]().union(*[asked_fields(part) for part in shape[1:]])
    if len(shape) == 1:
        return set()
    key = shape[1]
    return {key.field if isinstance(key, ReadingKey) else key}


def ask_row(where: Filter, names: Sequence[str], fields: Mapping[str, FieldCodec]) -> Plan:
    """``SELECT 1`` where a row matches; the shape's values are the row's, encoded for SQLite, then the filter's.

    Args:
        where: A filter for SQLite, without relations, that can be true and can be false.
        names: The fields that it looks at, in the order of the row's values.
        fields: What can be named.
    """
    binds = Binds()
    row = sa.select(*[binds.next(column_type(fields[name].spec.type)).label(name) for name in names]).subquery("given")
    condition = where.clause(row.c, binds)
    assert condition is not None
    return compile_plan(sa.select(sa.literal_column("1")).select_from(row).where(condition), Dialect.SQLITE)
