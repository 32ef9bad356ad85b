"""The binary log of MySQL and MariaDB as a stream of raw events, over a connection of aiomysql.

The server sends the log to whoever asks as a replica would: ``COM_BINLOG_DUMP`` on an ordinary connection, with the
same URL, password and TLS as any other. aiomysql connects; from the dump on, this module reads the connection itself,
in blocks, because a packet at a time costs two awaits for each.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from pymysql.err import MySQLError, raise_mysql_exception

from dataflow.databases import failures
from dataflow.databases.interface import Row
from dataflow.databases.mysql import MySQLConnector
from dataflow.databases.mysql_errors import code_of
from dataflow.databases.mysql_session import MySQLSession, read_version
from dataflow.databases.mysql_text import literals
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.url import DatabaseURL, parse_url

#: Seconds between signs of life that the server gives while nothing is written.
HEARTBEAT_SECONDS = 1.0
#: Seconds without any sign of life after which the connection is taken for dead.
SILENCE_SECONDS = 15.0

_COM_BINLOG_DUMP = 0x12
_BLOCK = 262_144
#: A packet of this size goes on in the next one.
_FULL_PACKET = 0xFF_FF_FF
_OK, _EOF, _ERROR = 0x00, 0xFE, 0xFF
#: The server's codes for a privilege that is missing.
_REFUSED = {1044, 1045, 1142, 1227}
#: What a replica says of itself: it understands checksums, MariaDB's GTID events, and heartbeats (in nanoseconds).
_REPLICA = (
    "SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32', @mariadb_slave_capability = 4, "
    f"@master_heartbeat_period = {int(HEARTBEAT_SECONDS * 1e9)}, "
    f"@source_heartbeat_period = {int(HEARTBEAT_SECONDS * 1e9)}"
)


class ReplicationConnection:
    """A connection that asks the server things, and then may become a stream of its log. An async context manager.

    Errors are the driver's own, or OSError; ``translate`` makes ours of them.
    """

    def __init__(self, connector: MySQLConnector, session: MySQLSession) -> None:
        self._connector = connector
        self._session = session

    @classmethod
    async def open(cls, url: str | DatabaseURL, options: DatabaseOptions | None = None) -> Self:
        """Connect to the server of a database URL, as it is written or read.

        Raises:
            DatabaseUnavailableError: It cannot be reached, or refuses us.
        """
        parsed = parse_url(url) if isinstance(url, str) else url
        overrides: dict[str, Any] = {**parsed.overrides, "mysql_driver": "aiomysql"}
        connector = MySQLConnector(parsed, replace(options or DatabaseOptions(), **overrides))
        return cls(connector, await connector.connect())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database(self) -> str:
        """Name of the database that the URL names."""
        return self._connector.url.database

    @property
    def version(self) -> tuple[tuple[int, ...], bool]:
        """The server's version, and whether it is MariaDB."""
        return read_version(self._session.server_version)

    async def fetch_all(self, sql: str, *args: Any) -> list[Row]:
        """All rows of a statement, with ``%s`` for its values."""
        if args:
            sql = sql % literals(args)
        connection = self._session._connection
        await connection.query(sql)
        return list(connection._result.rows or ())

    async def execute(self, sql: str, *args: Any) -> None:
        """Run a statement that returns no rows."""
        await self.fetch_all(sql, *args)

    async def refusal(self, sql: str) -> str | None:
        """The server's words, where we lack a privilege for a statement."""
        try:
            await self.fetch_all(sql)
        except MySQLError as error:
            if code_of(error) in _REFUSED:
                return str(error.args[-1])
            raise
        return None

    def translate(self, error: Exception) -> Exception:
        """Our error for one that came from here."""
        if isinstance(error, asyncio.IncompleteReadError | TimeoutError):
            return failures.lost(self._connector.masked_url, "the stream of the binary log broke off")
        return self._connector.translate(error)

    async def events(self, file: str, position: int) -> AsyncGenerator[memoryview]:
        """Raw events from a place in the log on, without end; nothing else can be asked on this connection any more.

        A first, artificial event names the file; the next describes its format.

        Args:
            file: Name of the log's file.
            position: Offset of an event in it; 4 is its first.

        Raises:
            MySQLError: The server says why not.
            OSError: The connection broke.
            TimeoutError: The server does not even give signs of life.
        """
        await self.execute(_REPLICA)
        connection = self._session._connection
        # The server ends an older stream of the same number.
        number = random.randrange(2**31, 2**32)  # no secret
        arguments = struct.pack("<IHI", position, 0, number) + file.encode()
        await connection._execute_command(_COM_BINLOG_DUMP, arguments)
        async for packet in _packets(connection._reader):
            if packet[0] == _OK:
                yield packet[1:]
            elif packet[0] == _ERROR:
                raise_mysql_exception(bytes(packet))
            elif packet[0] == _EOF:
                raise ConnectionResetError("the server ended the stream of its binary log")

    async def may_read_log(self) -> bool:
        """Whether the server would give us its log, by its answer to the beginning of it (on another connection)."""
        session = await self._connector.connect()
        try:
            ((file, *_),) = (await self.fetch_all("SHOW BINARY LOGS"))[:1]
            async for _ in ReplicationConnection(self._connector, session).events(file, 4):
                return True
        except MySQLError as error:
            if code_of(error) in _REFUSED:
                return False
            raise
        finally:
            session.terminate()
        return False

    def close(self) -> None:
        """End the connection at once."""
        self._session.terminate()


async def _packets(reader: asyncio.StreamReader) -> AsyncGenerator[memoryview]:
    """The packets of MySQL's protocol, those in parts put together."""
    buffer, parts = b"", bytearray()
    while True:
        async with asyncio.timeout(SILENCE_SECONDS):
            block = await reader.read(_BLOCK)
        if not block:
            raise ConnectionResetError("the server closed the stream of its binary log")
        buffer = buffer + block if buffer else block
        view, start = memoryview(buffer), 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(view[start : start + 3], "little")
            end = start + 4 + size
            if end > len(buffer):
                break
            payload = view[start + 4 : end]
            start = end
            if size == _FULL_PACKET:
                parts += payload
            elif parts:
                parts += payload
                yield memoryview(bytes(parts))
                parts = bytearray()
            else:
                yield payload
        buffer = buffer[start:]
