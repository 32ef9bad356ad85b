"""Event: one committed change of a row, or a message of the application, as it travels.

The same change is the same event on every database, positions and times aside. As JSON, in the field ``event`` of an
entry of a Redis Stream, with Debezium's names where it has them::

    {"v": 1, "id": "72057594060718864-0", "op": "u",
     "before": {"id": 7, "status": "open", …}, "after": {"id": 7, "status": "completed", …}, "changed": ["status"],
     "source": {"db": "default", "kind": "postgresql", "table": "orders", "model": "Order", "tenant": null,
                "mechanism": "pgoutput", "position": 24090000, "epoch": 1, "snapshot": false, "unavailable": []},
     "tx": {"id": "1039", "i": 0}, "ts_ms": 1795289799532, "ts_read_ms": 1795289799533}

Values are written by the type of the model's field: Decimal as text, date and time as ISO 8601 (a datetime in UTC,
``2026-11-22T03:00:00.000000Z``), timedelta in microseconds, UUID as text, bytes in base64, an enum as its value.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from dataflow.models import ModelSpec
from dataflow.models.types import Kind

#: Version of the envelope that is written.
VERSION = 1


class Op(StrEnum):
    """What happened: Debezium's letters, and two of our own."""

    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    #: A row as a snapshot found it.
    READ = "r"
    TRUNCATE = "t"
    #: The table's columns changed.
    SCHEMA = "ddl"
    #: The application published it (``db.publish``).
    MESSAGE = "m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an event comes from.

    Attributes:
        db: Name of the DataFlow instance.
        kind: ``postgresql``, ``mysql`` or ``sqlite``.
        table: Name of the table; of a message, its type.
        model: Name of the model; None of a message.
        tenant: Whose row it is, of a multi-tenant model.
        mechanism: How it was captured: ``pgoutput``, ``binlog`` or ``outbox``.
        position: Where in the log its transaction was committed.
        epoch: Counts the logs: it grows when the database was failed over or restored, or the mechanism changed.
        snapshot: Whether a snapshot read it.
        unavailable: Columns whose values the database did not tell.
    """

    db: str
    kind: str
    table: str
    model: str | None = None
    tenant: str | None = None
    mechanism: str = ""
    position: int = 0
    epoch: int = 0
    snapshot: bool = False
    unavailable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event.

    Attributes:
        id: Id of its entry in the stream, made of its position: the same event has the same id however often it is
            read.
        op: What happened.
        before: The row before, column → value; None where there was none, or the database does not tell.
        after: The row after; of a message, its payload.
        changed: Columns of an update whose values differ; empty where ``before`` is not known.
        source: Where it comes from.
        transaction: The database's id of the transaction.
        index: Which change of its transaction it is, from 0.
        ts: When it was committed.
        read_at: When it was captured.
    """

    id: str
    op: Op
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changed: tuple[str, ...] = ()
    source: Source = field(default_factory=lambda: Source(db="", kind="", table=""))
    transaction: str = ""
    index: int = 0
    ts: datetime
    read_at: datetime


def entry_id(epoch: int, position: int, index: int) -> str:
    """Id of a stream's entry: eight bits of epoch, 56 of position; then the index within the transaction."""
    return f"{epoch << 56 | position}-{index}"


def _datetime_text(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


#: Kind → what JSON holds of a value; kinds that are not here travel as they are.
TO_JSON: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DECIMAL: lambda value: format(value, "f"),
    Kind.DATETIME: _datetime_text,
    Kind.DATE: lambda value: value.isoformat(),
    Kind.TIME: lambda value: value.isoformat(timespec="microseconds"),
    Kind.TIMEDELTA: lambda value: value // timedelta(microseconds=1),
    Kind.UUID: str,
    Kind.BYTES: lambda value: base64.b64encode(value).decode(),
}


def row_to_json(spec: ModelSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a model as JSON holds it; columns that the model does not have are left as they are."""
    raise NotImplementedError


def row_from_json(spec: ModelSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse: values in the Python types of the model's fields."""
    raise NotImplementedError
