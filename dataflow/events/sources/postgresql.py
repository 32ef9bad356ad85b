"""PostgreSQL as a source of changes: logical replication from a slot.

Position of a transaction is the LSN of its commit record, which its first message tells. LSNs of records differ by
eight or more, so that two more positions are free beside it: a change of columns is told at ``lsn - 1``, or at
``lsn + 1`` where a part of its transaction has been told already. The index of a change counts the rows of its
transaction, those of tables nobody asked for too: it is the same however often the transaction is read, and with
whatever models. Changes of columns have no such index, since they are seen by comparing: a reader that begins takes the
columns as it finds them.

What is confirmed to the slot is only what was acknowledged, so the slot's own position says whether anything was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.url import parse_url
from dataflow.errors import CaptureError, DatabaseError, DatabaseUnavailableError, LostPositionError
from dataflow.events.sources import postgresql_setup as setup
from dataflow.events.sources.interface import Chunk, Finding, Place
from dataflow.events.sources.pgoutput import moment
from dataflow.events.sources.pgtransactions import Transactions
from dataflow.models import ModelSpec

if TYPE_CHECKING:
    from dataflow.databases.postgresql_replication import ReplicationConnection

logger = logging.getLogger("dataflow.events")

#: Seconds between two attempts, at first; each takes twice as long as the one before.
RETRY_SECONDS = 0.05
#: At most, while another process reads the slot, and while the server does not answer.
STANDBY_SECONDS, UNAVAILABLE_SECONDS = 1.0, 5.0


class PostgreSQLSource:
    """Changes of a PostgreSQL database.

    One process reads a slot at a time. Others wait in ``chunks()``, and go on when it is free.

    Args:
        url: The app's own database URL.
        owner: Name of the DataFlow instance.
        models: Whose tables to capture.
        options: Times and certificates, as the app's own.
        heartbeat: Seconds between two reports to the server, and at most between two chunks without changes that tell
            how far an idle database is.
    """

    mechanism = "pgoutput"

    def __init__(
        self,
        url: str,
        owner: str,
        models: Sequence[ModelSpec],
        options: DatabaseOptions | None = None,
        *,
        heartbeat: float = 10.0,
    ) -> None:
        self._url = parse_url(url)
        options = options or DatabaseOptions()
        overrides: Mapping[str, Any] = self._url.overrides
        self._options = replace(options, **overrides)
        self._database = open_database(url, replace(options, pool_size=1, max_overflow=3))
        self._models = {spec.table_name: spec for spec in models}
        self._heartbeat = heartbeat
        self._connection: ReplicationConnection | None = None
        self._closing = asyncio.Event()
        #: Tables that are not captured, as far as that was told.
        self._missing: set[str] = set()
        #: Object ids of tables that were prepared.
        self._known: set[int] = set()
        #: Name of slot and publication, and prefix of marks.
        self.name = setup.object_name(owner, self._url.database)

    async def probe(self) -> list[Finding]:
        findings = await setup.probe(self._database, self.name, list(self._models))
        try:
            _client()
        except CaptureError as error:
            findings.insert(0, Finding(error.message, error.hint or "", fatal=True))
        return findings

    async def prepare(self) -> None:
        if self._connection is None:
            self._known.clear()
        missing = await setup.publish(self._database, self.name, list(self._models), self._known)
        for table in missing - self._missing:
            logger.warning("The table %r is not captured: it is missing, not ours, or not in the log.", table)
        self._missing = missing
        if self._connection is None:
            await setup.make_slot(self._database, self.name)

    async def identity(self) -> str:
        connection = await self._connect()
        try:
            return await connection.identity()
        finally:
            await connection.close()

    async def chunks(self, after: Place | None) -> AsyncGenerator[Chunk]:
        """See ``Source``.

        A place must be the newest there is: who waits until another process has let go of the slot, and begins from an
        older one, gets LostPositionError, as the server no longer tells what that process has acknowledged.
        """
        self._closing.clear()
        reader = Transactions(self._models, self.name, after)
        identity: str | None = None
        attempts = 0
        while not self._closing.is_set():
            try:
                connection = await self._connect()
                try:
                    identity = await self._same(connection, identity)
                    if not await self._start(connection, reader):
                        if attempts == 0:
                            logger.info("Another process captures %s; standing by.", self._url.masked)
                        attempts = await self._pause(attempts, STANDBY_SECONDS)
                        continue
                    attempts = 0
                    async with aclosing(self._read(connection, reader)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                finally:
                    self._connection = None
                    await connection.close()
            except DatabaseUnavailableError as error:
                if self._closing.is_set():
                    return
                logger.warning("Capture of %s waits for the database: %s", self._url.masked, error)
                attempts = await self._pause(attempts, UNAVAILABLE_SECONDS)

    async def acknowledge(self, position: int) -> None:
        """See ``Source``. Chunks without changes are acknowledged as well: otherwise the log of an idle database is
        kept, and its server does not shut down while somebody reads what was not acknowledged.
        """
        # Confirmed is what lies before: with one more the commit record at the position counts as told.
        if self._connection is not None:
            self._connection.confirm(position + 1)

    async def mark(self, token: str) -> None:
        await self._database.fetch_one("SELECT pg_logical_emit_message(true, $1, $2)::text", [self.name, token])

    async def close(self) -> None:
        self._closing.set()
        if self._connection is not None:
            await self._connection.close()
        await self._database.close()

    async def leave(self) -> None:
        try:
            await self.remove()
        except DatabaseError as error:
            raise CaptureError(
                f"The server keeps its log for the slot {self.name}: {error.message}",
                hint=f"SELECT pg_drop_replication_slot('{self.name}'); DROP PUBLICATION IF EXISTS {self.name};",
            ) from error

    async def remove(self) -> None:
        await setup.unmake(self._database, self.name)

    @staticmethod
    async def _pause(attempts: int, most: float) -> int:
        """Wait before the next attempt; returns how many there were."""
        await asyncio.sleep(min(RETRY_SECONDS * 2 ** min(attempts, 10), most))
        return attempts + 1

    async def _connect(self) -> ReplicationConnection:
        return await _client().connect(self._url, self._options, beat=self._heartbeat)

    async def _same(self, connection: ReplicationConnection, identity: str | None) -> str:
        """The log's identity, which must be the one before."""
        found = await connection.identity()
        if identity not in (None, found):
            raise LostPositionError(
                f"{self._url.masked} writes another log than before ({found}, not {identity}): it was failed over or "
                "restored.",
                hint="Capture begins anew from now on; take a snapshot to tell the rows that changed meanwhile.",
            )
        return found

    async def _start(self, connection: ReplicationConnection, reader: Transactions) -> bool:
        slot = await connection.slot(self.name)
        if slot.invalid:
            raise LostPositionError(
                f"The replication slot {self.name} cannot be read any more: {slot.invalid}.",
                hint=f"Drop it (SELECT pg_drop_replication_slot('{self.name}')), start capture again, and take a "
                "snapshot.",
            )
        if reader.next_lsn is not None and slot.confirmed > reader.next_lsn:
            raise LostPositionError(
                f"The replication slot {self.name} begins after the place where capture stood.",
                hint="Either Redis lost what it had, or the slot was made anew or moved. Capture begins anew from now "
                "on; take a snapshot.",
                confirmed=slot.confirmed,
                wanted=reader.next_lsn,
            )
        begin = slot.confirmed if reader.next_lsn is None else reader.next_lsn
        if not await connection.start(self.name, self.name, begin, slot.confirmed):
            return False
        reader.begin(slot.confirmed)
        self._connection = connection
        return True

    async def _read(self, connection: ReplicationConnection, reader: Transactions) -> AsyncGenerator[Chunk]:
        loop = asyncio.get_running_loop()
        told = loop.time()
        while True:
            message = connection.poll()
            if message is None:
                await connection.wait()
            elif isinstance(message, bytes):
                for chunk in reader.read(message):
                    told = loop.time()
                    yield chunk
            else:
                if message.reply:
                    connection.answer()
                if message.reply or loop.time() - told >= self._heartbeat:
                    idle = reader.idle(message.lsn, moment(message.microseconds))
                    if idle is not None:
                        told = loop.time()
                        yield idle


def _client() -> type[ReplicationConnection]:
    try:
        from dataflow.databases.postgresql_replication import ReplicationConnection
    except ImportError as error:
        raise CaptureError(
            "Logical replication needs psycopg, which is not installed.",
            hint="pip install 'dataflow-jobs[events]'",
        ) from error
    return ReplicationConnection
