"""Readers of events: ``db.events`` makes them.

All streams of an instance share one order of ids, so a reader is at one place in all of them, and gives what they hold
in the order in which it was committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from dataflow.errors import EventError, InputError, MissedEventsError, did_you_mean
from dataflow.events.envelope import Event, decode
from dataflow.events.ids import EntryId, epoch_of, id_text, parse_id
from dataflow.events.loops import Looped
from dataflow.events.selection import Selection
from dataflow.events.since import Beginning, Since, beginning, check_since
from dataflow.events.stream_link import Command, StreamLink
from dataflow.jobs import Broker, keys
from dataflow.models import ModelSpec

logger = logging.getLogger("dataflow.events")

#: Events that are asked for at a time, of each stream.
BATCH = 200
#: Seconds that one read waits for events.
BLOCK = 5.0

OnLoss = Literal["raise", "log"]


class Entry(NamedTuple):
    """An entry of a stream, as it was read."""

    id: EntryId
    stream: str
    text: bytes


class EventReader(Looped[Event]):
    """Gives events: ``async for event in reader``, or ``next()``, and ``aclose()`` in the end. It waits for those to
    come, and for a Redis that is away.

    Args:
        owner: Name of the instance.
        broker: Where the streams are.
        models: Model name → ModelSpec.
        selection: Which events.
        since: Where to begin.
        on_loss: What becomes of it when events are gone that it had yet to read, or an entry is no event.

    Raises:
        InputError: ``since`` or ``on_loss`` is wrong.
    """

    def __init__(
        self,
        owner: str,
        broker: Broker,
        models: Mapping[str, ModelSpec],
        selection: Selection,
        *,
        since: Since = None,
        on_loss: OnLoss = "raise",
    ) -> None:
        check_since(since)
        if on_loss not in ("raise", "log"):
            raise InputError(f"on_loss is {on_loss!r}.", hint=did_you_mean(str(on_loss), ("raise", "log")))
        self.owner = owner
        self.selection = selection
        self._broker = broker
        self._models = models
        self._since = since
        self._on_loss = on_loss
        self._link = StreamLink(broker)
        #: What was read and not given yet.
        self._ready: deque[Entry] = deque()
        self._epoch = 0

    async def next(self) -> Event:
        """The next event; waits until there is one.

        Raises:
            MissedEventsError: Events are gone that were not read. The next call goes on behind them.
            EventError: An entry is no event, or one of a later version. The next call goes on behind it.
            BrokerUnavailableError: Redis cannot be reached, at the first call; later ones wait for it.
        """
        return await super().next()

    async def done(self) -> None:
        """Say that the event that was given last is done: for who breaks off a loop, where a group reads."""

    async def aclose(self) -> None:
        """Disconnect. The reader goes on where it was, when it is used again."""
        await self._link.close()

    def _key(self, stream: str) -> str:
        return keys.events(self.owner, stream)

    def _entries(self, reply: Any) -> list[Entry]:
        """What XREAD and XREADGROUP gave, in the order of ids."""
        names = {self._key(name).encode(): name for name in self.selection.streams}
        pairs = reply.items() if isinstance(reply, dict) else reply or ()
        return sorted(
            Entry(parse_id(entry_id), names[key], (fields or {}).get(b"event", b""))
            for key, entries in pairs
            for entry_id, fields in entries
        )

    def _check_epoch(self, entry: Entry) -> None:
        """Tell of a log that is another one than that of the event before."""
        before, self._epoch = self._epoch, max(self._epoch, epoch_of(entry.id))
        if before and before < self._epoch:
            self._missed(
                entry.stream,
                f"The log of the database was replaced: events of epoch {self._epoch} follow upon those of {before}, "
                "and changes in between may have no event.",
                "The log of capture says why. A snapshot brings all rows: dataflow capture --snapshot MODEL.",
            )

    def _missed(self, stream: str, problem: str, hint: str) -> None:
        error = MissedEventsError(f"{problem} ({self.owner}, {stream})", hint=hint, stream=stream)
        if self._on_loss == "raise":
            raise error
        logger.error("%s", error)


class FollowingReader(EventReader):
    """Reads by itself; where it is, it alone knows."""

    #: The id of the last entry that was read; None before the first read.
    place: EntryId | None = None
    _moment: datetime | None = None
    #: Stream → id of the last removed event that was told; None where the first look need not tell of any.
    _told: dict[str, EntryId] | None = None

    async def _next(self) -> Event:
        """See EventReader."""
        while True:
            event = self._next_ready()
            if event is not None:
                return event
            await self._fill(BLOCK)

    async def take(self, limit: int, wait: float) -> list[Event]:
        """Events that are there, or come within some seconds.

        Args:
            limit: At most so many.
            wait: Seconds to wait for the first; 0 takes what is there.

        Raises:
            as ``next`` does.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        taken: list[Event] = []
        while len(taken) < limit:
            event = self._next_ready()
            if event is not None:
                taken.append(event)
                continue
            left = 0.0 if taken else max(0.0, deadline - loop.time())
            if not await self._fill(min(left, BLOCK)) and left == 0.0:
                break
        return taken

    def _next_ready(self) -> Event | None:
        while self._ready:
            entry = self._ready[0]
            self._check_epoch(entry)
            self._ready.popleft()
            self.place = entry.id
            try:
                event = decode(entry.text, self._models)
            except EventError as error:
                if self._on_loss == "raise":
                    raise
                logger.error("%s (%s, %s, %s)", error, self.owner, entry.stream, id_text(entry.id))  # noqa: TRY400
                continue
            if (self._moment is None or event.ts >= self._moment) and self.selection.matches(event):
                return event
        return None

    async def begin(self) -> None:
        """Find out where to begin, unless it has begun."""
        if self.place is None:
            self._start(await beginning(self._link, self.owner, self.selection.streams, self._since))

    def _start(self, first: Beginning) -> None:
        self.place, self._moment = first.after, first.moment
        self._epoch = epoch_of(first.after)
        self._told = {} if first.misses else None

    async def _fill(self, wait: float) -> bool:
        """Read on; whether there was something."""
        await self.begin()
        assert self.place is not None
        streams = self.selection.streams
        waits: Command = ("BLOCK", max(1, int(wait * 1000))) if wait > 0 else ()
        places = [id_text(self.place)] * len(streams)
        removed, reply = await self._link.insist(
            ("HMGET", keys.events_trimmed(self.owner), *streams),
            ("XREAD", "COUNT", BATCH, *waits, "STREAMS", *map(self._key, streams), *places),
            blocks=wait,
        )
        found = self._entries(reply)
        counts: dict[str, list[Entry]] = {}
        for entry in found:
            counts.setdefault(entry.stream, []).append(entry)
        # Of a stream that gave all it was asked for there may be more: what is behind it in others has to wait.
        horizon = min((entries[-1].id for entries in counts.values() if len(entries) >= BATCH), default=None)
        self._ready.extend(entry for entry in found if horizon is None or entry.id <= horizon)
        self._check_removed({name: parse_id(last) for name, last in zip(streams, removed, strict=True) if last})
        return bool(found)

    def _check_removed(self, lasts: dict[str, EntryId]) -> None:
        assert self.place is not None
        told, self._told = self._told, lasts
        if told is None:
            return
        missed = [name for name, last in lasts.items() if last > max(self.place, told.get(name, self.place))]
        if missed:
            self._missed(
                ", ".join(missed),
                f"Events after {id_text(self.place)} were removed before they were read.",
                "Read faster, or keep them for longer: dataflow capture --max-age, --max-length. A group, or a node "
                "that reads under a name, is waited for.",
            )
