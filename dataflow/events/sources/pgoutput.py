"""PostgreSQL's logical replication messages, plugin ``pgoutput``, protocol version 1: from bytes to what they say.

In version 1 a transaction comes when it is committed, all at once:

    Begin (commit LSN, time, xid)
      Relation     before the first row of a table, and again once its columns changed
      Insert | Update | Delete | Truncate | Message …
    Commit

Values stay as they are sent, in the text form of their types; ``pgvalues`` reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from dataflow.errors import CaptureError

#: PostgreSQL counts microseconds from here.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_BEGIN = struct.Struct(">QqI")
_COUNT = struct.Struct(">H")
_LENGTH = struct.Struct(">I")
_TYPE = struct.Struct(">Ii")
_TRUNCATE = struct.Struct(">IB")
_NULL, _UNCHANGED, _TEXT = b"nut"
_KEY, _OLD, _NEW = b"KON"


class Unchanged(Enum):
    """Stands for a long value that an update did not touch, and that the server does not send again."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED

#: A value in its type's text form, None for NULL, or UNCHANGED.
Raw = bytes | None | Unchanged


class Begin(NamedTuple):
    """A committed transaction begins."""

    lsn: int
    committed_at: datetime
    xid: int


class Commit(NamedTuple):
    """It ends."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: Its name.
        key: Whether it belongs to the replica identity: to what tells of a row before its change.
        type_oid: Its type.
        modifier: Length, precision or the like of the type; -1 without one.
    """

    name: str
    key: bool
    type_oid: int
    modifier: int


class Relation(NamedTuple):
    """A table as it was when the following rows were written."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]


class Insert(NamedTuple):
    """A new row."""

    relation: int
    new: list[Raw]


class Update(NamedTuple):
    """A changed row; ``old`` is None where the server does not tell, and ``key_only`` says that it is the old key."""

    relation: int
    old: list[Raw] | None
    key_only: bool
    new: list[Raw]


class Delete(NamedTuple):
    """A row that went; ``key_only`` says that all but the key is left out."""

    relation: int
    old: list[Raw]
    key_only: bool


class Truncate(NamedTuple):
    """Tables that were emptied at once, those included that a CASCADE reached."""

    relations: tuple[int, ...]


class Message(NamedTuple):
    """What somebody wrote by ``pg_logical_emit_message``."""

    prefix: str
    content: bytes


Decoded = Begin | Commit | Relation | Insert | Update | Delete | Truncate | Message


def decode(data: bytes) -> Decoded | None:
    """What a message says; None for kinds that tell nothing about rows (origin, type).

    Raises:
        CaptureError: It is of a kind that version 1 does not have.
    """
    try:
        reader = _READERS[data[0]]
    except (KeyError, IndexError):
        raise CaptureError(
            f"PostgreSQL sent a replication message that is not understood, of the kind {data[:1]!r}.",
            hint="Something stands between DataFlow and the server, or the server is newer than this DataFlow.",
        ) from None
    return reader(data)


def moment(microseconds: int) -> datetime:
    """A time as the protocol counts it."""
    return EPOCH + timedelta(microseconds=microseconds)


def _begin(data: bytes) -> Begin:
    lsn, committed, xid = _BEGIN.unpack_from(data, 1)
    return Begin(lsn, moment(committed), xid)


def _commit(_: bytes) -> Commit:
    return Commit()


def _relation(data: bytes) -> Relation:
    (oid,) = _LENGTH.unpack_from(data, 1)
    schema, at = _text(data, 5)
    name, at = _text(data, at)
    # One byte for the replica identity: each column says whether it belongs to it.
    (count,) = _COUNT.unpack_from(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        key = bool(data[at] & 1)
        column, at = _text(data, at + 1)
        columns.append(Column(column, key, *_TYPE.unpack_from(data, at)))
        at += _TYPE.size
    return Relation(oid, schema or "pg_catalog", name, tuple(columns))


def _insert(data: bytes) -> Insert:
    return Insert(_LENGTH.unpack_from(data, 1)[0], _values(data, 6)[0])


def _update(data: bytes) -> Update:
    (relation,) = _LENGTH.unpack_from(data, 1)
    kind = data[5]
    if kind == _NEW:
        return Update(relation, None, False, _values(data, 6)[0])
    old, at = _values(data, 6)
    return Update(relation, old, kind == _KEY, _values(data, at + 1)[0])


def _delete(data: bytes) -> Delete:
    return Delete(_LENGTH.unpack_from(data, 1)[0], _values(data, 6)[0], data[5] == _KEY)


def _truncate(data: bytes) -> Truncate:
    count, _ = _TRUNCATE.unpack_from(data, 1)
    return Truncate(struct.unpack_from(f">{count}I", data, 1 + _TRUNCATE.size))


def _message(data: bytes) -> Message:
    # One byte of flags and eight of position.
    prefix, at = _text(data, 10)
    (length,) = _LENGTH.unpack_from(data, at)
    return Message(prefix, data[at + 4 : at + 4 + length])


def _nothing(_: bytes) -> None:
    return None


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _values(data: bytes, at: int) -> tuple[list[Raw], int]:
    (count,) = _COUNT.unpack_from(data, at)
    at += 2
    values: list[Raw] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            start = at + 4
            at = start + _LENGTH.unpack_from(data, at)[0]
            values.append(data[start:at])
        elif kind == _NULL:
            values.append(None)
        elif kind == _UNCHANGED:
            values.append(UNCHANGED)
        else:
            raise CaptureError(f"PostgreSQL sent a value that is not text, of the kind {bytes([kind])!r}.")
    return values, at


_READERS: Mapping[int, Callable[[bytes], Decoded | None]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _message,
    ord("O"): _nothing,
    ord("Y"): _nothing,
}
