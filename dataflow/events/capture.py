"""Capture: a source of changes is read, and each change becomes one entry of a stream, once.

::

    source ──chunks──▶ queue ──batch──▶ one script: entries + how far we are ──2 s later──▶ acknowledged to the source

Entry ids are made of positions in the database's log, so what is read again after a crash is refused by Redis. What
Redis could lose with its last second (``appendfsync everysec``) is not acknowledged to the source yet, and is read
again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta

from dataflow.databases.interface import Database
from dataflow.errors import (
    BreakerOpenError,
    BrokerUnavailableError,
    CaptureError,
    DatabaseError,
    DatabaseUnavailableError,
    FencedError,
    LostPositionError,
    PoolTimeoutError,
    TransientDatabaseError,
)
from dataflow.events.entries import EntryMaker
from dataflow.events.envelope import milliseconds
from dataflow.events.publisher import LOCK_SECONDS, Entry, Publisher
from dataflow.events.snapshot import Snapshots
from dataflow.events.sources.interface import Chunk, Place, Source
from dataflow.events.tables import ensure_tables, read_note, remove_messages, write_note
from dataflow.events.trimming import Trimmer
from dataflow.jobs import Broker
from dataflow.jobs.scripts import Argument
from dataflow.models import ModelSpec

logger = logging.getLogger("dataflow.events")

#: Events sent to Redis by one script at most.
BATCH = 500
#: Changes that are read ahead of them.
_AHEAD = 2 * BATCH
#: Bytes of them, roughly.
_BATCH_BYTES = 1_000_000
#: Seconds that an event must have been in Redis before the database may forget it.
ACK_AFTER = 2.0
#: Seconds between two looks for tables that were made meanwhile.
PREPARE_EVERY = 5.0
#: Seconds that a message stays in the outbox where the log tells it.
_MESSAGE_SECONDS = 60.0
#: Seconds to wait after a failure: the first time, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_LAST_EPOCH = 255

#: What passes by itself: a server that is away, or busy.
_PASSING = (
    BrokerUnavailableError,
    DatabaseUnavailableError,
    TransientDatabaseError,
    PoolTimeoutError,
    BreakerOpenError,
    ConnectionError,
    FencedError,
)


class Capture:
    """Publishes the changes of one instance; any number of processes may run it, one at a time works.

    Args:
        source: Where changes come from.
        database: The database they are made in.
        broker: Where they go.
        models: Whose changes they are.
        owner: Name of the instance.
        may_create: Whether the tables that capture needs may be created.
        ack_after: Seconds that an event must have been in Redis before the database may forget it. Less than a second
            only where Redis writes every command to disk (``appendfsync always``).
        lock_seconds: Seconds after which another process takes over from one that died.
        trimmer: What removes old events.
        prepare_every: Seconds between two looks for tables that were made meanwhile, or made anew.
        others: Sources by other mechanisms, one of which may have captured before.

    Attributes:
        published: Events that this process appended.
        working: Set while it captures; clear while it waits for another process, or for a server.
    """

    def __init__(
        self,
        source: Source,
        database: Database,
        broker: Broker,
        models: Sequence[ModelSpec],
        owner: str,
        *,
        may_create: bool = True,
        ack_after: float = ACK_AFTER,
        lock_seconds: float = LOCK_SECONDS,
        trimmer: Trimmer | None = None,
        prepare_every: float = PREPARE_EVERY,
        others: Sequence[Source] = (),
    ) -> None:
        self.source = source
        self.published = 0
        self.working = asyncio.Event()
        self._database = database
        self._entries = EntryMaker(owner, database.dialect.value, source.mechanism, models)
        self._publisher = Publisher(broker, owner, lock_seconds=lock_seconds)
        self._may_create = may_create
        self._ack_after = ack_after
        self._prepare_every = prepare_every
        self._others = others
        self._trimmer = trimmer or Trimmer()
        self._snapshots = Snapshots(source, database, models, self._publisher)
        #: Why the source's log can't be read on from where Redis stands.
        self._lost: str | None = None
        self._unacknowledged: deque[tuple[float, int]] = deque()
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue()
        #: Changes in the queue, and whether it takes more.
        self._queued = 0
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, as a task; one that ends by itself has failed."""
        self._task = asyncio.create_task(self.run(), name="Capture")

    async def stop(self) -> None:
        """End in good order; another process may take over at once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task of ``start()``."""
        return self._task

    async def run(self) -> None:
        """Capture until cancelled. Outages of either server are waited for.

        Raises:
            CaptureError: The mechanism does not work, and why.
            MissingTableError: A table that it needs is missing and may not be created.
        """
        pause = _FIRST_PAUSE
        try:
            while True:
                began = time.monotonic()
                try:
                    await self._until_ours()
                    await _all_or_none((self._renew, self._run_once))
                except LostPositionError as error:
                    logger.error("%s Events between are lost; the rows come back by a snapshot.", error)  # noqa: TRY400
                    self._lost = str(error)
                except _PASSING as error:
                    if time.monotonic() > began + _LONGEST_PAUSE:
                        pause = _FIRST_PAUSE
                    logger.warning("Capture of %s pauses for %.1f s: %s", self._publisher.owner, pause, error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self.working.clear()
            await self._close()

    async def _close(self) -> None:
        with suppress(BrokerUnavailableError):
            await self._publisher.release()
        await self._publisher.close()
        for source in (self.source, *self._others):
            await source.close()

    async def _until_ours(self) -> None:
        """Wait until no other process captures."""
        told = False
        while not await self._publisher.acquire():
            if not told:
                told = True
                logger.info("Another process captures the changes of %s; standing by.", self._publisher.owner)
            await asyncio.sleep(self._publisher.lock_seconds / 10)

    async def _run_once(self) -> None:
        """Capture until something fails, while the right to publish is ours."""
        after = await self._begin()
        self._queue, self._queued = asyncio.Queue(), 0
        self._room.set()
        self._unacknowledged.clear()
        tasks = (
            lambda: self._read(after),
            self._publish,
            self._acknowledge,
            self._snapshots.run,
            lambda: self._trimmer.run(self._publisher),
            self._look_after_database,
        )
        try:
            await _all_or_none(tasks)
        finally:
            self.working.clear()

    async def _begin(self) -> Place | None:
        """Find out where to go on from."""
        await ensure_tables(self._database, may_create=self._may_create)
        await self.source.prepare()
        identity, mechanism = await self.source.identity(), self.source.mechanism
        state = await self._publisher.begin()
        note_name = f"incarnation:{self._publisher.owner}"
        note = await read_note(self._database, self._database.dialect, note_name)
        incarnation, _, noted_epoch = (note or "").partition(":")
        same = state is not None and state.incarnation == incarnation
        reason = self._lost
        if reason is None and note and not same:
            reason = "Redis has lost the streams, or holds those of another database."
        elif reason is None and state is not None and not note:
            reason = "The database is not the one that was captured before."
        elif reason is None and state is not None and (state.identity, state.mechanism) != (identity, mechanism):
            reason = f"The log is another one: {mechanism} {identity}, before {state.mechanism} {state.identity}."
        self._lost = None
        if state is not None and reason is None:
            self._entries.epoch = state.epoch
            logger.info("Capture of %s goes on by %s.", self._publisher.owner, mechanism)
            return state.place
        epoch = 1 + max(int(noted_epoch or 0), state.epoch if state is not None else 0)
        if epoch > _LAST_EPOCH:
            raise CaptureError("The log was replaced more often than entry ids can count.", hint="Delete the streams.")
        if reason is not None:
            logger.error(
                "%s Events of epoch %d follow; changes may be missing before them. Ask for a snapshot: dataflow "
                "capture --snapshot MODEL.", reason, epoch,
            )  # fmt: skip
        fresh = secrets.token_hex(8)
        if not await self._publisher.renew():  # who has lost the right must not change the note of who has it
            raise self._fenced()
        await write_note(self._database, self._database.dialect, note_name, f"{fresh}:{epoch}")
        self._entries.epoch = epoch
        fields: dict[str, Argument] = {
            "epoch": epoch,
            "identity": identity,
            "mechanism": mechanism,
            "incarnation": fresh,
            "reason": reason or "",
            "position": "",
            "index": "",
        }
        await self._publisher.publish((), fields)
        await self._leave_others()
        return None

    async def _leave_others(self) -> None:
        """What the mechanism before has made would grow without end: a log that is kept, an outbox that is filled."""
        for source in self._others:
            try:
                await source.leave()
            except (DatabaseError, CaptureError) as error:
                logger.warning("What %s made cannot be removed: %s", source.mechanism, error)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._publisher.lock_seconds / 4)
            if not await self._publisher.renew():
                raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(f"Another process captures the changes of {self._publisher.owner!r} now.")

    async def _read(self, after: Place | None) -> None:
        async with aclosing(self.source.chunks(after)) as chunks:
            self.working.set()
            logger.info("Changes of %s are captured from here on.", self._publisher.owner)
            async for chunk in chunks:
                self._put(chunk)
                await self._room.wait()
        raise CaptureError(f"{self.source.mechanism} ended by itself.")

    def _put(self, chunk: Chunk) -> None:
        """Chunks differ in size: what the queue takes is counted in changes, so that memory stays constant."""
        self._queue.put_nowait(chunk)
        self._queued += 1 + len(chunk.changes)
        if self._queued >= _AHEAD:
            self._room.clear()

    def _taken(self, chunk: Chunk) -> Chunk:
        self._queued -= 1 + len(chunk.changes)
        if self._queued < _AHEAD:
            self._room.set()
        return chunk

    async def _publish(self) -> None:
        while True:
            chunk = self._taken(await self._queue.get())
            batch = [chunk]
            entries: list[Entry] = []
            done: list[int] = []
            read_at, size = datetime.now(UTC), 0
            while True:
                fresh, fields = self._entries_of(chunk, read_at)
                entries += fresh
                size += sum(len(entry.text) for entry in fresh)
                if chunk.last:
                    done.append(chunk.position)
                if fields or len(entries) >= BATCH or size > _BATCH_BYTES or self._queue.empty():
                    break
                chunk = self._taken(self._queue.get_nowait())
                batch.append(chunk)
            last = Place(chunk.position, max(chunk.first + len(chunk.changes) - 1, 0))
            if fields:
                last = Place(chunk.position, chunk.first + len(fresh))
            self.published += await self._publisher.publish(entries, {**self._progress(chunk, last, entries), **fields})
            for one in batch:
                self._snapshots.published(one)
            now = time.monotonic()
            self._unacknowledged.extend((now, position) for position in done[-1:])

    def _progress(self, chunk: Chunk, last: Place, entries: Sequence[Entry]) -> dict[str, Argument]:
        now = time.time_ns() // 1_000_000
        fields: dict[str, Argument] = {"position": last.position, "index": last.index, "seen_ms": now}
        if entries:
            committed = milliseconds(chunk.committed_at)
            fields |= {"committed_ms": committed, "published_ms": now, "lag_ms": max(0, now - committed)}
        return fields

    def _entries_of(self, chunk: Chunk, read_at: datetime) -> tuple[list[Entry], dict[str, str]]:
        """The entries of a chunk, and fields of the capture hash that go with them: of a snapshot that it completes."""
        entries = []
        for index, change in enumerate(chunk.changes, chunk.first):
            self._snapshots.saw(change)
            entries.append(self._entries.make(chunk, change, index, read_at))
        rows, fields = self._snapshots.reached(chunk)
        index = chunk.first + len(chunk.changes)
        entries += [
            self._entries.make(chunk, change, number, read_at, snapshot=True)
            for number, change in enumerate(rows, index)
        ]
        return entries, fields

    async def _acknowledge(self) -> None:
        """Tell the source what need not be kept any more."""
        while True:
            await asyncio.sleep(self._ack_after / 4)
            position = None
            while self._unacknowledged and self._unacknowledged[0][0] <= time.monotonic() - self._ack_after:
                position = self._unacknowledged.popleft()[1]
            if position is not None:
                await self.source.acknowledge(position)

    async def _look_after_database(self) -> None:
        """Prepare for tables that are made while capture runs, and clear the outbox of what a log has told."""
        await self._publisher.seen()
        while True:
            await asyncio.sleep(self._prepare_every)
            try:
                await self.source.prepare()
                if self.source.mechanism != "outbox":
                    before = datetime.now(UTC) - timedelta(seconds=_MESSAGE_SECONDS)
                    await remove_messages(self._database, milliseconds(before))
                await self._publisher.seen()
            except (DatabaseError, CaptureError) as error:
                logger.warning("Tables that are new may not be captured yet: %s", error)


async def _all_or_none(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all until one fails; its error."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [error for error in results if isinstance(error, Exception)]
    # One that does not pass tells more than the outage beside it.
    raise min(errors, key=lambda error: isinstance(error, _PASSING))
