"""MySQL and MariaDB through aiomysql.

In a statement ``%`` is always written ``%%``, also where it has no arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import date, datetime
from itertools import chain
from typing import Any

import aiomysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import convert_date, convert_datetime, decoders
from pymysql.err import MySQLError

from dataflow.databases import failures
from dataflow.databases.interface import Arguments, Capabilities, Outcome, Row
from dataflow.databases.mysql_errors import is_rolled_back, translate, unreachable_reason
from dataflow.databases.mysql_text import insert_into, literals, split_insert
from dataflow.databases.pooled import Connector
from dataflow.databases.sessions import PooledSession
from dataflow.databases.transports import close_orphan

#: Wrong values are errors, as elsewhere; an id of 0 is 0, not "make one".
_SQL_MODE = (
    "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,"
    "NO_AUTO_VALUE_ON_ZERO"
)
_SAVEPOINT = "dataflow_many"


class MySQLSession(PooledSession):
    """An aiomysql connection.

    Its cursors are passed by: they cost a few objects and awaits per statement and add nothing that is needed here.
    """

    def __init__(self, connection: Any, kill: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        self._connection = connection
        self._kill = kill
        self._in_transaction = False
        self._rolled_back = False

    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        return list((await self._query(sql % literals(args))).rows or ())

    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        rows = (await self._query(sql % literals(args))).rows
        return rows[0] if rows else None

    async def execute(self, sql: str, args: Arguments) -> Outcome:
        result = await self._query(sql % literals(args))
        return Outcome(result.affected_rows, result.insert_id or None)

    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        insert = split_insert(sql)
        if insert is not None:
            return await self._all_or_none(insert.statements(rows))
        return await self._all_or_none(sql % literals(row) for row in rows)

    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        return await self._all_or_none(insert_into(table, columns).statements(rows))

    async def command(self, sql: str) -> None:
        await self._query(sql)

    async def begin(self) -> None:
        await self._query("START TRANSACTION")
        self._in_transaction = True

    async def commit(self) -> None:
        await self._query("COMMIT")
        self._in_transaction = False

    async def rollback(self) -> None:
        self._rolled_back = False
        await self._query("ROLLBACK")
        self._in_transaction = False

    async def ping(self) -> None:
        await self._connection.ping(reconnect=False)

    async def settle(self) -> bool:
        if self.is_closed():
            # The server notices a closed socket only when its statement is done: end its session from another one.
            await self._kill(self._connection.thread_id())
            return False
        if self._in_transaction:
            await self.rollback()
        return True

    async def capabilities(self) -> Capabilities:
        version, mariadb = _version(self._connection.get_server_info())
        number = ".".join(map(str, version))
        if mariadb:
            collation = "utf8mb4_nopad_bin" if version >= (10, 2) else "utf8mb4_bin"
            return Capabilities(f"MariaDB {number}", version >= (10, 5), collation)
        collation = "utf8mb4_0900_bin" if version >= (8, 0, 17) else "utf8mb4_bin"
        return Capabilities(f"MySQL {number}", False, collation)

    def is_closed(self) -> bool:
        # Like aiomysql's own pool: a reader at its end is a server that hung up.
        connection = self._connection
        return connection._writer is None or connection._reader._eof_received or connection._writer.is_closing()

    async def close(self) -> None:
        await self._connection.ensure_closed()

    def terminate(self) -> None:
        writer = self._connection._writer
        if writer is None:
            return
        # With its loop closed asyncio closes all but the socket, and then cannot schedule the rest.
        with contextlib.suppress(RuntimeError):
            writer.transport.abort()
        close_orphan(writer.transport)
        self._connection._writer = self._connection._reader = None

    async def _query(self, text: str) -> Any:
        """Send a statement; its result, read to the end."""
        if self._rolled_back:
            raise failures.aborted()
        connection = self._connection
        try:
            await connection.query(text)
        except MySQLError as error:
            self._rolled_back = self._in_transaction and is_rolled_back(error)
            raise
        except BaseException:
            # Half a result may be unread: what comes next would be taken for the answer to another statement.
            self.terminate()
            raise
        return connection._result

    async def _all_or_none(self, statements: Iterator[str]) -> int:
        """Run statements so that all take effect or none; rows matched."""
        first, second = next(statements, None), next(statements, None)
        if first is None:
            return 0
        if second is None:
            return int((await self._query(first)).affected_rows)
        nested = self._in_transaction
        await (self._query(f"SAVEPOINT {_SAVEPOINT}") if nested else self.begin())
        try:
            matched = 0
            for statement in chain((first, second), statements):
                matched += (await self._query(statement)).affected_rows
        except Exception:
            if not nested:
                await self.rollback()
            elif not self._rolled_back:
                await self._query(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            raise
        await (self._query(f"RELEASE SAVEPOINT {_SAVEPOINT}") if nested else self.commit())
        return matched


class MySQLConnector(Connector[MySQLSession]):
    """Opens aiomysql connections."""

    async def connect(self) -> MySQLSession:
        return MySQLSession(await self._open(), self._kill)

    def translate(self, error: Exception) -> Exception:
        return translate(error, self.masked_url)

    async def _open(self) -> Any:
        url, options = self.url, self.options
        connection = aiomysql.Connection(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.user,
            password=url.password or "",
            db=url.database,
            unix_socket=url.options.get("unix_socket"),
            charset=options.charset,
            conv=_DECODERS,
            client_flag=CLIENT.FOUND_ROWS,
            autocommit=True,
            ssl=self._tls(),
            program_name=options.application_name,
        )
        try:
            async with asyncio.timeout(options.connect_timeout):
                await connection._connect()
                for statement in self._session_settings(connection.get_server_info()):
                    await connection.query(statement)
        except BaseException as error:
            connection.close()
            reason = unreachable_reason(error) if isinstance(error, Exception) else None
            if reason is None:
                raise
            raise failures.unreachable(self.masked_url, url.database, reason) from error
        return connection

    def _session_settings(self, server: str) -> Iterator[str]:
        isolation = "tx_isolation" if _version(server)[1] else "transaction_isolation"
        yield f"SET SESSION time_zone = '+00:00', sql_mode = '{_SQL_MODE}', {isolation} = 'READ-COMMITTED'"
        collation = self.url.options.get("collation")
        if collation:
            charset, collation = literals((self.options.charset, collation))
            yield f"SET NAMES {charset} COLLATE {collation}"

    def _tls(self) -> ssl.SSLContext | None:
        options = self.options
        wanted = self.url.options.get("ssl", "").lower() in ("1", "true", "yes", "on")
        if not (wanted or options.ssl_ca or options.ssl_cert):
            return None
        context = ssl.create_default_context(cafile=options.ssl_ca)
        if not options.ssl_ca:
            # Encryption only, as MySQL's own clients do without a CA.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.ssl_cert:
            context.load_cert_chain(options.ssl_cert, options.ssl_key)
        return context

    async def _kill(self, thread_id: int) -> None:
        connection = await self._open()
        try:
            await connection.query(f"KILL {thread_id}")
        except MySQLError as error:
            if error.args[0] != 1094:  # it has ended by itself
                raise
        finally:
            connection.close()


def _version(server: str) -> tuple[tuple[int, ...], bool]:
    """Version of the server, and whether it is MariaDB, from what it says when greeting."""
    mariadb = "mariadb" in server.lower()
    # MariaDB 10 introduces itself as 5.5.5-10.x to old replicas.
    found = re.search(r"\d+(?:\.\d+)+", server.removeprefix("5.5.5-") if mariadb else server)
    return tuple(int(part) for part in found[0].split(".")) if found else (), mariadb


def _datetime(text: str) -> datetime | str | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        converted: datetime | str | None = convert_datetime(text)
        return converted


def _date(text: str) -> date | str | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        converted: date | str | None = convert_date(text)
        return converted


#: PyMySQL's, with a faster way for well-formed dates.
_DECODERS = {**decoders, FIELD_TYPE.DATETIME: _datetime, FIELD_TYPE.TIMESTAMP: _datetime, FIELD_TYPE.DATE: _date}
