r"""Readings: a place in a JSON document as a nullable column of one type, so that every operator works on it as on a
field. Where the document holds something else there, or nothing, the reading is NULL.

=========  =======================  ==================  ===============================  ============================
reading    column                   PostgreSQL          MySQL, MariaDB                   SQLite
=========  =======================  ==================  ===============================  ============================
PRESENT    whatever is not null     jsonb               name of its type                 name of its type
TEXT       a string                 text COLLATE "C"    its bytes                        text
PATTERN    a string                 text COLLATE "C"    text COLLATE utf8mb4_bin         text
NUMBER     a number as a double     double precision    double                           REAL
BOOL       ``'true'``, ``'false'``  text COLLATE "C"    bytes                            text
=========  =======================  ==================  ===============================  ============================

PostgreSQL has the type tested by the path itself, in strict mode: ``->`` and lax paths take a scalar for an array of
one, and casts of anything but numbers raise. ``.double()`` leaves out numbers that no double can hold.

MySQL and MariaDB, too, find a scalar at ``[0]``, so each array on the way is asked for its type. Strings are compared
as bytes, which are in code-point order, because the names of collations in which trailing spaces count differ between
the two; LIKE does not pad, and needs characters.

MariaDB and SQLite store a document's text as it was written. Where another program wrote the same key twice, or spelled
a key with escapes (``\u00e9``), they find the first one, and only the spelling of the path; the others find the last
one, and any spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow.databases.interface import Dialect
from dataflow.models import FieldSpec, FieldType, Kind
from dataflow.queries.codecs import Convert
from dataflow.queries.json_paths import JsonPath
from dataflow.queries.plan import Binds

Column = sa.ColumnElement[Any]


class Reading(StrEnum):
    """What a place is read as."""

    PRESENT = "present"
    TEXT = "text"
    PATTERN = "pattern"
    NUMBER = "number"
    BOOL = "bool"


class ReadingKey(NamedTuple):
    """A reading's part of a shape: all that changes its SQL, and nothing of the path, which is bound."""

    #: Name of the JSON field.
    field: str
    #: What the place is read as.
    reading: Reading
    #: On MySQL, how many arrays the path goes into; else 0.
    arrays: int


@dataclass(frozen=True, slots=True)
class JsonSubject:
    """A reading of one place, for operators."""

    key: ReadingKey
    spec: FieldSpec
    bind: Convert


def read_as(path: JsonPath, reading: Reading, dialect: Dialect, owner: str) -> tuple[JsonSubject, list[str]]:
    """A place as operators see it, and the values that its column binds before theirs; ``owner`` is for messages."""
    arrays: list[str] = []
    if dialect is Dialect.MYSQL:
        arrays = [path.text(index) for index, part in enumerate(path.parts) if isinstance(part, int)]
    text = path.text()
    if dialect is Dialect.POSTGRESQL:
        text = f"strict {text} {_JSONPATH_TESTS[reading]}"
    key = ReadingKey(path.field, reading, len(arrays))
    spec = FieldSpec(path.name, _NUMBER if reading is Reading.NUMBER else _TEXT, nullable=True)

    def bind(value: Any) -> Any:
        if reading is Reading.BOOL:
            value = "true" if value else "false"
        elif isinstance(value, Decimal) and value.is_finite():
            value = float(value)
        value = spec.coerce(value, owner)
        return value.encode() if dialect is Dialect.MYSQL and reading in _AS_BYTES else value

    return JsonSubject(key, spec, bind), [*arrays, text]


def reading_type(reading: Reading, dialect: Dialect) -> FieldType:
    """What a reading's column holds."""
    if reading is Reading.NUMBER:
        return _NUMBER
    return _BYTES if dialect is Dialect.MYSQL and reading in _AS_BYTES else _TEXT


def reading_column(key: ReadingKey, document: Column, dialect: Dialect, binds: Binds) -> Column:
    """The column of a reading.

    Args:
        key: From the shape.
        document: The JSON field.
        dialect: Which SQL.
        binds: Hands out the binds of the values that ``read_as`` gave.
    """
    return _COLUMNS[dialect](key, document, binds)


