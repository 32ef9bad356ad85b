"""BinlogSource: the changes of a MySQL or MariaDB database from its binary log.

The server need not be told of us: it keeps its log for its own time (``expire_logs_days``,
``binlog_expire_logs_seconds``), and we say from where we want it. A position is where a transaction starts: the number
of the log's file, and the offset in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

import msgspec

from dataflow.databases import DatabaseOptions
from dataflow.databases.mysql_errors import code_of
from dataflow.databases.mysql_replication import ReplicationConnection
from dataflow.databases.url import DatabaseURL
from dataflow.errors import CaptureError, DatabaseUnavailableError, DataFlowError, LostPositionError
from dataflow.events.envelope import Op
from dataflow.events.sources.binlog import BEGINNINGS, EventType, LogReader, split_position
from dataflow.events.sources.binlog_rows import ColumnFacts, RowReader, columns_of, read_table_map
from dataflow.events.sources.binlog_statements import Meaning
from dataflow.events.sources.binlog_transactions import Spool, Transaction, TransactionReader, Xid
from dataflow.events.sources.interface import Chunk, Finding, Place, RowChange
from dataflow.events.sources.mysql_log import end_of_log, identity_of, log_file, log_files
from dataflow.events.sources.mysql_probe import probe
from dataflow.events.tables import OUTBOX
from dataflow.models import ModelSpec

LOG = logging.getLogger("dataflow.events")

#: The table that marks are written into, a row for each owner.
MARKS = "dataflow_binlog_marks"
#: Changes in a chunk, at most.
CHUNK_CHANGES = 1_000
#: Bytes of the log that a chunk holds, roughly: a row may have many.
CHUNK_BYTES = 1 << 20
#: Seconds after which a chunk without changes tells how far the log was read.
PROGRESS_SECONDS = 1.0
#: Seconds before the first and the last attempts to connect again.
FIRST_PAUSE, LAST_PAUSE = 0.05, 5.0

#: Offset of a file's first event.
_FIRST = 4
#: The server's codes for a log that it does not have, or cannot read.
_LOST = {1236, 1220}
#: The server's code for a stream that somebody ended with KILL.
_ENDED = {1317}
#: A mark that only makes the log begin to move.
_START = "start:"
_HEARTBEATS = (EventType.HEARTBEAT, EventType.HEARTBEAT_V2)
_CREATE_MARKS = (
    f"CREATE TABLE IF NOT EXISTS `{MARKS}` (owner VARCHAR(190) NOT NULL PRIMARY KEY, token VARCHAR(190) NOT NULL) "
    "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
)


class BinlogSource:
    """A source that reads the binary log.

    Args:
        url: The app's own database URL, as it is written or read.
        owner: Name of the DataFlow instance.
        models: Whose tables to capture.
        options: TLS, times to wait and the like; what the URL says of them wins.
    """

    mechanism = "binlog"

    def __init__(
        self, url: str | DatabaseURL, owner: str, models: Sequence[ModelSpec], options: DatabaseOptions | None = None
    ) -> None:
        self._url, self._options, self._owner = url, options, owner
        self._models = {spec.table_name: spec for spec in models}
        self._captured = (*self._models, OUTBOX, MARKS)
        self._facts: dict[str, list[ColumnFacts]] = {}
        self._readers: dict[bytes, RowReader] = {}
        self._identity: str | None = None
        #: Where to begin without a place.
        self._start: int | None = None
        self._reading = False

    async def probe(self) -> list[Finding]:
        """See Source."""
        async with await self._connect() as connection:
            return await probe(connection, list(self._models))

    async def prepare(self) -> None:
        """Make the table of marks. Where there is no place to go on from, ``chunks()`` begins here."""
        if self._reading:  # the log has new tables of itself
            return
        async with await self._connect() as connection:
            try:
                # Asked first: who may not create must not try, though the table is there.
                if not await connection.fetch_all("SHOW TABLES LIKE %s", MARKS):
                    await self._create_marks(connection)
                self._start = await end_of_log(connection)
            except Exception as error:
                raise connection.translate(error) from error

    async def _create_marks(self, connection: ReplicationConnection) -> None:
        refusal = await connection.refusal(_CREATE_MARKS)
        if refusal is not None:
            raise CaptureError(
                f"There is no table {MARKS}, which capture needs for watermarks: {refusal}.",
                hint=f"Have somebody create it who may:\n{_CREATE_MARKS};",
            )

    async def identity(self) -> str:
        """The server's UUID; MariaDB, which has none, is known by its number and its GTID domain."""
        async with await self._connect() as connection:
            return await identity_of(connection)

    async def acknowledge(self, position: int) -> None:
        """Nothing: the server keeps its log for its own time."""

    async def mark(self, token: str) -> None:
        """See Source. A token is used once."""
        await self._execute(
            f"INSERT INTO `{MARKS}` (owner, token) VALUES (%s, %s) ON DUPLICATE KEY UPDATE token = VALUES(token)",
            self._owner,
            token,
        )

    async def close(self) -> None:
        """Nothing: the stream's connection ends with its iterator, others with their call."""

    async def leave(self) -> None:
        """Nothing: the server keeps its log for its own time."""

    async def remove(self) -> None:
        """Remove our mark, and the table with the last one."""
        with contextlib.suppress(DataFlowError):
            await self._execute(f"DELETE FROM `{MARKS}` WHERE owner = %s", self._owner)
            async with await self._connect() as connection:
                if not await connection.fetch_all(f"SELECT 1 FROM `{MARKS}` LIMIT 1"):
                    await connection.execute(f"DROP TABLE IF EXISTS `{MARKS}`")

    async def chunks(self, after: Place | None) -> AsyncGenerator[Chunk]:
        """See Source."""
        self._reading = True
        try:
            async with contextlib.aclosing(self._chunks(after)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._reading = False

    async def _chunks(self, after: Place | None) -> AsyncGenerator[Chunk]:
        place, whole, pause, begun = after, False, FIRST_PAUSE, False
        while True:
            connection = None
            try:
                connection = await self._connect()
                await self._check(connection)
                if self._start is None:
                    self._start = await end_of_log(connection)
                if place is None and not begun:
                    # Makes a first chunk, so that its place is known, however quiet the tables are.
                    await self.mark(f"{_START}{secrets.token_hex(8)}")
                    begun = True
                begin = self._start if place is None else place.position
                async with contextlib.aclosing(self._read(connection, begin, place)) as chunks:
                    async for chunk in chunks:
                        pause = FIRST_PAUSE
                        if not (whole and place is not None and chunk.position == place.position):
                            yield chunk
                        place = Place(chunk.position, chunk.first + len(chunk.changes) - 1)
                        whole = chunk.last
            except DataFlowError as error:
                if not isinstance(error, DatabaseUnavailableError):
                    raise
                LOG.warning("The binary log cannot be read, and is tried again in %.2f s: %s", pause, error)
            except Exception as error:
                self._raise_unless_lost(connection, error)
                LOG.warning("The stream of the binary log broke off, and is made anew in %.2f s: %s", pause, error)
            finally:
                if connection is not None:
                    connection.close()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _raise_unless_lost(self, connection: ReplicationConnection | None, error: Exception) -> None:
        """Raise what connecting again does not mend."""
        if code_of(error) in _ENDED:
            return
        if code_of(error) in _LOST:
            raise LostPositionError(
                f"The server does not have the binary log that comes next: {error.args[-1]}.",
                hint="Keep it for longer (SET GLOBAL binlog_expire_logs_seconds = 604800;), and take a snapshot.",
            ) from error
        if connection is None:
            raise error
        ours = connection.translate(error)
        if not isinstance(ours, DatabaseUnavailableError):
            if not isinstance(ours, DataFlowError):
                raise error
            raise CaptureError(f"The binary log cannot be read: {ours.message}", hint=ours.hint) from error

    async def _read(self, connection: ReplicationConnection, begin: int, after: Place | None) -> AsyncGenerator[Chunk]:
        """Chunks from a transaction's start on, until the connection breaks."""
        if not self._facts:
            await self._learn()
        reader = LogReader()
        transactions = TransactionReader(connection.database, self._captured)
        file, offset = split_position(begin)
        idle: Transaction | None = None
        told = time.monotonic()
        at_start = True
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(transactions.close)
            name = await log_file(connection, file)
            stream = await stack.enter_async_context(contextlib.aclosing(connection.events(name, offset)))
            async for raw in stream:
                event = reader.read(raw)
                if event is None:
                    continue
                if at_start and event.position >= begin and event.type not in _HEARTBEATS:
                    at_start = False
                    if after is not None and (event.position != begin or event.type not in BEGINNINGS):
                        raise LostPositionError(
                            "No transaction starts at the position: the server's log is another one now.",
                            hint="It was reset (RESET MASTER) or restored. Take a snapshot.",
                        )
                ended = None if event.type in _HEARTBEATS else transactions.read(event)
                if ended is not None:
                    skip = after.index + 1 if after and ended.position == after.position else 0
                    told_something = False
                    async with contextlib.aclosing(self._chunks_of(ended, skip, transactions)) as chunks:
                        async for chunk in chunks:
                            told_something = True
                            yield chunk
                    if told_something:
                        idle, told = None, time.monotonic()
                    else:
                        idle = ended
                if idle is not None and (event.type in _HEARTBEATS or time.monotonic() - told > PROGRESS_SECONDS):
                    yield Chunk(idle.position, 0, (), True, idle.id, _moment(idle.timestamp))
                    idle, told = None, time.monotonic()

    async def _chunks_of(
        self, transaction: Transaction, skip: int, transactions: TransactionReader
    ) -> AsyncGenerator[Chunk]:
        """A transaction in chunks, less its first changes; nothing where it has none that is captured."""
        spool = transaction.spool
        try:
            if transaction.xid is not None:
                prepared = transactions.prepared.pop(transaction.xid, None)
                spool = await self._prepared(transaction.xid, prepared, transaction.position)
            first = index = held = 0
            batch: list[RowChange] = []
            mark: str | None = None
            moment = _moment(transaction.timestamp)
            found = False
            async for logged, size in self._changes(transaction, spool):
                found, change = True, logged
                if change.table == MARKS:
                    mark = self._token(change) or mark
                    continue
                if change.table == OUTBOX:
                    message = _message(change)
                    if message is None:
                        continue
                    change = message
                if index >= skip:
                    if len(batch) == CHUNK_CHANGES or held >= CHUNK_BYTES:
                        yield Chunk(transaction.position, first, batch, False, transaction.id, moment)
                        batch, held = [], 0
                    if not batch:
                        first = index
                    batch.append(change)
                    held += size
                index += 1
            if found or transaction.tables:
                first = first if batch else index
                yield Chunk(transaction.position, first, batch, True, transaction.id, moment, mark)
        finally:
            spool.close()
            transaction.spool.close()

    async def _changes(self, transaction: Transaction, spool: Spool) -> AsyncGenerator[tuple[RowChange, int]]:
        """The changes of a transaction, with the bytes of the log that each takes; several share an event of it."""
        if transaction.statement is not None:
            self._readers.clear()
            self._facts.clear()
            if transaction.statement.meaning is Meaning.ALTER:
                await self._learn()
            op = Op.TRUNCATE if transaction.statement.meaning is Meaning.TRUNCATE else Op.SCHEMA
            for table in dict.fromkeys(transaction.tables):
                if table in self._models:
                    yield RowChange(op, table), 0
        readers: dict[bytes, RowReader] = {}
        for event in spool.events():
            if event.type == EventType.TABLE_MAP:
                readers[event.body[:6]] = self._readers.get(event.body[8:]) or await self._reader(event.body)
            else:
                size = len(event.body)
                for change in readers[event.body[:6]].read(event):
                    yield change, size
                    size = 0

    async def _reader(self, body: bytes) -> RowReader:
        table_map = read_table_map(body)
        table = table_map.table
        if not table_map.is_full and table not in self._facts:
            await self._learn()
        columns = columns_of(table_map, self._facts.get(table, ()))
        reader = self._readers[body[8:]] = RowReader(table, columns, self._models.get(table))
        return reader

    async def _learn(self) -> None:
        """Read the tables' columns as they are now."""
        async with await self._connect() as connection:
            rows = await connection.fetch_all(
                "SELECT table_name, column_name, LOWER(data_type), column_type, character_set_name "
                "FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position",
                connection.database,
            )
        self._facts = {}
        for table, name, kind, declared, charset in rows:
            # Labels keep their case; what is before them is the type.
            text = declared if kind in ("enum", "set") else declared.lower()
            self._facts.setdefault(table, []).append(ColumnFacts(name, text, charset))

    async def _prepared(self, xid: Xid, position: int | None, before: int) -> Spool:
        """Changes of a prepared transaction that is committed now: they are in the log where it was prepared.

        Args:
            xid: Its name.
            position: Where it was prepared, where that was seen; else the log is searched from its beginning.
            before: Where it is committed. Names are used again: of several the last one counts.
        """
        found: Transaction | None = None
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(await self._connect())
            file, offset = split_position(position or 0)
            name = await log_file(connection, file) if position else min((await log_files(connection)).values())[0]
            reader, transactions = LogReader(), TransactionReader(connection.database, self._captured, wanted=xid)
            stack.callback(transactions.close)
            stream = await stack.enter_async_context(contextlib.aclosing(connection.events(name, offset or _FIRST)))
            async for raw in stream:
                event = reader.read(raw)
                if event is None or event.type in _HEARTBEATS:
                    continue
                if event.position >= before:
                    break
                if (latest := transactions.read(event)) is not None:
                    if found is not None:
                        found.spool.close()
                    found = latest
                    if position:
                        break
        if found is None:
            raise LostPositionError(
                "A prepared transaction (XA) was committed that is no longer in the binary log.",
                hint="Take a snapshot of the tables that it changed.",
            )
        return found.spool

    def _token(self, change: RowChange) -> str | None:
        row = change.after
        if row is None or row["owner"] != self._owner or row["token"].startswith(_START):
            return None
        return str(row["token"])

    async def _check(self, connection: ReplicationConnection) -> None:
        """Another server behind the same URL has another log."""
        found = await identity_of(connection)
        if self._identity is None:
            self._identity = found
        elif self._identity != found:
            before, self._identity = self._identity, found
            raise LostPositionError(
                f"The server is another one now: {found}, before {before}.", hint="Positions begin anew there."
            )

    async def _execute(self, sql: str, *args: str) -> None:
        async with await self._connect() as connection:
            try:
                await connection.execute(sql, *args)
            except Exception as error:
                raise connection.translate(error) from error

    async def _connect(self) -> ReplicationConnection:
        return await ReplicationConnection.open(self._url, self._options)


def _message(change: RowChange) -> RowChange | None:
    """The message that a row of the outbox holds; None where it is another kind of row, or was removed."""
    row = change.after
    if change.op is not Op.CREATE or row is None or row["op"] != "m":
        return None
    after = msgspec.json.decode(row["row_after"] or "null")
    return RowChange(Op.MESSAGE, row["name"], after=after, tenant=row.get("row_before"))


def _moment(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
