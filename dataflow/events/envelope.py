"""Event: one committed change of a row, or a message of the application, as it travels.

The same change is the same event on every database, positions and times aside. As JSON, in the field ``event`` of an
entry of a Redis Stream, with Debezium's names where it has them::

    {"v": 1, "id": "72057594060718864-0", "op": "u",
     "before": {"id": 7, "status": "open", …}, "after": {"id": 7, "status": "completed", …}, "changed": ["status"],
     "source": {"db": "default", "kind": "postgresql", "table": "orders", "model": "Order", "tenant": null,
                "mechanism": "pgoutput", "position": 24090000, "epoch": 1, "snapshot": false, "unavailable": []},
     "tx": {"id": "1039", "i": 0}, "ts_ms": 1795289799532, "ts_read_ms": 1795289799533}

Values are written by the type of the model's field: Decimal as text, date and time as ISO 8601 (a datetime in UTC,
``2026-11-22T03:00:00.000000Z``), timedelta in microseconds, UUID as text, bytes in base64, an enum as its value, a
float that is none as ``"NaN"`` or ``"Infinity"``. Columns come in the order of the model. ``***`` stands for what is
masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from dataflow.errors import EventError
from dataflow.events.values import row_from_json, row_to_json
from dataflow.models import ModelSpec

__all__ = [
    "Event",
    "Op",
    "Source",
    "decode",
    "encode",
    "entry_id",
    "event_inputs",
    "event_of",
    "row_from_json",
    "row_to_json",
]

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
    #: The table's columns have changed: told by logs before the first row that has the new ones; no rows in it.
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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def milliseconds(moment: datetime) -> int:
    """Unix time, ms."""
    return (moment - _EPOCH) // _MILLISECOND


def encode(event: Event, spec: ModelSpec | None = None) -> bytes:
    """An event as its entry in a stream holds it.

    Args:
        event: The event; rows in the types of the model's fields.
        spec: The model of its rows; None for a message, whose payload is JSON already.
    """
    before, after = event.before, event.after
    if spec is not None:
        before = None if before is None else row_to_json(spec, before)
        after = None if after is None else row_to_json(spec, after)
    return _encoder.encode(_envelope(event, before, after))


def event_inputs(event: Event) -> dict[str, Any]:
    """An event as a workflow gets it: the same names as in its entry, rows in the types of the model's fields."""
    before, after = event.before, event.after
    data = _envelope(event, None if before is None else dict(before), None if after is None else dict(after))
    return {
        **data,
        "changed": list(event.changed),
        "source": {**data["source"], "unavailable": list(event.source.unavailable)},
    }


def event_of(inputs: Mapping[str, Any]) -> Event:
    """The event that ``event_inputs`` gave.

    Raises:
        EventError: It is none.
    """
    try:
        return _event(inputs, {})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EventError(f"This is no event: {error}.", hint="An event is what EventSourceNode gives.") from error


def _envelope(event: Event, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    source = event.source
    return {
        "v": VERSION,
        "id": event.id,
        "op": event.op.value,
        "before": before,
        "after": after,
        "changed": event.changed,
        "source": {
            "db": source.db,
            "kind": source.kind,
            "table": source.table,
            "model": source.model,
            "tenant": source.tenant,
            "mechanism": source.mechanism,
            "position": source.position,
            "epoch": source.epoch,
            "snapshot": source.snapshot,
            "unavailable": source.unavailable,
        },
        "tx": {"id": event.transaction, "i": event.index},
        "ts_ms": milliseconds(event.ts),
        "ts_read_ms": milliseconds(event.read_at),
    }


def decode(text: bytes | str, models: Mapping[str, ModelSpec]) -> Event:
    """The event that a stream's entry holds, rows in the types of the model's fields where the model is known.

    Args:
        text: The entry's field ``event``.
        models: Model name → ModelSpec.

    Raises:
        EventError: It is no event, or one of a later version.
    """
    try:
        return _event(_decoder.decode(text), models)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise EventError(f"An entry of a stream is no event: {error}.") from error


def _event(data: Mapping[str, Any], models: Mapping[str, ModelSpec]) -> Event:
    if data["v"] != VERSION:
        raise EventError(f"An event of version {data['v']} cannot be read.", hint="Update DataFlow here.")
    source = Source(**{**data["source"], "unavailable": tuple(data["source"]["unavailable"])})
    spec = models.get(source.model) if source.model else None
    before, after = data["before"], data["after"]
    return Event(
        id=data["id"],
        op=Op(data["op"]),
        before=row_from_json(spec, before) if spec and before is not None else before,
        after=row_from_json(spec, after) if spec and after is not None else after,
        changed=tuple(data["changed"]),
        source=source,
        transaction=data["tx"]["id"],
        index=data["tx"]["i"],
        ts=_EPOCH + data["ts_ms"] * _MILLISECOND,
        read_at=_EPOCH + data["ts_read_ms"] * _MILLISECOND,
    )
