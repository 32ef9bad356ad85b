"""Rows of a batch as a table inside a statement, so that one statement works on all of them.

==========  ===============================================================================================
PostgreSQL  ``unnest($1::BIGINT[], $2::TEXT[], …) WITH ORDINALITY``: one array per column
MySQL       ``JSON_TABLE(%s, …)``: one JSON text, an array per row; MySQL 8.0.4, MariaDB 10.6 and later
==========  ===============================================================================================

The size of the batch is no part of the statement, so one Plan serves every batch. Managed fields, which are the same in
all rows, are single values beside it. SQLite needs no such thing: it has no round trips to save.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from dataflow.databases.interface import Dialect
from dataflow.models import FieldType, Kind, ModelSpec
from dataflow.models.tables import column_type
from dataflow.queries.bulk_block import Block
from dataflow.queries.plan import Binds

#: Column of a source that holds the number of its row in the statement, from 1. No field's name begins so.
POSITION = "_position"

#: JSON texts stay well under MySQL's usual max_allowed_packet of 16 MB.
MAX_JSON_BYTES = 4_000_000

SourceColumns = Mapping[str, sa.ColumnElement[Any]]


def source(
    spec: ModelSpec, names: Sequence[str], dialect: Dialect, binds: Binds, collations: Mapping[str, str]
) -> SourceColumns:
    """Columns of a source that holds these fields, and ``POSITION``.

    Args:
        spec: The model.
        names: Its fields, in order.
        dialect: PostgreSQL or MySQL.
        binds: Hands out the binds; their values come from ``source_arrays`` or ``source_texts``.
        collations: On MySQL, the collations of the table's text columns: two texts that bring different ones cannot
            be compared there.
    """
    varying, constant = _kinds(spec, names)
    types = {name: spec.by_name[name].type for name in varying}
    rows = _arrays(types, binds) if dialect is Dialect.POSTGRESQL else _json_table(types, binds, collations)
    return {**rows, **{name: binds.next(column_type(spec.by_name[name].type)) for name in constant}}


def source_arrays(spec: ModelSpec, block: Block, names: Sequence[str]) -> list[Any]:
    """On PostgreSQL, the values of a source that holds these fields of a block."""
    varying, constant = _kinds(spec, names)
    return [*(block.column(name) for name in varying), *(block.column(name)[0] for name in constant)]


def source_texts(spec: ModelSpec, block: Block, names: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """On MySQL, the values of a source that holds these fields of a block: ``(index of the first row, values)``.

    There is one, unless the rows are too large for one statement.
    """
    varying, constant = _kinds(spec, names)
    values = [block.column(name)[0] for name in constant]
    for start, text in _json_texts(0, list(block.rows(varying))):
        yield start, [text, *values]


def _kinds(spec: ModelSpec, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The fields whose values differ from row to row, which a source needs, and those that are the same in all."""
    constant = [name for name in names if spec.by_name[name].managed]
    varying = [name for name in names if name not in constant]
    return (varying, constant) if varying else (constant, [])


def _arrays(types: Mapping[str, FieldType], binds: Binds) -> SourceColumns:
    columns = [sa.column(name, column_type(field_type)) for name, field_type in types.items()]
    arrays = [binds.next(postgresql.ARRAY(column.type)) for column in columns]
    rows = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality=POSITION, name="d").render_derived(name="d")
    return dict(rows.c.items())


class _JsonTable(sa.TableClause):
    """``JSON_TABLE(…) AS d``, which SQLAlchemy does not know. In a subquery MySQL would copy it into a table first."""

    inherit_cache = False

    def __init__(self, parameter: sa.BindParameter[Any], types: Sequence[FieldType]) -> None:
        columns = [sa.column(f"c{index}", column_type(field_type)) for index, field_type in enumerate(types)]
        super().__init__("d", sa.column(POSITION, sa.Integer()), *columns)
        self.parameter = parameter
        self.types = types


@compiles(_JsonTable)
def _compile_json_table(element: _JsonTable, compiler: SQLCompiler, **options: Any) -> str:
    types = compiler.dialect.type_compiler_instance
    # A value that does not fit is an error, not the NULL that it would be by default.
    columns = [
        f"c{index} {types.process(_stored(field_type))} PATH '$[{index}]' ERROR ON ERROR"
        for index, field_type in enumerate(element.types)
    ]
    rows = compiler.process(element.parameter, **options)
    return f"JSON_TABLE({rows}, '$[*]' COLUMNS ({POSITION} FOR ORDINALITY, {', '.join(columns)})) AS {element.name}"


def _json_table(types: Mapping[str, FieldType], binds: Binds, collations: Mapping[str, str]) -> SourceColumns:
    rows = _JsonTable(binds.next(sa.Text()), list(types.values()))
    found: dict[str, sa.ColumnElement[Any]] = {POSITION: rows.c[POSITION]}
    for index, (name, field_type) in enumerate(types.items()):
        column: sa.ColumnElement[Any] = rows.c[f"c{index}"]
        if field_type.kind is Kind.BYTES:
            column = sa.func.from_base64(column)
        elif name in collations and field_type.kind is Kind.STR:
            column = sa.collate(column, collations[name])
        found[name] = column
    return found


def _stored(field_type: FieldType) -> sa.types.TypeEngine[Any]:
    """The type in JSON_TABLE. Text is as long as it needs to be: the table itself refuses what is too long."""
    if field_type.kind in (Kind.STR, Kind.BYTES, Kind.JSON):
        return mysql.LONGTEXT(charset="utf8mb4")
    if field_type.kind is Kind.UUID:
        # In another character set, the table's index would not be used to find it.
        return mysql.CHAR(36, charset="ascii")
    return column_type(field_type)


def _json_texts(start: int, rows: list[tuple[Any, ...]]) -> Iterator[tuple[int, str]]:
    encoded = msgspec.json.encode(rows)
    if len(encoded) <= MAX_JSON_BYTES or len(rows) == 1:
        yield start, encoded.decode()
        return
    middle = len(rows) // 2
    yield from _json_texts(start, rows[:middle])
    yield from _json_texts(start + middle, rows[middle:])
