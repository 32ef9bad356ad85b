"""What a database's planner says of a statement: how it would run it, and how many rows it expects.

===========  ======================================  ==================================================================
database     asked by                                answers
===========  ======================================  ==================================================================
PostgreSQL   ``EXPLAIN``, ``… (FORMAT JSON)``        lines of text; for the estimate a tree as JSON
MySQL        ``EXPLAIN FORMAT=TRADITIONAL``          a row per table: id, …, rows, filtered, Extra
MariaDB      the same, ``EXPLAIN EXTENDED``          the same; ``filtered`` only when EXTENDED
SQLite       ``EXPLAIN QUERY PLAN``                  a row per step: id, parent, (unused), text
===========  ======================================  ==================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from dataflow.databases.interface import Dialect, Row
from dataflow.queries.filters import Filter
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Plan
from dataflow.queries.select import filtered_rows

#: A server's default may be another format.
_TRADITIONAL = "EXPLAIN FORMAT=TRADITIONAL"
_EXPLAIN = {Dialect.POSTGRESQL: "EXPLAIN", Dialect.MYSQL: _TRADITIONAL, Dialect.SQLITE: "EXPLAIN QUERY PLAN"}
_MARIADB_COLUMNS = ("id", "select_type", "table", "type", "possible_keys", "key", "key_len", "ref", "rows", "extra")
_MYSQL_COLUMNS = (*_MARIADB_COLUMNS[:3], "partitions", *_MARIADB_COLUMNS[3:-1], "filtered", "extra")


def explained(sql: str, dialect: Dialect) -> str:
    """The statement that asks for the plan of another; it takes the same arguments."""
    return f"{_EXPLAIN[dialect]} {sql}"


def plan_lines(rows: Sequence[Row], dialect: Dialect) -> tuple[str, ...]:
    """The answer to ``explained``, as lines of text; none where SQLite has nothing to say of a statement."""
    match dialect:
        case Dialect.POSTGRESQL:
            return tuple(str(row[0]) for row in rows)
        case Dialect.MYSQL:
            return tuple(_mysql_line(row) for row in rows)
        case Dialect.SQLITE:
            depths: dict[int, int] = {}
            lines = []
            for step, parent, _, text in rows:
                depths[step] = depths.get(parent, -1) + 1
                lines.append("  " * depths[step] + text)
            return tuple(lines)


def estimate_rows(rows: ModelRows, where: Filter, *, mariadb: bool) -> Plan:
    """Ask the planner how many rows a filter matches; the shape's values are the filter's.

    The question is about the rows that the tenant of the run may see, never about the whole table.

    Args:
        rows: Rows on PostgreSQL or MySQL; SQLite keeps no statistics worth asking for.
        where: The filter.
        mariadb: The server is MariaDB, not MySQL.
    """
    plan = rows.compile(filtered_rows(rows, where, sa.literal_column("1")))
    asked = "EXPLAIN (FORMAT JSON)"
    if rows.dialect is Dialect.MYSQL:
        asked = "EXPLAIN EXTENDED" if mariadb else _TRADITIONAL
    return replace(plan, sql=f"{asked} {plan.sql}")


def read_estimate(answer: Sequence[Row], dialect: Dialect) -> int:
    """The number of rows in the answer to ``estimate_rows``."""
    if dialect is Dialect.POSTGRESQL:
        return int(json.loads(answer[0][0])[0]["Plan"]["Plan Rows"])
    # Tables of the statement itself have the lowest id: what is found for a row of one is looked up in the next.
    first = min(int(row[0]) for row in answer if row[0] is not None)
    tables = [row for row in answer if row[0] is not None and int(row[0]) == first]
    # "Impossible WHERE" names no table.
    return round(math.prod(float(row[-3] or 0) * float(row[-2] or 0) / 100 for row in tables))


def _mysql_line(row: Row) -> str:
    columns = _MYSQL_COLUMNS if len(row) == len(_MYSQL_COLUMNS) else _MARIADB_COLUMNS
    return ", ".join(f"{name}={value}" for name, value in zip(columns, row, strict=True) if value is not None)
