"""Changed rows of the binary log: the table map that describes them, and the rows themselves.

A table map names the table and the types of its columns. Names, signs and encodings follow where the server has
``binlog_row_metadata=FULL``; otherwise they come from the table as it is now, which is checked against the map.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataflow.databases import Dialect
from dataflow.databases.mysql_charsets import encoding_of_charset, encoding_of_collation
from dataflow.errors import LostPositionError
from dataflow.events.envelope import Op
from dataflow.events.sources.binlog import EventType, LogEvent, inflate, packed_int
from dataflow.events.sources.binlog_columns import BLOBS, CHARACTERS, NUMBERS, Column, ColumnType, column_reader
from dataflow.events.sources.interface import UNREADABLE, RowChange
from dataflow.models import FieldSpec, ModelSpec
from dataflow.queries.codecs import decoder

LOG = logging.getLogger("dataflow.events")

_WRITES = (EventType.WRITE_V1, EventType.WRITE, EventType.MARIADB_COMPRESSED_WRITE)
_UPDATES = (EventType.UPDATE_V1, EventType.UPDATE, EventType.MARIADB_COMPRESSED_UPDATE)
_VERSION_2 = (EventType.WRITE, EventType.UPDATE, EventType.DELETE)
_COMPRESSED = (
    EventType.MARIADB_COMPRESSED_WRITE,
    EventType.MARIADB_COMPRESSED_UPDATE,
    EventType.MARIADB_COMPRESSED_DELETE,
)

#: Bytes of a type's sizes in a table map.
_META_SIZES: dict[int, int] = {
    **dict.fromkeys((*BLOBS, ColumnType.GEOMETRY, ColumnType.JSON, ColumnType.FLOAT, ColumnType.DOUBLE), 1),
    **dict.fromkeys((ColumnType.TIMESTAMP2, ColumnType.DATETIME2, ColumnType.TIME2), 1),
    **dict.fromkeys((ColumnType.VARCHAR, ColumnType.VAR_STRING, ColumnType.STRING), 2),
    **dict.fromkeys((ColumnType.NEWDECIMAL, ColumnType.BIT, ColumnType.ENUM, ColumnType.SET), 2),
}
# Kinds of a table map's optional metadata.
_SIGNS, _DEFAULT_CHARSET, _CHARSETS, _NAMES, _SET_LABELS, _ENUM_LABELS = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What a table says of a column, beyond the log (``information_schema.columns``).

    Attributes:
        name: Its name.
        type: Its type in lower case, as it is declared: ``bigint(20) unsigned``.
        charset: Character set of text; None of anything else.
    """

    name: str
    type: str
    charset: str | None


@dataclass(frozen=True, slots=True)
class TableMap:
    """Which table the rows after it belong to.

    Attributes:
        table: Name of the table.
        types: Type and sizes of each column.
        options: The optional metadata by kind.
    """

    table: str
    types: tuple[tuple[int, int], ...]
    options: Mapping[int, bytes]

    @property
    def is_full(self) -> bool:
        """Whether it names its columns."""
        return _NAMES in self.options


def read_table_map(body: bytes) -> TableMap:
    """A table map's event."""
    at = 9 + body[8] + 1
    table = body[at + 1 : at + 1 + body[at]].decode()
    count, at = packed_int(body, at + 1 + body[at] + 1)
    numbers = body[at : at + count]
    size, meta = packed_int(body, at + count)
    types = []
    end = meta + size
    for number in numbers:
        width = _META_SIZES.get(number, 0)
        # Two sizes come in the order in which they are written; the length of a VARCHAR is one number.
        order: Any = "little" if number in (ColumnType.VARCHAR, ColumnType.VAR_STRING) else "big"
        types.append(_real_type(number, int.from_bytes(body[meta : meta + width], order)))
        meta += width
    at = end + (count + 7) // 8
    options = {}
    while at < len(body):
        kind = body[at]
        size, at = packed_int(body, at + 1)
        options[kind] = body[at : at + size]
        at += size
    return TableMap(table, tuple(types), options)


