"""MySQLSession: a connection to MySQL or MariaDB, whichever driver opened it.

In a statement ``%`` is always written ``%%``, also where it has no arguments.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, ClassVar, Self

from pymysql.constants import SERVER_STATUS

from dataflow.databases import failures
from dataflow.databases.interface import Arguments, Capabilities, Outcome, Row
from dataflow.databases.mysql_errors import PATTERN_FAILED, code_of, is_rolled_back
from dataflow.databases.mysql_text import insert_into, literals, split_insert
from dataflow.databases.sessions import PooledSession

_SAVEPOINT = "dataflow_many"
#: In every statement that searches for a regular expression.
_REGEXP = " REGEXP "


class MySQLSession(PooledSession):
    """A connection; a subclass knows its driver.

    The drivers' cursors are passed by: they cost a few objects and awaits per statement and add nothing that is needed
    here. A driver's connection takes a statement by ``query(text)`` and then has the result in ``_result``: ``rows``,
    ``affected_rows`` and ``insert_id``.

    Args:
        connection: The driver's connection.
        kill: Ends a session of the server, by its number.
    """

    #: Base of what the driver raises for what the server says, or the protocol; ``args`` are a code and words.
    driver_error: ClassVar[type[Exception]]

    def __init__(self, connection: Any, kill: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        self._connection = connection
        self._kill = kill
        self._in_transaction = False
        self._rolled_back = False

    @classmethod
    @abstractmethod
    async def open(cls, kill: Callable[[int], Coroutine[Any, Any, None]], **arguments: Any) -> Self:
        """Connect; leaves no connection behind when that fails or is cancelled.

        Args:
            kill: See the class.
            arguments: Of the driver's ``Connection``; both drivers take these by the same names.
        """

    @property
    def server_version(self) -> str:
        """What the server said when greeting."""
        version: str = self._connection.get_server_info()
        return version

    @property
    def thread_id(self) -> int:
        """The number by which the server knows this session."""
        number: int = self._connection.thread_id()
        return number

    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        return list((await self._statement(sql, args)).rows or ())

    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        rows = (await self._statement(sql, args)).rows
        return rows[0] if rows else None

    async def execute(self, sql: str, args: Arguments) -> Outcome:
        result = await self._statement(sql, args)
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

    async def begin(self, settings: Mapping[str, str] | None = None) -> None:
        if settings:
            raise failures.no_transaction_settings("MySQL")
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

    def is_in_transaction(self) -> bool:
        return bool(self._connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def is_outdated(self, statement: str, error: BaseException) -> bool:
        # Statements are sent as text; nothing is prepared.
        return False

    async def settle(self) -> bool:
        if self.is_closed():
            # The server notices a closed socket only when its statement is done: end its session from another one.
            await self._kill(self.thread_id)
            return False
        if self._in_transaction:
            await self.rollback()
        return True

    async def capabilities(self) -> Capabilities:
        version, mariadb = read_version(self.server_version)
        number = ".".join(map(str, version))
        if mariadb:
            collation = "utf8mb4_nopad_bin" if version >= (10, 2) else "utf8mb4_bin"
            return Capabilities(f"MariaDB {number}", version >= (10, 5), collation)
        collation = "utf8mb4_0900_bin" if version >= (8, 0, 17) else "utf8mb4_bin"
        return Capabilities(f"MySQL {number}", False, collation)

    async def close(self) -> None:
        await self._connection.ensure_closed()

    async def _statement(self, sql: str, args: Arguments) -> Any:
        """Run one statement; its result."""
        text = sql % literals(args)
        if _REGEXP not in sql or sql.startswith("SELECT"):
            return await self._query(text)
        # A pattern that failed is noticed when rows have been changed already.
        async with self._atomic():
            return await self._query(text)

    async def _query(self, text: str) -> Any:
        """Send a statement; its result, read to the end."""
        if self._rolled_back:
            raise failures.aborted()
        connection = self._connection
        try:
            await connection.query(text)
        except self.driver_error as error:
            self._rolled_back = self._in_transaction and is_rolled_back(error)
            if not code_of(error):
                # Not the server's words, but a packet that nobody expected.
                self.terminate()
            raise
        except BaseException:
            # Half a result may be unread: what comes next would be taken for the answer to another statement.
            self.terminate()
            raise
        result = connection._result
        if _REGEXP in text and result.warning_count:
            await self._check_patterns(result.warning_count)
        return result

    async def _check_patterns(self, count: int) -> None:
        """MariaDB takes a row for no match, with a warning, where its search for a pattern goes past its limits."""
        warnings = (await self._query("SHOW WARNINGS")).rows
        failed = [message for _, code, message in warnings if code == PATTERN_FAILED]
        # The server keeps only the first warnings; another may be the one.
        if failed or count > len(warnings):
            raise self.driver_error(PATTERN_FAILED, failed[0] if failed else f"{count} warnings")

    async def _all_or_none(self, statements: Iterator[str]) -> int:
        """Run statements so that all take effect or none; rows matched."""
        first, second = next(statements, None), next(statements, None)
        if first is None:
            return 0
        if second is None:
            return int((await self._query(first)).affected_rows)
        matched = 0
        async with self._atomic():
            for statement in chain((first, second), statements):
                matched += (await self._query(statement)).affected_rows
        return matched

    @asynccontextmanager
    async def _atomic(self) -> AsyncIterator[None]:
        """All statements of a block take effect, or none."""
        nested = self._in_transaction
        await (self._query(f"SAVEPOINT {_SAVEPOINT}") if nested else self.begin())
        try:
            yield
        except Exception:
            if not nested:
                await self.rollback()
            elif not self._rolled_back:
                await self._query(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            raise
        await (self._query(f"RELEASE SAVEPOINT {_SAVEPOINT}") if nested else self.commit())


def read_version(server: str) -> tuple[tuple[int, ...], bool]:
    """Version of the server, and whether it is MariaDB, from what it says when greeting."""
    mariadb = "mariadb" in server.lower()
    # MariaDB 10 introduces itself as 5.5.5-10.x to old replicas.
    found = re.search(r"\d+(?:\.\d+)+", server.removeprefix("5.5.5-") if mariadb else server)
    return tuple(int(part) for part in found[0].split(".")) if found else (), mariadb
