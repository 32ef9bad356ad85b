"""PostgreSQL's text forms → Python values in the types of a model's fields.

They are read as a session writes them that has ``DateStyle=ISO``, ``TimeZone=UTC``, ``bytea_output=hex`` and
``client_encoding=UTF8``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from dataflow.events.sources.interface import UNREADABLE
from dataflow.events.sources.pgoutput import UNCHANGED, Raw, Relation
from dataflow.models import FieldType, Kind, ModelSpec

logger = logging.getLogger("dataflow.events")

Read = Callable[[bytes], Any]

#: What the readers raise for a text that their type does not have.
_UNREADABLE = (ValueError, ArithmeticError, KeyError, msgspec.MsgspecError)
_BOOL = {b"t": True, b"f": False}
#: PostgreSQL's ends of time, which the driver writes for Python's.
_ENDS = {b"infinity": datetime.max.replace(tzinfo=UTC), b"-infinity": datetime.min.replace(tzinfo=UTC)}


class RowReader:
    """Reads the rows of one table.

    Columns that the model does not have are left out: no event tells of them, on any database.

    Args:
        spec: The model.
        relation: The table, as the server described it.
    """

    def __init__(self, spec: ModelSpec, relation: Relation) -> None:
        self._table = spec.table_name
        self._columns = [
            (index, column.name, reader(spec.by_name[column.name].type))
            for index, column in enumerate(relation.columns)
            if column.name in spec.by_name
        ]
        self._keys = frozenset(column.name for column in relation.columns if column.key)
        self._warned: set[str] = set()

    def row(self, values: Sequence[Raw], before: Sequence[Raw] | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A row, and the columns whose values are not known.

        Args:
            values: The row.
            before: The whole row before, which has the long values that did not change.
        """
        try:
            if UNCHANGED not in values:
                return self._read(values), ()
            if before is not None:
                return self._read(
                    [old if new is UNCHANGED else new for new, old in zip(values, before, strict=True)]
                ), ()
        except _UNREADABLE:
            pass  # one of them, which is found below
        return self._read_what_can_be(values, before)

    def key(self, values: Sequence[Raw]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The key of a row of which the server told no more, and the columns that it did not tell."""
        row, unknown = self.row(values)
        return (
            {name: value for name, value in row.items() if name in self._keys},
            tuple(name for name in (*row, *unknown) if name not in self._keys),
        )

    def _read(self, values: Sequence[Any]) -> dict[str, Any]:
        return {name: None if (value := values[index]) is None else read(value) for index, name, read in self._columns}

    def _read_what_can_be(
        self, values: Sequence[Raw], before: Sequence[Raw] | None
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        row: dict[str, Any] = {}
        unknown = []
        for index, name, read in self._columns:
            value = values[index]
            if value is UNCHANGED and before is not None:
                value = before[index]
            try:
                if value is UNCHANGED:
                    unknown.append(name)
                else:
                    row[name] = None if value is None else read(value)
            except _UNREADABLE as error:
                unknown.append(name)
                self._warn(name, error)
        return row, tuple(unknown)

    def _warn(self, column: str, error: Exception) -> None:
        if column not in self._warned:
            self._warned.add(column)
            logger.warning(UNREADABLE, self._table, column, type(error).__name__)


def reader(field_type: FieldType) -> Read:
    """The function from a text form to a value of the type; it raises ValueError, or its like, for other texts."""
    read = _READ[field_type.kind]
    enum = field_type.enum
    return read if enum is None else lambda text: enum(read(text))


def _bool(text: bytes) -> bool:
    return _BOOL[text]


def _decimal(text: bytes) -> Decimal:
    return Decimal(text.decode())


def _datetime(text: bytes) -> datetime:
    if text in _ENDS:
        return _ENDS[text]
    value = datetime.fromisoformat(text.decode())
    # A column of a table that we did not create may have no zone; ours is UTC already.
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _date(text: bytes) -> date:
    return _ENDS[text].date() if text in _ENDS else date.fromisoformat(text.decode())


def _time(text: bytes) -> time:
    return time.fromisoformat(text.decode())


def _timedelta(text: bytes) -> timedelta:
    return timedelta(microseconds=int(text))


def _uuid(text: bytes) -> UUID:
    return UUID(text.decode())


def _bytes(text: bytes) -> bytes:
    return bytes.fromhex(text[2:].decode())


_READ: Mapping[Kind, Read] = {
    Kind.STR: bytes.decode,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: _bool,
    Kind.DECIMAL: _decimal,
    Kind.DATETIME: _datetime,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMEDELTA: _timedelta,
    Kind.UUID: _uuid,
    Kind.BYTES: _bytes,
    Kind.JSON: msgspec.json.decode,
}
