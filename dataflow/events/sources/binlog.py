"""Events of the binary log of MySQL and MariaDB: headers, checksums, files, and those that frame a transaction.

Every event begins with 19 bytes: time (seconds), type, server, size, offset of its end in the file, flags. Numbers are
little-endian. A checksum (CRC32), where the file has them, takes the last four bytes.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from dataflow.errors import CaptureError

_HEADER = struct.Struct("<IBIIIH")
#: Bits of a position that are the offset in a file; above them is the file's number.
_OFFSET_BITS = 40
_CRC32 = 1


class EventType(IntEnum):
    """Events that mean something here; all others are passed by."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT = 15
    XID = 16
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    WRITE_V1 = 23
    UPDATE_V1 = 24
    DELETE_V1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    WRITE = 30
    UPDATE = 31
    DELETE = 32
    GTID = 33
    ANONYMOUS_GTID = 34
    XA_PREPARE = 38
    PARTIAL_UPDATE = 39
    COMPRESSED_TRANSACTION = 40
    HEARTBEAT_V2 = 41
    TAGGED_GTID = 42
    MARIADB_GTID = 162
    MARIADB_COMPRESSED_QUERY = 165
    MARIADB_COMPRESSED_WRITE = 166
    MARIADB_COMPRESSED_UPDATE = 167
    MARIADB_COMPRESSED_DELETE = 168


#: Events that hold changed rows.
ROWS = frozenset(
    {
        EventType.WRITE_V1,
        EventType.UPDATE_V1,
        EventType.DELETE_V1,
        EventType.WRITE,
        EventType.UPDATE,
        EventType.DELETE,
        EventType.MARIADB_COMPRESSED_WRITE,
        EventType.MARIADB_COMPRESSED_UPDATE,
        EventType.MARIADB_COMPRESSED_DELETE,
    }
)
#: Events that begin a transaction.
BEGINNINGS = frozenset({EventType.GTID, EventType.ANONYMOUS_GTID, EventType.TAGGED_GTID, EventType.MARIADB_GTID})


class LogEvent(NamedTuple):
    """One event.

    Attributes:
        type: See EventType; a number that is not there is an event without meaning here.
        timestamp: Seconds since 1970.
        position: Where it starts, as in ``position_of``.
        body: What follows the header, without checksum.
    """

    type: int
    timestamp: int
    position: int
    body: bytes


class Gtid(NamedTuple):
    """The event that begins a transaction.

    Attributes:
        text: The transaction's id, as the server writes it; empty where it has none.
        alone: Whether one statement follows, and no commit (MariaDB tells).
    """

    text: str
    alone: bool


class Query(NamedTuple):
    """A statement: those that frame a transaction, DDL, and changes that were not logged as rows."""

    database: str
    text: str


class Prepared(NamedTuple):
    """The end of a prepared transaction.

    Attributes:
        xid: Its name: hexadecimal, and the format's number.
        committed: Whether it was committed in one go.
    """

    xid: tuple[str, str, int]
    committed: bool


def position_of(file: int, offset: int) -> int:
    """A place in the log as one number that grows."""
    return file << _OFFSET_BITS | offset


def split_position(position: int) -> tuple[int, int]:
    """Number of the file and offset in it, of a position."""
    return position >> _OFFSET_BITS, position & ((1 << _OFFSET_BITS) - 1)


def file_number(name: str) -> int:
    """Number of a file of the log: ``binlog.000042`` is 42."""
    return int(name.rpartition(".")[2])


class LogReader:
    """Raw events, in order, to LogEvents: knows the file and whether it has checksums."""

    def __init__(self) -> None:
        self._file = 0
        self._checksums = False

    def read(self, raw: memoryview) -> LogEvent | None:
        """The event; None where it only concerns the reader.

        Raises:
            CaptureError: The event is damaged.
        """
        timestamp, kind, _, size, end, _ = _HEADER.unpack_from(raw)
        if kind == EventType.FORMAT:
            # The number of the algorithm and a checksum end this event on every server that knows checksums.
            self._checksums = raw[-5] == _CRC32
            return None
        if kind == EventType.ROTATE:
            # The one that a stream begins with comes before the format is known.
            body = raw[:-4] if _is_intact(raw) else raw
            self._file = file_number(bytes(body[_HEADER.size + 8 :]).decode())
            return None
        if self._checksums:
            if not _is_intact(raw):
                raise CaptureError(
                    f"An event of the binary log is damaged: file {self._file}, before offset {end}.",
                    hint="Check the server's disk; mariadb-binlog --verify-binlog-checksum reads the file.",
                )
            raw = raw[:-4]
        return LogEvent(kind, timestamp, position_of(self._file, max(end - size, 0)), bytes(raw[_HEADER.size :]))


def _is_intact(raw: memoryview) -> bool:
    return zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little")


def read_gtid(event: LogEvent) -> Gtid:
    """The event that begins a transaction."""
    body = event.body
    if event.type == EventType.MARIADB_GTID:
        sequence, domain, flags = struct.unpack_from("<QIB", body)
        return Gtid(f"{domain}-{sequence}", bool(flags & 1))
    if event.type == EventType.GTID:
        return Gtid(f"{UUID(bytes=body[1:17])}:{int.from_bytes(body[17:25], 'little')}", alone=False)
    return Gtid("", alone=False)


def read_query(event: LogEvent) -> Query:
    """A statement."""
    body = event.body
    database_size, variables_size = body[8], int.from_bytes(body[11:13], "little")
    start = 13 + variables_size
    database = body[start : start + database_size].decode(errors="replace")
    text = body[start + database_size + 1 :]
    if event.type == EventType.MARIADB_COMPRESSED_QUERY:
        text = inflate(text)
    elif event.type == EventType.EXECUTE_LOAD_QUERY:
        text = text[13:]
    return Query(database, text.decode(errors="replace"))


def read_prepared(event: LogEvent) -> Prepared:
    """The end of a prepared transaction."""
    one_phase, form, global_size, branch_size = struct.unpack_from("<BiII", event.body)
    name = event.body[13 : 13 + global_size + branch_size]
    return Prepared((name[:global_size].hex(), name[global_size:].hex(), form), bool(one_phase))


def inflate(data: bytes) -> bytes:
    """What MariaDB compressed (``log_bin_compress``): a byte with the size of the size, the size, and zlib's stream."""
    return zlib.decompress(data[1 + (data[0] & 0x07) :])


def packed_int(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size
