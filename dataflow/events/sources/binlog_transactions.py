"""From events of the binary log to committed transactions.

A transaction's events are kept until its end is seen: it may end with a rollback (where tables without transactions
took part), or not at all, where the server crashed while it wrote. Beyond a few megabytes they are kept in a temporary
file, so that memory stays flat.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from dataflow.errors import CaptureError, LostPositionError
from dataflow.events.sources.binlog import (
    BEGINNINGS,
    ROWS,
    EventType,
    LogEvent,
    read_gtid,
    read_prepared,
    read_query,
)
from dataflow.events.sources.binlog_statements import Meaning, Statement, names_table, read_statement

#: Bytes of a transaction that are kept in memory.
MEMORY_BYTES = 4_194_304

Xid = tuple[str, str, int]

_FRAME = struct.Struct("<BQI")
_STATEMENTS = (EventType.QUERY, EventType.MARIADB_COMPRESSED_QUERY, EventType.EXECUTE_LOAD_QUERY)


class Spool:
    """Events of one transaction, in memory or in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115  # closed with us
        self._size = 0

    def __len__(self) -> int:
        """Bytes."""
        return self._size

    def append(self, event: LogEvent) -> None:
        """Add an event."""
        self._file.write(_FRAME.pack(event.type, event.position, len(event.body)))
        self._file.write(event.body)
        self._size += _FRAME.size + len(event.body)

    def truncate(self, size: int) -> None:
        """Forget what came after it was so long."""
        self._file.seek(size)
        self._file.truncate()
        self._size = size

    def events(self) -> Iterator[LogEvent]:
        """The events in order; their times are not kept."""
        self._file.seek(0)
        while head := self._file.read(_FRAME.size):
            kind, position, size = _FRAME.unpack(head)
            yield LogEvent(kind, 0, position, self._file.read(size))

    def close(self) -> None:
        """Let go of memory and file."""
        self._file.close()


@dataclass
class Transaction:
    """A transaction, while it is read and when it is whole.

    Attributes:
        position: Where it starts.
        id: The server's id of it.
        spool: Table maps and changed rows of captured tables.
        timestamp: When it ended, in seconds since 1970.
        statement: The DDL that it consists of.
        tables: Captured tables that the DDL is about.
        xid: It commits the prepared transaction of this name, whose changes are at an earlier place of the log.
    """

    position: int
    id: str
    spool: Spool = field(default_factory=Spool)
    timestamp: int = 0
    statement: Statement | None = None
    tables: tuple[str, ...] = ()
    xid: Xid | None = None


