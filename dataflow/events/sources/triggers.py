"""Triggers that write every change of a table into the outbox, in the transaction that makes it.

``row_before`` and ``row_after`` are a JSON object, column → value (a list of such objects where there are more columns
than SQLite's ``json_object`` takes). Values are text in one form for PostgreSQL and MySQL, whatever the writer's
session has set: UTC, ISO 8601 with a space, hexadecimal bytes, 1 and 0. SQLite tells them as they are stored, and what
JSON cannot hold as ``["r", "0.1"]`` (a float) or ``["b", "00FF"]`` (bytes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dataflow.databases.dialects import new_dialect
from dataflow.databases.interface import Dialect
from dataflow.events.tables import OUTBOX
from dataflow.models import FieldSpec, ModelSpec
from dataflow.models.types import Kind

#: Columns that one ``json_object`` of SQLite takes: a hundred arguments.
_COLUMNS_AT_ONCE = 50
_DIALECTS = {dialect: new_dialect(dialect) for dialect in Dialect}

_NOW_MS = {
    Dialect.POSTGRESQL: "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    Dialect.MYSQL: "CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000 AS SIGNED)",
    Dialect.SQLITE: "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}

#: Kind → the text of a column; others are cast to text.
_POSTGRESQL_TEXT = {
    Kind.BOOL: "({0}::int)::text",
    Kind.DATETIME: "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
    Kind.DATE: "to_char({0}, 'YYYY-MM-DD')",
    Kind.TIME: "to_char({0}, 'HH24:MI:SS.US')",
    Kind.BYTES: "encode({0}, 'hex')",
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """What captures the changes of a table.

    Attributes:
        name: Its name in the database.
        create: Statements that make it, and whatever it calls; the former one of that name must be gone.
        drop: Statements that remove it if it is there.
    """

    name: str
    create: tuple[str, ...]
    drop: tuple[str, ...]


def now_ms(dialect: Dialect) -> str:
    """An expression: Unix time, ms."""
    return _NOW_MS[dialect]


def triggers(dialect: Dialect, spec: ModelSpec) -> list[Trigger]:
    """The triggers of a model's table."""
    if dialect is Dialect.POSTGRESQL:
        return [_postgresql(spec)]
    return [_one(dialect, spec, op, event) for op, event in (("c", "INSERT"), ("u", "UPDATE"), ("d", "DELETE"))]


def _one(dialect: Dialect, spec: ModelSpec, op: str, event: str) -> Trigger:
    row = _sqlite_row if dialect is Dialect.SQLITE else _mysql_row
    before = "NULL" if op == "c" else row(spec, "OLD")
    after = "NULL" if op == "d" else row(spec, "NEW")
    name = _name(f"dataflow_{op}", spec.table_name)
    quote = _DIALECTS[dialect].identifier_preparer.quote_identifier
    body = (
        f"INSERT INTO {OUTBOX} (op, name, row_before, row_after, created_ms)\n"
        f"VALUES ('{op}', {_literal(spec.table_name)}, {before}, {after}, {now_ms(dialect)});"
    )
    replace = "CREATE TRIGGER"
    create = f"{replace} {quote(name)} AFTER {event} ON {quote(spec.table_name)} FOR EACH ROW BEGIN\n{body}\nEND"
    # The driver of MySQL would take a % of a name for a placeholder.
    return Trigger(name, (create,), (f"DROP TRIGGER IF EXISTS {quote(name)}",))


def _sqlite_row(spec: ModelSpec, record: str) -> str:
    quote = _DIALECTS[Dialect.SQLITE].identifier_preparer.quote_identifier
    pairs = []
    for item in _told(spec):
        column = f"{record}.{quote(item.name)}"
        value = (
            f"CASE typeof({column}) WHEN 'real' THEN json_array('r', quote({column})) "
            f"WHEN 'blob' THEN json_array('b', hex({column})) ELSE {column} END"
        )
        pairs.append(f"{_literal(item.name)}, {value}")
    parts = [
        f"json_object({', '.join(pairs[start : start + _COLUMNS_AT_ONCE])})"
        for start in range(0, len(pairs), _COLUMNS_AT_ONCE)
    ]
    return parts[0] if len(parts) == 1 else f"json_array({', '.join(parts)})"


def _mysql_row(spec: ModelSpec, record: str) -> str:
    quote = _DIALECTS[Dialect.MYSQL].identifier_preparer.quote_identifier
    pairs = []
    for item in _told(spec):
        column = f"{record}.{quote(item.name)}"
        value = f"HEX({column})" if item.type.kind is Kind.BYTES else f"CAST({column} AS CHAR CHARACTER SET utf8mb4)"
        pairs.append(f"{_literal(item.name)}, {value}")
    return f"JSON_OBJECT({', '.join(pairs)})"


def _postgresql(spec: ModelSpec) -> Trigger:
    quote = _DIALECTS[Dialect.POSTGRESQL].identifier_preparer.quote_identifier
    name, table = _name("dataflow_events", spec.table_name), quote(spec.table_name)
    function = quote(name)

    def row(record: str) -> str:
        names = ", ".join(_literal(item.name) for item in _told(spec))
        values = ", ".join(
            _POSTGRESQL_TEXT.get(item.type.kind, "{0}::text").format(f"{record}.{quote(item.name)}")
            for item in _told(spec)
        )
        return f"json_object(ARRAY[{names}]::text[], ARRAY[{values}]::text[])"

    def insert(op: str, before: str, after: str) -> str:
        return (
            f"INSERT INTO {OUTBOX} (op, name, row_before, row_after, tx, created_ms) VALUES ('{op}', "
            f"{_literal(spec.table_name)}, {before}, {after}, txid_current()::text, {now_ms(Dialect.POSTGRESQL)});"
        )

    # With the rights of who made it, so that those who may write to the table need none on the outbox. Floats as exact
    # text whatever the session says.
    make = f"""CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET extra_float_digits = 1 AS $dataflow$
BEGIN
  IF TG_OP = 'INSERT' THEN
    {insert("c", "NULL", row("NEW"))}
  ELSIF TG_OP = 'UPDATE' THEN
    {insert("u", row("OLD"), row("NEW"))}
  ELSIF TG_OP = 'DELETE' THEN
    {insert("d", row("OLD"), "NULL")}
  ELSE
    {insert("t", "NULL", "NULL")}
  END IF;
  RETURN NULL;
END $dataflow$"""
    truncate = quote(_name("dataflow_truncate", spec.table_name))
    return Trigger(
        name,
        (
            make,
            f"CREATE TRIGGER {function} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION {function}()",
            f"CREATE TRIGGER {truncate} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
        ),
        # Triggers go with their function.
        (f"DROP FUNCTION IF EXISTS {function}() CASCADE",),
    )


def fingerprint(wanted: Sequence[Trigger]) -> str:
    """Changes when a statement does."""
    text = "\n".join(statement for trigger in wanted for statement in trigger.create)
    return hashlib.sha256(text.encode()).hexdigest()


def _told(spec: ModelSpec) -> list[FieldSpec]:
    return [item for item in spec.fields if item.events != "omit"]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(prefix: str, table: str) -> str:
    """At most 63 characters, PostgreSQL's limit."""
    name = f"{prefix}_{table}"
    if len(name.encode()) <= 63:
        return name
    return f"{name[:40]}_{hashlib.sha1(table.encode(), usedforsecurity=False).hexdigest()[:12]}"