def json_reading(operand: Any) -> Reading | None:
    """What a place is read as to compare it with an operand that is not None; None if JSON has no such values."""
    if isinstance(operand, bool):
        return Reading.BOOL
    if isinstance(operand, str):
        return Reading.TEXT
    return Reading.NUMBER if isinstance(operand, int | float | Decimal) else None


_TEXT = FieldType(Kind.STR, str)
_NUMBER = FieldType(Kind.FLOAT, float)
_BYTES = FieldType(Kind.BYTES, bytes)
_AS_BYTES = (Reading.TEXT, Reading.BOOL)

_JSONPATH_TESTS = {
    Reading.PRESENT: "? (@ != null)",
    Reading.TEXT: '? (@.type() == "string")',
    Reading.PATTERN: '? (@.type() == "string")',
    Reading.NUMBER: '? (@.type() == "number").double()',
    Reading.BOOL: '? (@.type() == "boolean")',
}


def _postgresql(key: ReadingKey, document: Column, binds: Binds) -> Column:
    path = binds.next(postgresql.JSONPATH())
    no_variables: Column = sa.literal_column("'{}'")
    # The cast costs nothing, unless an existing table's column is of the type json.
    jsonb = sa.cast(document, postgresql.JSONB())
    found = sa.func.jsonb_path_query_first(jsonb, path, no_variables, sa.true())
    if key.reading is Reading.PRESENT:
        return found
    if key.reading is Reading.NUMBER:
        return sa.cast(found, sa.Double())
    return sa.collate(found.op("#>>", return_type=sa.Text())(sa.literal_column("'{}'")), "C")


def _mysql(key: ReadingKey, document: Column, binds: Binds) -> Column:
    def extract() -> Column:
        return sa.func.json_extract(document, binds.next(sa.Text()))

    def has_type(value: Column, *names: str) -> sa.ColumnElement[bool]:
        return sa.func.json_type(value).in_([sa.literal_column(f"'{name}'") for name in names])

    arrays = [has_type(extract(), "ARRAY") for _ in range(key.arrays)]
    found = extract()
    text: Column = sa.func.json_unquote(found, type_=sa.Text())
    test: sa.ColumnElement[bool] | None = None
    value: Column
    match key.reading:
        case Reading.PRESENT:
            value = sa.func.nullif(sa.func.json_type(found), sa.literal_column("'NULL'"))
        case Reading.TEXT:
            test, value = has_type(found, "STRING"), sa.cast(text, sa.LargeBinary())
        case Reading.PATTERN:
            test, value = has_type(found, "STRING"), sa.collate(text, "utf8mb4_bin")
        case Reading.NUMBER:
            test = has_type(found, "INTEGER", "UNSIGNED INTEGER", "DOUBLE", "DECIMAL")
            # CAST AS DOUBLE came with MySQL 8.0.17.
            value = found.op("+")(sa.literal_column("0e0"))
        case Reading.BOOL:
            test, value = has_type(found, "BOOLEAN"), sa.cast(text, sa.LargeBinary())
    tests = arrays if test is None else [*arrays, test]
    return sa.case((sa.and_(*tests), value)) if tests else value


def _sqlite(key: ReadingKey, document: Column, binds: Binds) -> Column:
    path = binds.next(sa.Text())
    kind = sa.func.json_type(document, path)
    value: Column = sa.func.json_extract(document, path)
    match key.reading:
        case Reading.PRESENT:
            return sa.func.nullif(kind, sa.literal_column("'null'"))
        case Reading.BOOL:
            # Its name is its value, and no other type's name is.
            return kind
        case Reading.NUMBER:
            numbers = kind.in_([sa.literal_column("'integer'"), sa.literal_column("'real'")])
            return sa.case((numbers, sa.cast(value, sa.REAL())))
    return sa.case((kind == sa.literal_column("'text'"), value))


_COLUMNS: dict[Dialect, Callable[[ReadingKey, Column, Binds], Column]] = {
    Dialect.POSTGRESQL: _postgresql,
    Dialect.MYSQL: _mysql,
    Dialect.SQLITE: _sqlite,
}