class TransactionReader:
    """Puts transactions together.

    Args:
        database: Name of the database whose tables are captured.
        tables: The tables.
        wanted: Name of a prepared transaction: it is given out at its end, and all others are passed by.
    """

    def __init__(self, database: str, tables: Collection[str], wanted: Xid | None = None) -> None:
        self._database = database.encode()
        self._captured = {name.encode(): name for name in tables}
        self._wanted = wanted
        self._open: Transaction | None = None
        self._alone = self._begun = False
        self._maps: set[bytes] = set()
        self._savepoints: dict[str, int] = {}
        #: Where prepared transactions start that were seen and have not ended.
        self.prepared: dict[Xid, int] = {}

    def read(self, event: LogEvent) -> Transaction | None:
        """Take the next event; gives the transaction that it ends.

        Raises:
            LostPositionError: The log does not hold the changed rows.
            CaptureError: The event cannot be read.
        """
        kind = event.type
        if kind in BEGINNINGS:
            self._begin(event)
            return None
        if kind == EventType.INCIDENT:
            raise LostPositionError(
                "The server reports an incident in its binary log: changes are missing.", hint=_SNAPSHOT
            )
        if self._open is None:
            if kind in ROWS or kind == EventType.TABLE_MAP:
                raise LostPositionError(
                    "The position is not where a transaction starts: the server's log is another one now.",
                    hint=_SNAPSHOT,
                )
            return None
        if kind == EventType.TABLE_MAP:
            self._table_map(event)
        elif kind in ROWS:
            if event.body[:6] in self._maps:
                self._open.spool.append(event)
        elif kind == EventType.XID:
            return self._end(event)
        elif kind in _STATEMENTS:
            return self._statement(event)
        elif kind == EventType.XA_PREPARE:
            return self._prepare(event)
        elif kind in _UNREADABLE:
            problem, hint = _UNREADABLE[kind]
            raise CaptureError(problem, hint=hint)
        return None

    def close(self) -> None:
        """Let go of a transaction that is not whole."""
        if self._open is not None:
            self._open.spool.close()
            self._open = None

    def _begin(self, event: LogEvent) -> None:
        # One that is still open was not committed: the server crashed while it wrote it.
        self.close()
        gtid = read_gtid(event)
        self._open, self._alone, self._begun = Transaction(event.position, gtid.text), gtid.alone, False
        self._maps.clear()
        self._savepoints.clear()

    def _end(self, event: LogEvent) -> Transaction | None:
        ended, self._open = self._open, None
        assert ended is not None
        ended.timestamp = event.timestamp
        if self._wanted is not None:
            ended.spool.close()
            return None
        return ended

    def _table_map(self, event: LogEvent) -> None:
        assert self._open is not None
        body, number = event.body, event.body[:6]
        name_at = 9 + body[8] + 2
        table = body[name_at : name_at + body[name_at - 1]]
        if body[9 : 9 + body[8]] == self._database and table in self._captured:
            self._maps.add(number)
            self._open.spool.append(event)
        else:
            self._maps.discard(number)

    def _statement(self, event: LogEvent) -> Transaction | None:
        assert self._open is not None
        query = read_query(event)
        statement = read_statement(query.text)
        spool = self._open.spool
        match statement.meaning:
            case Meaning.BEGIN:
                self._begun = True
                return None
            case Meaning.COMMIT:
                return self._end(event)
            case Meaning.ROLLBACK:
                spool.truncate(0)
                return self._end(event)
            case Meaning.SAVEPOINT:
                self._savepoints[statement.name] = len(spool)
                return None
            case Meaning.ROLLBACK_TO:
                spool.truncate(self._savepoints.get(statement.name, 0))
                return None
            case Meaning.XA_COMMIT:
                self._open.xid = statement.xid
                return self._end(event)
            case Meaning.XA_ROLLBACK:
                self.prepared.pop(statement.xid, None)  # type: ignore[arg-type]
                return self._end(event)
            case Meaning.ALTER | Meaning.TRUNCATE:
                self._open.statement = statement
                self._open.tables = tuple(self._ours(query.database, statement))
            case Meaning.ROWS:
                self._refuse_statement(query.database, query.text)
        return self._end(event) if self._is_single(event, query.text) else None

    def _is_single(self, event: LogEvent, text: str) -> bool:
        """Whether a statement is its whole transaction."""
        assert self._open is not None
        if self._alone:
            return True
        # MySQL does not say so; what has no BEGIN before it is DDL, and rows follow it only where it says so.
        by_mysql = ":" in self._open.id or not self._open.id
        return by_mysql and not self._begun and not text.endswith("START TRANSACTION")

    def _prepare(self, event: LogEvent) -> Transaction | None:
        assert self._open is not None
        prepared = read_prepared(event)
        if prepared.xid == self._wanted:
            ended, self._open = self._open, None
            return ended
        if prepared.committed:
            return self._end(event)
        self.prepared[prepared.xid] = self._open.position
        self._open.spool.truncate(0)
        return self._end(event)

    def _ours(self, session: str, statement: Statement) -> Iterator[str]:
        for database, table in statement.tables:
            if (database or session).encode() == self._database and table.encode() in self._captured:
                yield table

    def _refuse_statement(self, session: str, text: str) -> None:
        ours = session.encode() == self._database or names_table(text, self._database.decode())
        for table in self._captured.values():
            if ours and names_table(text, table):
                raise LostPositionError(
                    f"A change of {table} was logged as a statement, so its rows are not known.",
                    hint=f"A session has binlog_format=STATEMENT or MIXED: set it to ROW everywhere. {_SNAPSHOT}",
                )


_SNAPSHOT = "Take a snapshot to get the rows as they are now: dataflow capture app:db --snapshot MODEL."
_UNREADABLE: dict[int, tuple[str, str]] = {
    EventType.COMPRESSED_TRANSACTION: (
        "The binary log holds a compressed transaction, which cannot be read here.",
        "SET GLOBAL binlog_transaction_compression = OFF;",
    ),
    EventType.PARTIAL_UPDATE: (
        "The binary log holds partial JSON updates, which do not tell the whole value.",
        "SET GLOBAL binlog_row_value_options = '';",
    ),
}
