"""Firing: starts the jobs of triggers when events come."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.errors import BrokerUnavailableError, DataFlowError, EventError
from dataflow.events.dead_letters import KEPT
from dataflow.events.envelope import Event, decode
from dataflow.events.selection import Selection
from dataflow.events.triggers import Trigger, Triggers
from dataflow.events.triggers.making import reason_of
from dataflow.events.triggers.store import Entry, TriggerStore
from dataflow.jobs import keys
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from scheduler.leader import Leader
from scheduler.scripts import FIRE

logger = logging.getLogger("dataflow.scheduler")

#: Events of a stream that are read in one call.
PAGE = 200
#: Bytes and number of jobs in one call, about: Redis serves nobody else meanwhile.
BATCH_BYTES, BATCH_JOBS = 4 * 1024 * 1024, 500
#: A place before all events.
NOWHERE = "0-0"
#: Seconds that one wait for events lasts before it is renewed.
WAIT = 5.0


@dataclass(slots=True)
class Known:
    """A trigger that was read.

    Attributes:
        trigger: Its declaration.
        selection: Which events it asks for.
        revision: As it was read.
        places: Stream → id of the last event that it has done.
    """

    trigger: Trigger
    selection: Selection
    revision: str
    places: dict[str, str]


@dataclass(slots=True)
class Batch:
    """What one trigger does about some events of a stream.

    Attributes:
        known: The trigger.
        place: Id of the last of them.
        items: Arguments of ``fire.lua``, for each event that it asks for.
        count: How many that are.
    """

    known: Known
    place: str = ""
    items: list[Argument] = field(default_factory=list)
    count: int = 0


class Firing(Service):
    """Lets triggers fire while this scheduler leads.

    It waits for what is new in all streams that triggers name, and in the one that tells of changes of triggers.

    Args:
        link: The connection.
        triggers: The instance's.
        store: Where they are kept.
        leader: Says whether this scheduler leads.
        sync: Brings the code's declarations into Redis; called where Redis has lost them.
    """

    def __init__(
        self,
        link: Link,
        triggers: Triggers,
        store: TriggerStore,
        leader: Leader,
        sync: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._link = link
        self._triggers = triggers
        self._owner = triggers.owner
        self._jobs = triggers.jobs
        self._store = store
        self._leader = leader
        self._sync = sync
        self._known: list[Known] = []
        #: Last entry of the stream that tells of changes; None while what is known must be read.
        self._change: str | None = None
        #: Why a trigger could not be used when it was last read, by name.
        self._broken: dict[str, str] = {}
        #: Removed events that were told of.
        self._told: set[tuple[str, str, str]] = set()
        #: Jobs enqueued so far.
        self.enqueued = 0

    async def run(self) -> None:
        attempt = 0
        while True:
            await self._leader.leads.wait()
            try:
                if self._change is None:
                    await self._learn()
                for stream, entries in await self._read():
                    await self._fire(stream, entries)
                attempt = 0
            except BrokerUnavailableError:
                # What was sent last may have been done, and Redis may be another now.
                self._change = None
                await pause(attempt)
                attempt += 1

    async def _learn(self) -> None:
        """Read all triggers."""
        changes = keys.trigger_changes(self._owner)
        last = await self._link.command("XREVRANGE", changes, "+", "-", "COUNT", 1)
        names = await self._store.names()
        if not names and self._triggers.declared:
            logger.warning("Redis has no triggers of %s any more; the code's are added again.", self._owner)
            await self._sync()
            names = await self._store.names()
        self._known = []
        for entry in await self._store.read_many(names):
            if entry.text("state") == "active" and (known := self._usable(entry)) is not None:
                self._known.append(known)
        self._change = last[0][0].decode() if last else NOWHERE
        await self._look_for_removed({stream for known in self._known for stream in known.places})

    async def _look_for_removed(self, streams: Collection[str]) -> None:
        """Tell of events that are gone before a trigger had done them, as where a paused one made a stream too long."""
        if not streams:
            return
        marks = await self._link.command("HMGET", keys.events_trimmed(self._owner), *streams)
        for stream, mark in zip(streams, marks, strict=True):
            for known in self._known if mark else ():
                place = known.places.get(stream, NOWHERE)
                told = known.trigger.name, stream, mark.decode()
                if place != NOWHERE and _order(place) < _order(mark.decode()) and told not in self._told:
                    self._told.add(told)
                    logger.error(
                        "Trigger %s: events of %s up to %s were removed before it had done them.",
                        known.trigger.name, stream, mark.decode(),
                    )  # fmt: skip

    def _usable(self, entry: Entry) -> Known | None:
        """A trigger as it is used; None where it cannot be, which is logged once."""
        try:
            trigger = self._store.trigger_of(entry)
            selection = self._jobs.selection(trigger)
        except DataFlowError as error:
            reason = reason_of(error)
            if self._broken.get(entry.name) != reason:
                logger.error("Trigger %s cannot fire, and keeps its place until it is mended: %s", entry.name, reason)  # noqa: TRY400
            self._broken[entry.name] = reason
            return None
        self._broken.pop(entry.name, None)
        places = {stream: entry.places[stream] for stream in selection.streams if stream in entry.places}
        return Known(trigger, selection, entry.text("revision"), places)

    async def _read(self) -> list[tuple[str, Sequence[Any]]]:
        """What is new: streams, and entries of each. Waits until there is something."""
        assert self._change is not None
        places: dict[str, str] = {}
        for known in self._known:
            for stream, place in known.places.items():
                places[stream] = min(places.get(stream, place), place, key=_order)
        names = {keys.events(self._owner, stream).encode(): stream for stream in places}
        changes = keys.trigger_changes(self._owner)
        reply = await self._link.command(
            "XREAD", "COUNT", PAGE, "BLOCK", int(WAIT * 1000), "STREAMS", changes, *names, self._change,
            *places.values(), wait=WAIT,
        )  # fmt: skip
        found: list[tuple[str, Sequence[Any]]] = []
        for key, entries in reply or ():
            if key in names:
                found.append((names[key], entries))
            else:
                self._change = None
        # What is known of the triggers is old: their events come again.
        return [] if self._change is None else found

    async def _fire(self, stream: str, entries: Sequence[Any]) -> None:
        """Let all triggers of a stream do these entries."""
        if len(entries) == PAGE:  # it may be that far behind
            await self._look_for_removed([stream])
        batches = [Batch(known) for known in self._known if stream in known.places]
        at, jobs, size = now_text(), 0, 0
        for entry_id, fields in entries:
            place, text = entry_id.decode(), _field(fields, b"event")
            event: Event | EventError
            try:
                event = decode(text, self._jobs.models)
            except EventError as error:
                event = error
            for batch in batches:
                if _order(place) <= _order(batch.known.places[stream]):
                    continue
                batch.place = place
                item = self._item(batch.known, event, stream, place, text, at)
                if item:
                    batch.items += item
                    batch.count += 1
                    jobs += 1
                    size += max(len(part) for part in item if isinstance(part, bytes))
            if jobs >= BATCH_JOBS or size >= BATCH_BYTES:
                await self._send(stream, batches, at)
                batches = [Batch(batch.known) for batch in batches]
                at, jobs, size = now_text(), 0, 0
            if self._change is None:
                return
        await self._send(stream, batches, at)

    def _item(
        self, known: Known, event: Event | EventError, stream: str, place: str, text: bytes, at: str
    ) -> list[Argument]:
        """The part of the arguments of ``fire.lua`` that is about one event; nothing where it is not asked for."""
        trigger = known.trigger
        try:
            if isinstance(event, EventError):
                raise event
            if not known.selection.matches(event):
                return []
            return [place, "job", *self._jobs.arguments(trigger, event, stream, at)[1]]
        except Exception as error:  # whatever is wrong with one, the others go on
            reason = reason_of(error)
            logger.error(  # noqa: TRY400
                "Trigger %s: event %s of %s starts no job, and is a dead letter now: %s",
                trigger.name, place, stream, reason, exc_info=None if isinstance(error, DataFlowError) else error,
            )  # fmt: skip
            return [place, "dead", text, reason]

    async def _send(self, stream: str, batches: Sequence[Batch], at: str) -> None:
        arguments: list[Argument] = [self._owner, at, KEPT]
        sent = [batch for batch in batches if batch.place]
        for batch in sent:
            known = batch.known
            arguments += (
                known.trigger.name, known.revision, stream, known.places[stream], batch.place, batch.count,
                *batch.items,
            )  # fmt: skip
        if not sent:
            return
        for batch, (is_done, *statuses) in zip(sent, await self._link.call(FIRE, arguments), strict=True):
            name = batch.known.trigger.name
            if is_done:
                batch.known.places[stream] = batch.place
                self.enqueued += sum(status not in (b"dead", b"duplicate") for status in statuses)
                if b"duplicate" in statuses:
                    logger.warning("Trigger %s: some events had started a job before; they start no other.", name)
            else:
                logger.debug("Trigger %s was changed, or another scheduler was faster.", name)
                self._change = None


def _order(entry_id: str) -> tuple[int, int]:
    position, _, index = entry_id.partition("-")
    return int(position), int(index)


def _field(fields: Any, name: bytes) -> bytes:
    """A field of an entry, which clients give as a dict or as a list of names and values."""
    pairs: Mapping[bytes, bytes]
    pairs = fields if isinstance(fields, Mapping) else dict(zip(fields[::2], fields[1::2], strict=True))
    return pairs.get(name, b"")