def _real_type(number: int, meta: int) -> tuple[int, int]:
    """CHAR, ENUM and SET are one type in the log; the first size tells which, with the high bits of a CHAR's length."""
    if number != ColumnType.STRING:
        return number, meta
    first, second = meta >> 8, meta & 0xFF
    if first & 0x30 != 0x30:
        return first | 0x30, second | ((first & 0x30) ^ 0x30) << 4
    return first, second


def columns_of(table_map: TableMap, facts: Sequence[ColumnFacts] = ()) -> list[Column]:
    """The columns of a table map.

    Args:
        table_map: The map.
        facts: What the table says of its columns now; not needed where the map is full.

    Raises:
        LostPositionError: The table is another one now than when the log was written.
    """
    if table_map.is_full:
        return _from_map(table_map)
    if len(facts) != len(table_map.types) or not all(map(_agrees, table_map.types, facts)):
        raise LostPositionError(
            f"The binary log has changes of {table_map.table} from before its columns were changed, "
            "and does not name them.",
            hint="SET GLOBAL binlog_row_metadata = FULL; (and in the server's configuration) makes it name them. "
            "For what is lost, take a snapshot.",
        )
    return [
        Column(fact.name, kind, meta, "unsigned" in fact.type, _encoding(fact), _labels(fact.type))
        for (kind, meta), fact in zip(table_map.types, facts, strict=True)
    ]


