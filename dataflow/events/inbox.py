"""Inbox: effects that happen once for each event, without jobs: effect and place are committed together.

A consumer's place is a row of ``dataflow_inbox``. The row is locked and moved by the transaction that the effects of an
event are in, before the event is given to anybody: either both are committed, or the event comes again. Where several
processes read for one consumer, the lock lets one of them work, and the next sees by the row what was done.

==========  ==================================================================================================
column      value
==========  ==================================================================================================
consumer    name of the instance, a colon, name of the consumer
last_id     id of the last event that it has done, in all streams: they share one order
==========  ==================================================================================================
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import sqlalchemy as sa

from dataflow.databases.interface import Database, Dialect, Executor
from dataflow.errors import BrokerUnavailableError, EventError, InputError
from dataflow.events.dead_letters import DeadLetters, letter_fields
from dataflow.events.envelope import Event, Op, encode
from dataflow.events.ids import EntryId, id_text, parse_id
from dataflow.events.loops import Looped
from dataflow.events.reading import FollowingReader, OnLoss
from dataflow.events.selection import MESSAGE, Selection
from dataflow.events.since import Since
from dataflow.events.tables import ensure_tables, marked
from dataflow.jobs import Broker, keys
from dataflow.models import ModelSpec
from dataflow.nodes.generated.transaction import NodeTransaction
from dataflow.resilience.classes import is_transient
from dataflow.settings import Settings

logger = logging.getLogger("dataflow.events")

TABLE = "dataflow_inbox"
#: Seconds between two notes of how far a consumer is, in the database where nothing came for it, and for the trimmer.
NOTE_SECONDS = 5.0

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Instance(Protocol):
    """What an inbox needs of a DataFlow instance."""

    name: str
    settings: Settings
    database: Database

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
        ...

    @property
    def broker(self) -> Broker:
        """Where its streams are."""
        ...

    @property
    def dead_events(self) -> DeadLetters:
        """What could not be done."""
        ...

    def transaction(self, *, tenant_id: str | None = None) -> NodeTransaction:
        """Nodes that commit together."""
        ...


class Delivery:
    """One event for a consumer; ``async with delivery as transaction`` does it.

    The event is done when the block ends well, and comes again when it raises. One whose block is not entered is done
    without effects.

    Attributes:
        event: The event.
        attempt: How often this process was given it, from 1.
    """

    def __init__(self, event: Event, attempt: int, transaction: NodeTransaction, inbox: Inbox) -> None:
        self.event = event
        self.attempt = attempt
        self._transaction = transaction
        self._inbox = inbox
        self.state = "offered"

    async def __aenter__(self) -> NodeTransaction:
        """The transaction for its effects, about the event's tenant; as ``db.transaction()`` gives it.

        Raises:
            EventError: It was entered before.
        """
        if self.state != "offered":
            raise EventError("A delivery is entered once.", hint="Ask for the next: one that failed comes again.")
        self.state = "entered"
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.state = "failed"
        await self._transaction.__aexit__(kind, error, trace)
        if error is None:
            self.state = "done"

    async def undo(self) -> None:
        """Give up the transaction; the event comes again."""
        self.state = "failed"
        unwanted = EventError("The event was not wanted now.")
        await self._transaction.__aexit__(type(unwanted), unwanted, None)

    async def park(self, reason: str) -> None:
        """Put the event among the dead letters, and go on without it. Called instead of entering its block.

        Raises:
            EventError: Its block was entered.
            BrokerUnavailableError: The broker cannot be reached.
        """
        if self.state != "offered":
            raise EventError("A delivery is parked instead of being entered.", hint="Park it when it comes again.")
        await self._inbox.park(self.event, reason)


class Inbox(Looped[Delivery]):
    """The events for one consumer, one by one, each with the transaction for its effects; ``db.inbox`` makes it.

    Args:
        app: The instance.
        consumer: Its name; letters, digits, ``_`` and ``-``.
        selection: Which events.
        since: Where a consumer begins that is new.
        on_loss: What becomes of it when events are gone that it had yet to read.

    Raises:
        InputError: The name, ``since`` or ``on_loss`` is wrong.
    """

    def __init__(
        self,
        app: Instance,
        consumer: str,
        selection: Selection,
        *,
        since: Since = None,
        on_loss: OnLoss = "raise",
    ) -> None:
        if not isinstance(consumer, str) or not _NAME.fullmatch(consumer):
            raise InputError(f"A consumer is named by 1 to 100 letters, digits, '_' and '-', not {consumer!r}.")
        self._app = app
        self._name = f"inbox:{consumer}"
        self._key = f"{app.name}:{consumer}"
        self._selection = selection
        self._on_loss = on_loss
        self._reader = self._reading(since)
        self._begun = False
        #: What was read and is not known to be done: whoever stops waiting in the middle must not lose it.
        self._event: Event | None = None
        self._attempt = 1
        self._current: Delivery | None = None
        #: What the database has as the place, and when that was told to the trimmer.
        self._done: EntryId = (0, 0)
        self._told_at = 0.0

    async def aclose(self) -> None:
        """Disconnect. An event whose block was not entered comes again."""
        if self._current is not None and self._current.state == "offered":
            await self._current.undo()
        await self._reader.aclose()

    async def next(self) -> Delivery:
        """The next event; waits until there is one.

        Raises:
            MissedEventsError: Events are gone that were not read. The next call goes on behind them.
            EventError: An entry is no event; or the block of the delivery before has not ended.
            MissingTableError: The inbox's table is missing and may not be created.
            BrokerUnavailableError: Redis cannot be reached, at the first call; later ones wait for it.
            DatabaseError: Its table cannot be used. A database that is away is waited for.
        """
        return await super().next()

    async def _next(self) -> Delivery:
        if not self._begun:
            await self._begin()
        await self._settle()
        while True:
            await self._tell()
            if self._event is None:
                self._event, self._attempt = await self._reader.next_within(NOTE_SECONDS), 1
            if self._event is None:
                await self._note_place()
            elif parse_id(self._event.id) > self._done and (found := await self._offered(self._event)):
                self._current = found
                return found
            else:
                self._event = None

    async def park(self, event: Event, reason: str) -> None:
        """Put an event among the dead letters; errors as of ``Delivery.park``."""
        spec = self._app.models.get(event.source.model) if event.source.model else None
        stream = f"{MESSAGE if event.op is Op.MESSAGE else ''}{event.source.table}"
        fields = letter_fields(stream, event.id, encode(event, spec), self._name, reason, 1)
        await self._app.dead_events.add(fields)

    def _reading(self, since: Since) -> _Reader:
        app = self._app
        return _Reader(app.name, app.broker, app.models, self._selection, since=since, on_loss=self._on_loss)

    async def _begin(self) -> None:
        """Go on where the consumer was; one that is new has a place from now on."""
        app = self._app
        capabilities = await app.database.capabilities()
        table = _table(capabilities.text_collation)
        await ensure_tables(app.database, may_create=app.settings.may_create_tables, tables=[table])
        place = await self._place(app.database)
        if place is None:
            await self._reader.begin()
            assert self._reader.place is not None
            place = await self._first_place(self._reader.place)
        if place != self._reader.place:
            await self._reader.aclose()
            self._reader = self._reading(id_text(place))
        self._done = place
        self._begun = True

    async def _place(self, executor: Executor, *, lock: bool = False) -> EntryId | None:
        wait = " FOR UPDATE" if lock and self._app.database.dialect is not Dialect.SQLITE else ""
        row = await executor.fetch_one(self._sql(f"SELECT last_id FROM {TABLE} WHERE consumer = ?{wait}"), (self._key,))
        return None if row is None else parse_id(row[0])

    async def _first_place(self, place: EntryId) -> EntryId:
        """The place that a new consumer was given first: this one, or by another process."""
        ignore, skip = (
            ("IGNORE ", "") if self._app.database.dialect is Dialect.MYSQL else ("", " ON CONFLICT DO NOTHING")
        )
        insert = f"INSERT {ignore}INTO {TABLE} (consumer, last_id) VALUES (?, ?){skip}"
        await self._app.database.execute(self._sql(insert), (self._key, id_text(place)))
        return await self._place(self._app.database) or place

    async def _moved(self, executor: Executor, place: EntryId) -> bool:
        """Lock the row, and move it on; whether it was before that place.

        Raises:
            EventError: It is not there.
        """
        found = await self._place(executor, lock=True)
        if found is None:
            raise EventError(f"The consumer {self._key} is not in {TABLE} any more.", hint="Somebody deleted its row.")
        if found >= place:
            self._done = found
            return False
        await executor.execute(
            self._sql(f"UPDATE {TABLE} SET last_id = ? WHERE consumer = ?"), (id_text(place), self._key)
        )
        return True

    async def _offered(self, event: Event) -> Delivery | None:
        """An event with its transaction; None where another process has done it."""
        tries = 0
        while True:
            transaction = self._app.transaction(tenant_id=event.source.tenant)
            try:
                await transaction.__aenter__()
                try:
                    if await self._moved(transaction.executor, parse_id(event.id)):
                        return Delivery(event, self._attempt, transaction, self)
                except BaseException as error:
                    await transaction.__aexit__(type(error), error, None)
                    raise
                await transaction.__aexit__(None, None, None)
            except Exception as error:
                if not is_transient(error):
                    raise
                logger.warning("The consumer %s waits for its database: %s", self._key, error)
                await _pause(tries)
                tries += 1
            else:
                return None

    async def _settle(self) -> None:
        """Find out what became of the delivery before.

        Raises:
            EventError: Its block has not ended.
        """
        current = self._current
        if current is None:
            return
        if current.state == "entered":
            raise EventError("The block of the delivery before has not ended.", hint="Ask for the next behind it.")
        self._current = None
        if current.state == "offered":
            async with current:
                pass
        if current.state == "done":
            self._done, self._event = parse_id(current.event.id), None
            return
        logger.warning("The consumer %s has failed with event %s, which comes again.", self._key, current.event.id)
        self._attempt += 1
        await _pause(current.attempt - 1)

    async def _note_place(self) -> None:
        """Move the row on past what was not asked for."""
        place = self._reader.place
        if place is None or place <= self._done:
            return
        try:
            async with self._app.database.transaction() as transaction:
                await self._moved(transaction, place)
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("The consumer %s waits for its database: %s", self._key, error)
        else:
            self._done = max(self._done, place)

    async def _tell(self) -> None:
        """Tell the trimmer, now and then, what is done."""
        now = asyncio.get_running_loop().time()
        if now < self._told_at + NOTE_SECONDS:
            return
        self._told_at = now
        try:
            client = await self._app.broker.client()
            async with self._app.broker.errors():
                for stream in self._selection.streams:
                    cursors = keys.event_cursors(self._app.name, stream)
                    await client.hset(cursors, self._name, id_text(self._done))
        except BrokerUnavailableError as error:
            logger.warning("How far the consumer %s is could not be told: %s", self._key, error)

    def _sql(self, statement: str) -> str:
        return marked(self._app.database.dialect, statement)


class _Reader(FollowingReader):
    async def next_within(self, seconds: float) -> Event | None:
        """The next event; None where none comes within some seconds. Errors as of ``next``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            event = self._next_ready()
            if event is not None:
                return event
            left = deadline - loop.time()
            if left <= 0:
                return None
            await self._fill(left)


async def _pause(attempt: int) -> None:
    from dataflow.services.link import pause

    await pause(min(attempt, 10))


def _table(collation: str) -> sa.Table:
    return sa.Table(
        TABLE,
        sa.MetaData(),
        sa.Column("consumer", sa.String(200, collation=collation), primary_key=True),
        sa.Column("last_id", sa.String(50), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
