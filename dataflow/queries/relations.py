"""Relations in filters: from ``Order.customer`` to a condition on the customer whose id an order holds.

A condition becomes ``EXISTS (SELECT 1 FROM customers AS r1 WHERE … AND r1.id = orders.customer_id)``: never a join,
which could multiply rows. The related rows are those that the run may see, so a row of another tenant, or one that was
soft-deleted, is as good as none.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from dataflow.databases.interface import Dialect
from dataflow.errors import InvalidFilterError, UnknownFieldError
from dataflow.models import ModelSpec, RelationSpec
from dataflow.queries.model import ModelRows


def find_relation(spec: ModelSpec, name: str) -> RelationSpec | None:
    """The relation of that name; None if there is none."""
    return next((relation for relation in spec.relations if relation.name == name), None)


def related_rows(rows: ModelRows, relation: RelationSpec) -> ModelRows:
    """The rows that a relation leads to.

    Raises:
        UnknownFieldError: Their model is not declared.
        InvalidFilterError: Their ids are of another type than the field that holds one.
    """
    model = rows.spec.name
    related = rows.related(relation.model)
    if related is None:
        raise UnknownFieldError(
            f"{model}.{relation.name} leads to the model '{relation.model}', which is not declared.",
            hint=f"Declare it, or filter on '{relation.field}'.",
            model=model,
            field=relation.name,
        )
    key, held = related.spec.primary_key.type, rows.spec.field(relation.field).type
    if key.kind is not held.kind:
        raise InvalidFilterError(
            f"{model}.{relation.field} is {held.label}, but {relation.model}.id is {key.label}: it can hold none.",
            hint=f"Filter on '{relation.field}', or declare it as {key.label}.",
            model=model,
            field=relation.name,
        )
    return related


def alias_name(root: ModelRows, depth: int) -> str:
    """A name for the related rows at a depth. All tables but the filter's own have such names, and so cannot be taken
    for one another; this keeps clear of the filter's own.
    """
    letter = "q" if root.table_name[:1].lower() == "r" else "r"
    return f"{letter}{depth}"


def exists_in(
    related: ModelRows,
    condition: sa.ColumnElement[bool] | None,
    held: sa.ColumnElement[bool],
    root: ModelRows,
    name: str,
) -> sa.ColumnElement[bool]:
    """Whether the related row is there and matches.

    Args:
        related: The related rows, under a name of their own.
        condition: What they must match; None if any row will do.
        held: The column that holds the related id.
        root: The rows that the filter is for.
        name: The name of the related rows.
    """
    one: sa.ColumnElement[int] = sa.literal_column("1")
    conditions = [] if condition is None else [condition]
    found = related.select(one).where(*conditions, related.key == held)
    if related.dialect is not Dialect.MYSQL or related.table_name != root.table_name:
        return sa.exists(found)
    ids = related.select(related.key.label("id")).where(*conditions).distinct().subquery(f"{name}_ids")
    return _OwnTable(found, sa.select(one).select_from(ids).where(ids.c.id == held))


class _OwnTable(sa.Exists):
    """EXISTS on MySQL, over the table of the statement itself.

    A statement that changes the table may do so only if the server keeps the subquery's rows beforehand, which DISTINCT
    makes it do. That reads all rows that match, so statements that only read look up one row instead.
    """

    inherit_cache = False

    def __init__(self, looked_up: sa.Select[Any], kept: sa.Select[Any]) -> None:
        super().__init__(looked_up)
        self.kept = sa.exists(kept)


@compiles(_OwnTable)
def _compile_own_table(element: _OwnTable, compiler: SQLCompiler, **options: Any) -> str:
    if compiler.isupdate or compiler.isdelete:
        return compiler.process(element.kept, **options)
    text: str = compiler.visit_unary(element, **options)  # type: ignore[no-untyped-call]
    return text