def _from_map(table_map: TableMap) -> list[Column]:
    options, types = table_map.options, table_map.types
    names = _texts(options[_NAMES])
    signs = options.get(_SIGNS, b"")
    unsigned = iter([bool(signs[place // 8] & 0x80 >> place % 8) for place in range(len(signs) * 8)])
    charsets = iter(_charsets(options, sum(kind in CHARACTERS for kind, _ in types)))
    enums, sets = iter(_label_lists(options.get(_ENUM_LABELS, b""))), iter(_label_lists(options.get(_SET_LABELS, b"")))
    columns = []
    for (kind, meta), name in zip(types, names, strict=True):
        column = Column(name, kind, meta, kind in NUMBERS and next(unsigned))
        if kind in CHARACTERS:
            column = column._replace(encoding=encoding_of_collation(next(charsets)))
        elif kind in (ColumnType.ENUM, ColumnType.SET):
            column = column._replace(labels=next(enums if kind == ColumnType.ENUM else sets))
        columns.append(column)
    return columns


def _charsets(options: Mapping[int, bytes], count: int) -> list[int]:
    if _DEFAULT_CHARSET in options:
        default, *exceptions = _numbers(options[_DEFAULT_CHARSET])
        found = [default] * count
        for place, number in zip(exceptions[::2], exceptions[1::2], strict=True):
            found[place] = number
        return found
    return _numbers(options.get(_CHARSETS, b""))


def _numbers(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        number, at = packed_int(data, at)
        found.append(number)
    return found


def _texts(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        size, at = packed_int(data, at)
        found.append(data[at : at + size].decode())
        at += size
    return found


def _label_lists(data: bytes) -> Iterator[tuple[str, ...]]:
    at = 0
    while at < len(data):
        count, at = packed_int(data, at)
        labels = []
        for _ in range(count):
            size, at = packed_int(data, at)
            labels.append(data[at : at + size].decode(errors="replace"))
            at += size
        yield tuple(labels)


def _encoding(fact: ColumnFacts) -> str | None:
    return None if fact.charset is None else encoding_of_charset(fact.charset)


def _labels(declared: str) -> tuple[str, ...]:
    if not declared.startswith(("enum(", "set(")):
        return ()
    inside = declared.partition("(")[2].rstrip(")")
    return tuple(label.replace("''", "'") for label in inside[1:-1].split("','"))


#: What a declared type is in the log.
_TYPES: Mapping[str, frozenset[int]] = {
    name: frozenset(numbers)
    for names, numbers in (
        ("tinyint", {1}), ("smallint", {2}), ("mediumint", {9}), ("int", {3}), ("bigint", {8}), ("float", {4}),
        ("double", {5}), ("decimal", {246}), ("date", {10}), ("year", {13}), ("time", {11, 19}), ("bit", {16}),
        ("datetime", {12, 18}), ("timestamp", {7, 17}), ("char binary", {254}), ("varchar varbinary", {15}),
        ("tinytext text mediumtext longtext tinyblob blob mediumblob longblob", BLOBS), ("enum", {247}), ("set", {248}),
        ("json", {245}),
    )
    for name in names.split()
}  # fmt: skip


def _agrees(logged: tuple[int, int], fact: ColumnFacts) -> bool:
    known = _TYPES.get(fact.type.partition("(")[0].partition(" ")[0])
    return known is None or logged[0] in known


class RowReader:
    """Reads the rows that follow a table map.

    Args:
        table: Name of the table.
        columns: Its columns, as the log has them.
        spec: Its model; values come in the types of its fields, other columns' as the driver would give them.
    """

    def __init__(self, table: str, columns: Sequence[Column], spec: ModelSpec | None) -> None:
        self._table = table
        self._warned: set[str] = set()
        fields = spec.by_name if spec else {}
        self._columns = [(item.name, column_reader(item), _converter(item, fields.get(item.name))) for item in columns]
        self._all = (1 << len(columns)) - 1

    def read(self, event: LogEvent) -> Iterator[RowChange]:
        """The changes of an event, in order."""
        body, at = event.body, 8
        if event.type in _VERSION_2:
            at += int.from_bytes(body[8:10], "little")
        count, at = packed_int(body, at)
        size = (count + 7) // 8
        first = int.from_bytes(body[at : at + size], "little")
        at += size
        second = first
        if event.type in _UPDATES:
            second = int.from_bytes(body[at : at + size], "little")
            at += size
        if event.type in _COMPRESSED:
            body, at = inflate(body[at:]), 0
        images = self._images(body, at, first, second if event.type in _UPDATES else None)
        if event.type in _WRITES:
            for row, missing in images:
                yield RowChange(Op.CREATE, self._table, None, row, missing)
        elif event.type in _UPDATES:
            logged = {name for name, _, _ in self._shape(first)[0]}
            for before, not_in_before in images:
                after, missing = next(images)
                odd = (name for name in not_in_before if name in logged)
                yield RowChange(Op.UPDATE, self._table, before, after, tuple(dict.fromkeys((*missing, *odd))))
        else:
            for row, missing in images:
                yield RowChange(Op.DELETE, self._table, row, None, missing)

    def _images(
        self, body: bytes, at: int, first: int, second: int | None
    ) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
        """Rows one after the other; of updates, before and after in turn."""
        shapes = [self._shape(first)] if second is None else [self._shape(first), self._shape(second)]
        while at < len(body):
            for columns, absent in shapes:
                size = (len(columns) + 7) // 8
                nulls = int.from_bytes(body[at : at + size], "little")
                at += size
                row: dict[str, Any] = {}
                unreadable = absent
                for name, read, convert in columns:
                    if nulls & 1:
                        row[name] = None
                    else:
                        value, at = read(body, at)
                        try:
                            row[name] = value if convert is None or value is None else convert(value)
                        except (ValueError, TypeError, ArithmeticError) as error:
                            # One odd value must not hold up all that comes after it.
                            if name not in self._warned:
                                self._warned.add(name)
                                LOG.warning(UNREADABLE, self._table, name, type(error).__name__)
                            unreadable = (*unreadable, name)
                    nulls >>= 1
                yield row, unreadable

    def _shape(self, present: int) -> tuple[list[tuple[str, Any, Any]], tuple[str, ...]]:
        """Columns that are there, and names of those that are not (``binlog_row_image`` is not FULL)."""
        if present & self._all == self._all:
            return self._columns, ()
        here = [column for place, column in enumerate(self._columns) if present >> place & 1]
        return here, tuple(column[0] for place, column in enumerate(self._columns) if not present >> place & 1)


def _converter(column: Column, field: FieldSpec | None) -> Callable[[Any], Any] | None:
    if field is None or column.type == ColumnType.JSON:
        return None
    return decoder(field.type, Dialect.MYSQL)
