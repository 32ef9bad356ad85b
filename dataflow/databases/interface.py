"""The seam between plans and drivers: what every database offers, and what it promises.

Statements are in the driver's own placeholder style (``$1``, ``%s``, ``?``) and arguments are values the driver takes
as they are; who compiles a plan knows the dialect. Rows come back as the driver makes them (a sequence in column
order). Every driver exception leaves this room as an error of ``dataflow.errors``, with the original as its cause.

Cancelling a call (a timeout) stops the statement on the server before the connection is used again, and never leaks a
connection. A Database may be used from several event loops and threads: each loop has its own pool, except that a
``:memory:`` database is one connection shared by all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypedDict

import msgspec
import sqlalchemy as sa

Row = Sequence[Any]
Arguments = Sequence[Any]


class Dialect(StrEnum):
    """Which SQL a database speaks. MariaDB is MYSQL; what differs is in Capabilities."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server that was reached can do.

    Attributes:
        server: Its name and version, such as ``"MariaDB 10.11.19"``.
        insert_returning: ``INSERT … RETURNING`` works.
        text_collation: Name of the collation that compares text by code point, trailing spaces included.
    """

    server: str
    insert_returning: bool
    text_collation: str


class Outcome(msgspec.Struct, frozen=True):
    """What a statement without rows did.

    Attributes:
        rows: Rows matched (not only those whose values changed).
        last_id: First id that the database generated for the statement, where the driver tells.
    """

    rows: int
    last_id: int | None = None


class PoolMetrics(TypedDict):
    """State of a pool, with the guides' keys. ``size`` and ``total`` count open connections."""

    size: int
    checked_out: int
    overflow: int
    total: int
    max_size: int
    waiting: int
    utilization_percent: float
    is_exhausted: bool


class Executor(Protocol):
    """What runs statements: a Database (each statement commits by itself) or a Transaction."""

    async def fetch_all(self, sql: str, args: Arguments = ()) -> list[Row]:
        """All rows of a statement."""
        ...

    async def fetch_one(self, sql: str, args: Arguments = ()) -> Row | None:
        """The first row of a statement, or None."""
        ...

    async def execute(self, sql: str, args: Arguments = ()) -> Outcome:
        """Run a statement that returns no rows."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        """Run a statement once per row, by the fastest means of the driver; all rows or none. Returns rows matched."""
        ...

    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        """Insert many rows by the fastest means of the database (COPY on PostgreSQL); all rows or none."""
        ...


class PairExecutor(Executor, Protocol):
    """What runs two statements as one transaction in a single call: a Database of SQLite, where each call is a hop to
    another thread.
    """

    async def fetch_one_then(
        self, sql: str, args: Arguments, then: str, make: Callable[[Row | None], Arguments]
    ) -> Row | None:
        """The first row of a statement that writes, and a second statement with values made of that row.

        ``make`` is called in the thread of the database.
        """
        ...


class Transaction(Executor, Protocol):
    """Statements on one connection that commit together."""

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A part that is undone by itself when its block raises."""
        ...


class Guard(Protocol):
    """Decides whether a database is called, and learns how calls ended."""

    @property
    def name(self) -> str:
        """What it guards."""
        ...

    @property
    def troubled(self) -> bool:
        """Whether calls must ``enter`` and ``leave``. Otherwise only outages need to be told, with probe 0."""
        ...

    @property
    def retry_after(self) -> float:
        """Seconds until a call may go through; 0 if one may now."""
        ...

    async def enter(self) -> int:
        """Ask to call; what it returns is for ``leave``.

        Raises:
            BreakerOpenError: Not now.
        """
        ...

    async def leave(self, probe: int, error: BaseException | None = None) -> None:
        """A call ended."""
        ...


class Database(Executor, Protocol):
    """A database and its pools."""

    dialect: Dialect
    #: The URL with its password masked, for messages and logs.
    masked_url: str
    #: Decides whether it is called.
    guard: Guard

    def transaction(self, settings: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Transaction]:
        """One connection for a block: committed at its end, rolled back when it raises.

        On SQLite the block holds the one writer from its start (``BEGIN IMMEDIATE``).

        Args:
            settings: Server settings, set before the block's first statement and gone when the block ends, however it
                ends (PostgreSQL only; ``{"app.tenant": "acme"}``, which row-level security policies can read). A name
                with a dot that the server does not define reads as NULL before its first use on a connection, and as
                an empty text in later transactions: ``nullif(current_setting('app.tenant', true), '')``.

        Raises:
            DatabaseError: Settings are given and this database is not PostgreSQL, or does not know one of them.
            TypeMismatchError: A name or value is no text that PostgreSQL can hold, or not one that the setting takes.
        """
        ...

    async def capabilities(self) -> Capabilities:
        """What the server can do; asked once.

        Raises:
            DatabaseUnavailableError: It cannot be reached; the message masks the password and says what to check.
        """
        ...

    async def existing_columns(self, tables: Sequence[str]) -> dict[str, set[str]]:
        """Names of the columns of those of ``tables`` that exist."""
        ...

    async def create_tables(self, tables: Sequence[sa.Table]) -> list[str]:
        """Create those tables that do not exist, with their indexes, in order of their foreign keys.

        Safe to call from several processes at once. Existing tables are not touched. Returns the names created.
        """
        ...

    def pool_metrics(self) -> PoolMetrics:
        """State of the pool of the running event loop (of all loops' pools together outside one)."""
        ...

    async def close(self) -> None:
        """Close every pool, whichever loop it belongs to. The database opens again when it is used again."""
        ...
