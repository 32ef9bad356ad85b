"""A connection on which PostgreSQL tells what is committed: logical replication, through psycopg.

asyncpg has no COPY in both directions. psycopg's libpq has, and can be asked without waiting, so that the event loop
waits instead: no thread. What the server sends is handed on as it is; who decodes it is in ``dataflow.events.sources``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import DiagnosticField, ExecStatus

from dataflow.databases import failures
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.postgresql import tls_settings
from dataflow.databases.url import DatabaseURL
from dataflow.errors import CaptureError, DataFlowError, LostPositionError

#: Silence after which a connection counts as broken, in beats. A server deep in a large transaction may be late.
SILENT_BEATS = 6
#: Beats for which a reader that is busy elsewhere is excused. After that the server hears nothing more, and ends the
#: connection: as long as it believes that its log is being read, it does not shut down.
BUSY_BEATS = 3

_DATA = struct.Struct(">QQq")
_KEEPALIVE = struct.Struct(">Qq?")
_STATUS = struct.Struct(">cQQQq?")
#: Seconds from 1970 to 2000, where PostgreSQL's time begins.
_EPOCH = 946_684_800

#: How values are written as text, whatever the role or the database has set.
_SESSION = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1 "
    "-c statement_timeout=0 -c idle_session_timeout=0"
)

#: The server is gone, going, not there yet, or full.
_UNAVAILABLE = ("08", "57P", "53300", "25P03")


class Keepalive(NamedTuple):
    """The server says how far it has told everything.

    Attributes:
        lsn: All that was committed before this has been sent.
        microseconds: The server's time, since 2000.
        reply: Whether it asks for an answer; it waits for one before it shuts down.
    """

    lsn: int
    microseconds: int
    reply: bool


class Slot(NamedTuple):
    """A replication slot.

    Attributes:
        confirmed: What was committed before this LSN is not told any more.
        invalid: Why nothing can be read from it; empty where all is well.
    """

    confirmed: int
    invalid: str


class ReplicationConnection:
    """One connection. Use ``connect`` to open it.

    Args:
        connection: Opened with ``replication=database``.
        masked_url: For messages.
        beat: Seconds between two reports to the server, each of which it must answer.
    """

    def __init__(self, connection: Any, masked_url: str, beat: float) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._masked_url = masked_url
        self._beat = beat
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = -1
        self._heard = time.monotonic()
        self._reported = 0.0
        self._received = 0
        self._flushed = 0

    @classmethod
    async def connect(cls, url: DatabaseURL, options: DatabaseOptions, *, beat: float = 10.0) -> ReplicationConnection:
        """Open a connection.

        Raises:
            DatabaseUnavailableError: The server cannot be reached, or refuses us.
            CaptureError: The role may not replicate.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(
                autocommit=True, prepare_threshold=None, **_parameters(url, options)
            )
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            if "replication role" in reason or "permission denied to start WAL sender" in reason:
                raise CaptureError(
                    f"The role {url.user!r} may not replicate: {_sentence(reason)}",
                    hint=f'Run, as a superuser: ALTER ROLE "{url.user}" REPLICATION;',
                ) from error
            raise failures.unreachable(url.masked, url.database, reason) from error
        return cls(connection, url.masked, beat)

    async def identity(self) -> str:
        """Which log the server writes: another one after a failover or a restore."""
        system, timeline = (await self._one("IDENTIFY_SYSTEM"))[:2]
        return f"{system}-{timeline}"

    async def slot(self, name: str) -> Slot:
        """The state of a slot.

        Raises:
            LostPositionError: It does not exist.
        """
        row = await self._one(
            "SELECT confirmed_flush_lsn - '0/0', wal_status FROM pg_catalog.pg_replication_slots "
            f"WHERE slot_name = '{name}' AND database = pg_catalog.current_database()"
        )
        if row is None:
            raise _lost(f"The replication slot {name} does not exist (any more)")
        invalid = "the server has removed log that it needed" if row[1] == "lost" else ""
        return Slot(int(row[0] or 0), invalid)

    async def start(self, slot: str, publication: str, lsn: int, confirmed: int) -> bool:
        """Begin to stream what was committed at or after an LSN; False if somebody else reads the slot now.

        Raises:
            LostPositionError: The slot is gone, or invalid.
            CaptureError: The server refuses for another reason.
        """
        command = (
            f"START_REPLICATION SLOT {slot} LOGICAL {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X} "
            f"(proto_version '1', publication_names '{publication}', messages 'true')"
        )
        self._flushed = confirmed
        try:
            self._pgconn.send_query(command.encode())
            self._pgconn.flush()
            while self._pgconn.is_busy():
                await self._readable()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
        except psycopg.Error as error:
            raise failures.lost(self._masked_url, str(error)) from error
        if result is not None and result.status == ExecStatus.COPY_BOTH:
            self._timer = asyncio.get_running_loop().call_later(self._beat, self._on_beat)
            return True
        if _state(result) == "55006":
            return False
        raise self._failure(result)

    def poll(self) -> bytes | Keepalive | None:
        """The next message that is here already: one of the output plugin, or a keepalive; None where there is none.

        Raises:
            DatabaseUnavailableError: The connection is broken.
            LostPositionError, CaptureError: The server ended the stream.
        """
        try:
            size, data = self._pgconn.get_copy_data(1)
            if size > 0:
                return self._message(bytes(data))
            if size == 0:
                return None
            result = self._pgconn.get_result()
        except psycopg.Error as error:
            raise failures.lost(self._masked_url, str(error)) from error
        raise self._failure(result)

    async def wait(self) -> None:
        """Wait until the server has sent something.

        Raises:
            DatabaseUnavailableError: The connection is broken, or silent for too long.
        """
        try:
            await self._readable()
            self._pgconn.consume_input()
        except psycopg.Error as error:
            raise failures.lost(self._masked_url, str(error)) from error

    def confirm(self, lsn: int) -> None:
        """What was committed before an LSN need not be kept for us, nor told again."""
        if lsn > self._flushed:
            self._flushed = lsn
            self.report()

    def answer(self) -> None:
        """Answer a keepalive. A server that shuts down asks again at every answer, until all is confirmed: it is
        answered ten times a second.
        """
        if time.monotonic() - self._reported >= 0.1:
            self.report()

    def report(self, *, ask: bool = False) -> None:
        """Tell the server how far we are."""
        self._reported = time.monotonic()
        now = int((time.time() - _EPOCH) * 1_000_000)
        status = _STATUS.pack(b"r", max(self._received, self._flushed), self._flushed, self._flushed, now, ask)
        # A connection that is broken is noticed by who reads.
        with contextlib.suppress(psycopg.Error):
            self._pgconn.put_copy_data(status)
            self._pgconn.flush()

    async def close(self) -> None:
        """Close it; who waits for a message gets DatabaseUnavailableError."""
        if self._timer is not None:
            self._timer.cancel()
        self._give_up("it was closed")
        self._stop_waiting()
        await self._connection.close()

    def _message(self, data: bytes) -> bytes | Keepalive:
        if data[0] == 0x77:  # w
            self._received = max(self._received, _DATA.unpack_from(data, 1)[1])
            return data[1 + _DATA.size :]
        keepalive = Keepalive(*_KEEPALIVE.unpack_from(data, 1))
        self._received = max(self._received, keepalive.lsn)
        return keepalive

    async def _one(self, statement: str) -> Any:
        try:
            cursor = await self._connection.execute(statement)
            return await cursor.fetchone()
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith(_UNAVAILABLE):
                raise failures.lost(self._masked_url, str(error)) from error
            raise CaptureError(f"PostgreSQL refuses {statement.split()[0]}: {_sentence(str(error))}") from error

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._descriptor = self._pgconn.socket
        waiter = self._waiter = loop.create_future()
        # Only while somebody waits: bytes that nobody reads would wake the loop again and again.
        loop.add_reader(self._descriptor, _wake, waiter)
        self._heard = time.monotonic()
        try:
            await waiter
        finally:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        # Before the socket is closed: its number may be another's at once.
        if self._waiter is not None:
            self._waiter = None
            asyncio.get_running_loop().remove_reader(self._descriptor)

    def _on_beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._beat, self._on_beat)
        beats = (time.monotonic() - self._heard) / self._beat
        if self._waiter is None and beats > BUSY_BEATS:
            return
        self.report(ask=True)
        if beats > SILENT_BEATS:
            self._give_up("the server is silent")

    def _give_up(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(failures.lost(self._masked_url, reason))
            self._waiter.exception()  # it is no news where who waited has been cancelled meanwhile

    def _failure(self, result: Any) -> DataFlowError:
        """What a result says that is not the one hoped for."""
        raw = (result.error_message if result is not None else b"") or self._pgconn.error_message
        return _failure(_state(result), raw.decode(errors="replace"), self._masked_url)


def _failure(state: str, reason: str, masked_url: str) -> DataFlowError:
    if not state or state.startswith(_UNAVAILABLE):
        return failures.lost(masked_url, reason or "the server ended the stream")
    gone = state == "42704" and "replication slot" in reason
    if gone or "can no longer get changes" in reason or "requested WAL segment" in reason:
        return _lost(_sentence(reason))
    return CaptureError(f"PostgreSQL ended the stream of changes: {_sentence(reason)}", sqlstate=state)


def _lost(reason: str) -> LostPositionError:
    return LostPositionError(
        f"PostgreSQL cannot tell what was committed since: {_sentence(reason)}",
        hint="Capture begins anew from now on; take a snapshot to tell the rows that changed meanwhile.",
    )


def _state(result: Any) -> str:
    if result is None:
        return ""
    state = result.error_field(DiagnosticField.SQLSTATE)
    return state.decode() if state else ""


def _parameters(url: DatabaseURL, options: DatabaseOptions) -> Mapping[str, Any]:
    parameters: dict[str, Any] = {
        "host": url.options.get("host", url.host),
        "port": url.port,
        "user": url.user,
        "password": url.password,
        "dbname": url.database,
        "target_session_attrs": url.options.get("target_session_attrs"),
        "connect_timeout": max(1, math.ceil(options.connect_timeout)),
        "application_name": options.application_name,
        "client_encoding": "UTF8",
        "gssencmode": "disable",  # as asyncpg, with which the same URL is used
        "options": _SESSION,
        "replication": "database",
        **tls_settings(url, options),
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _sentence(text: str) -> str:
    return f"{' '.join(text.split()).rstrip('.')}."
