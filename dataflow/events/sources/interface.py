"""The seam between databases and events: what every source of changes offers, and what it promises.

A source tells every committed change of the tables it was asked for, in the order of their commits, from a position
on. Its positions grow, fit into 56 bits and name the same changes whenever they are read again, so that an entry id
made of them makes a replay harmless. Rows hold Python values in the types of the model's fields.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from dataflow.events.envelope import Op

#: The warning, once for each column, of values that cannot be read: table, column, error.
UNREADABLE = "%s.%s holds values that its field cannot have (%s); events leave them out."


class Place(NamedTuple):
    """Where in the log a change is.

    Attributes:
        position: Its transaction's, below 2**56.
        index: Which change of the transaction.
    """

    position: int
    index: int  # type: ignore[assignment]  # tuples have a method of that name


@dataclass(frozen=True, slots=True)
class RowChange:
    """One change of one row.

    Attributes:
        op: What happened: CREATE, UPDATE, DELETE, TRUNCATE, SCHEMA, or MESSAGE.
        table: Name of the table; of a message, its type.
        before: The row before, as far as the database tells.
        after: The row after; of a message, its payload.
        unavailable: Columns whose values the database did not tell, or that their fields cannot have.
        tenant: Whom a message is about; of rows, their columns say it.
    """

    op: Op
    table: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    unavailable: tuple[str, ...] = ()
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of one committed transaction: a large one comes in several, so that memory stays constant.

    Attributes:
        position: The transaction's.
        first: Index of the first change within the transaction.
        changes: The changes; empty where the transaction touched nothing that is captured (heartbeats, so that the
            position moves on).
        last: Whether the transaction ends with it.
        transaction: The database's id of it.
        committed_at: When it was committed.
        mark: The token of ``mark()`` that the transaction carries.
    """

    position: int
    first: int
    changes: Sequence[RowChange]
    last: bool
    transaction: str
    committed_at: datetime
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a probe found.

    Attributes:
        problem: What is weaker, or missing, in one sentence.
        fix: The exact SQL, setting or command that mends it; empty where nothing does.
        fatal: Whether the mechanism cannot work with it.
    """

    problem: str
    fix: str = ""
    fatal: bool = False


class Source(Protocol):
    """One source of changes. Used by one task; not shared."""

    #: ``pgoutput``, ``binlog`` or ``outbox``.
    mechanism: str

    async def probe(self) -> list[Finding]:
        """What the database allows, without changing anything. A fatal finding: this mechanism cannot be used here.

        Raises:
            DatabaseUnavailableError: It cannot be reached.
        """
        ...

    async def prepare(self) -> None:
        """Make what it needs and may make: publication and slot, triggers and outbox table. Safe to call from several
        processes at once, and again while ``chunks()`` is read: then for tables that were made meanwhile.
        """
        ...

    async def identity(self) -> str:
        """Which log this is: another text after a failover, a restore, or a new server means that positions of the one
        before mean nothing any more.
        """
        ...

    def chunks(self, after: Place | None) -> AsyncGenerator[Chunk]:
        """Everything that was committed after a place (None: from now, or from where the slot stands), without end.

        A connection that breaks is made anew by itself, from the last chunk that was given out.

        Raises:
            LostPositionError: The log no longer reaches back to the place.
            CaptureError: The mechanism stopped working, and why.
        """
        ...

    async def acknowledge(self, position: int) -> None:
        """All up to and with this transaction is kept safely elsewhere: the log need not be kept for us."""
        ...

    async def mark(self, token: str) -> None:
        """Commit a watermark: a chunk with this ``mark`` comes out of ``chunks()`` at its place among the changes."""
        ...

    async def close(self) -> None:
        """Let go of connections. What ``prepare`` made stays."""
        ...

    async def leave(self) -> None:
        """Another mechanism captures from now on: remove what makes the database keep changes for this one. Harmless
        where there is nothing.

        Raises:
            CaptureError: It may not be removed; the hint says by which statement.
            DatabaseError: The same, in the database's words.
        """
        ...

    async def remove(self) -> None:
        """Remove what ``prepare`` made: a slot that nobody reads keeps the server's log for ever."""
        ...
