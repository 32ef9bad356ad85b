"""Session: one driver connection, the same to use on every database. Transaction: statements that commit together.

A session raises its driver's own exceptions; whoever runs it for a user translates them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from dataflow.databases.interface import Arguments, Outcome, Row
from dataflow.errors import DatabaseError

#: Where ``echo=True`` writes statements.
SQL_LOG = logging.getLogger("dataflow.sql")

#: From a driver's exception to ours; anything else comes back as it is.
Translate = Callable[[Exception], Exception]
#: After a statement of a transaction failed with that error, which was its first or not: whether to run it again, the
#: transaction being begun anew where need be.
Renew = Callable[[str, Exception, bool], Awaitable[bool]]


class Session(ABC):
    """A connection. One call at a time."""

    @abstractmethod
    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        """All rows of a statement."""

    @abstractmethod
    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        """The first row of a statement, or None."""

    @abstractmethod
    async def execute(self, sql: str, args: Arguments) -> Outcome:
        """Run a statement that returns no rows."""

    @abstractmethod
    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        """Run a statement once per row; all rows or none."""

    @abstractmethod
    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        """Insert many rows; all or none."""

    @abstractmethod
    async def command(self, sql: str) -> None:
        """Run a statement without arguments and result, such as ``SAVEPOINT``."""

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether it can no longer be used; looks, and does not ask the server."""


class PooledSession(Session):
    """A connection to a server, kept in a pool."""

    @abstractmethod
    async def begin(self, settings: Mapping[str, str] | None = None) -> None:
        """Start a transaction, with settings that end with it; see Database.transaction."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit it."""

    @abstractmethod
    async def ping(self) -> None:
        """Ask the server for an answer; raises where none comes."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, by what the server said last; does not ask it."""

    @abstractmethod
    def is_outdated(self, statement: str, error: BaseException) -> bool:
        """Whether a statement may have failed only because it was prepared before the schema changed.

        It then had no effect, and will be prepared anew when it is next used.
        """

    def reached_server(self, error: BaseException) -> bool:
        """Whether a statement that failed so was sent: then it has ended its transaction."""
        return True

    @abstractmethod
    async def settle(self) -> bool:
        """After a call was cancelled or a transaction failed: stop what still runs, roll back what is open.

        Returns:
            Whether the connection can be used again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye to the server and close."""

    @abstractmethod
    def terminate(self) -> None:
        """Close at once. Also works when the event loop it belongs to is closed."""


class Runner(ABC):
    """The statements of an Executor, all brought to a session by one method."""

    @abstractmethod
    def _run(self, name: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """Call a session's method of that name, and translate what it raises."""

    def fetch_all(self, sql: str, args: Arguments = ()) -> Coroutine[Any, Any, list[Row]]:
        return self._run("fetch_all", sql, args)

    def fetch_one(self, sql: str, args: Arguments = ()) -> Coroutine[Any, Any, Row | None]:
        return self._run("fetch_one", sql, args)

    def execute(self, sql: str, args: Arguments = ()) -> Coroutine[Any, Any, Outcome]:
        return self._run("execute", sql, args)

    def execute_many(self, sql: str, rows: Sequence[Arguments]) -> Coroutine[Any, Any, int]:
        return self._run("execute_many", sql, rows)

    def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> Coroutine[Any, Any, int]:
        return self._run("copy_rows", table, columns, rows)


class SessionTransaction(Runner):
    """Statements on one session, between its BEGIN and COMMIT. One runs at a time, whichever task asks."""

    def __init__(self, session: Session, translate: Translate, *, echo: bool, renew: Renew | None = None) -> None:
        self._session = session
        self._translate = translate
        self._echo = echo
        self._renew = renew
        self._is_first = True
        self._turn = asyncio.Lock()
        self._names = itertools.count(1)
        self._over = False

    def end(self) -> None:
        """Refuse further statements."""
        self._over = True

    async def _run(self, name: str, *args: Any) -> Any:
        async with self._turn:
            if self._over:
                raise DatabaseError("The transaction is over.", hint="Run its statements inside its 'async with'.")
            if self._echo:
                SQL_LOG.info("%s", args[0])
            is_first, self._is_first = self._is_first, False
            try:
                try:
                    return await getattr(self._session, name)(*args)
                except Exception as error:
                    if self._renew is None or not await self._renew(args[0], error, is_first):
                        raise
                    return await getattr(self._session, name)(*args)
            except Exception as error:
                raise_translated(error, self._translate)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        name = f"dataflow_{next(self._names)}"
        await self._run("command", f"SAVEPOINT {name}")
        try:
            yield
        except BaseException as failure:
            if not self._session.is_closed():
                try:
                    await self._run("command", f"ROLLBACK TO SAVEPOINT {name}")
                    await self._run("command", f"RELEASE SAVEPOINT {name}")
                except DatabaseError as error:
                    # A deadlock on MySQL has undone the whole transaction; what was raised first says why.
                    failure.add_note(f"The transaction is gone as a whole: {error}")
            raise
        await self._run("command", f"RELEASE SAVEPOINT {name}")


def raise_translated(error: Exception, translate: Translate) -> NoReturn:
    """Raise our error for a driver's, with the driver's as its cause."""
    ours = translate(error)
    if ours is error:
        raise error
    raise ours from error
