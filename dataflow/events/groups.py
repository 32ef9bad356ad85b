"""GroupReader: processes that share the events of a group; each event is given to one of them until it is done.

It is a Redis consumer group on each stream. An event is done when the process asks for the next one. What a process
is at stays its own while it lives, however long it takes; when it has said nothing for the idle time, others take over
what it held, one event at a time, so that one that kills its process is told from those beside it. After some
deliveries an event is moved to the dead letters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from dataflow.errors import BrokerUnavailableError, EventError, InputError
from dataflow.events.dead_letters import DeadLetters, letter_fields
from dataflow.events.envelope import Event, decode
from dataflow.events.ids import START, epoch_of, id_text, parse_id
from dataflow.events.reading import BLOCK, Entry, EventReader, OnLoss
from dataflow.events.selection import Selection
from dataflow.events.since import Since, beginning
from dataflow.events.stream_link import Command
from dataflow.jobs import Broker, keys
from dataflow.jobs.scripts import Argument, Script
from dataflow.models import ModelSpec

logger = logging.getLogger("dataflow.events")

_LUA = Path(__file__).parent / "lua"
_HOLD = Script(_LUA / "hold.lua")
_LEAVE = Script(_LUA / "leave.lua")
#: Seconds after which a consumer that has nothing in hand is forgotten.
_GONE = 3_600.0
#: Events of each stream that a process gets at a time, where it did those before within so many seconds.
_AT_ONCE = 16
_QUICK = 0.01


class GroupReader(EventReader):
    """One process of a group.

    Args:
        owner: Name of the instance.
        broker: Where the streams are.
        models: Model name → ModelSpec.
        selection: Which events; what it does not take is done at once.
        group: Name of the group.
        since: Where the group begins where it is new; one that is there goes on where it is.
        idle: Seconds of silence after which what a process holds is taken over.
        attempts: Deliveries of an event before it is moved to the dead letters.
        on_loss: What becomes of it when events are gone that it had yet to read.

    Raises:
        InputError: An argument is wrong.
    """

    def __init__(
        self,
        owner: str,
        broker: Broker,
        models: Mapping[str, ModelSpec],
        selection: Selection,
        group: str,
        *,
        since: Since = None,
        idle: float = 60.0,
        attempts: int = 5,
        on_loss: OnLoss = "raise",
    ) -> None:
        super().__init__(owner, broker, models, selection, since=since, on_loss=on_loss)
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", group):
            raise InputError(
                f"A group is not called {group!r}.", hint="Up to 100 letters, digits, '_', '.' and '-'.", group=group
            )
        if not (idle > 0 and attempts > 0):
            raise InputError(f"idle is {idle!r} and attempts {attempts!r}; both are positive.")
        self.group = group
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._idle_ms = max(1, int(idle * 1000))
        self._attempts = attempts
        self._dead = DeadLetters(broker, owner)
        self._open = False
        #: What was given last, and is not done.
        self._given: Entry | None = None
        #: What is done, and Redis does not know it yet.
        self._done: list[Entry] = []
        self._count = 1
        self._filled_at = 0.0
        #: The last entry that was read.
        self._place = START
        self._look_at = 0.0
        self._holding: asyncio.Task[None] | None = None

    async def _next(self) -> Event:
        """See EventReader."""
        from redis.exceptions import ResponseError

        while True:
            if not self._open:
                await self._begin()
            while self._ready:
                entry = self._ready[0]
                self._check_epoch(entry)
                self._ready.popleft()
                self._place = max(self._place, entry.id)
                event = await self._decoded(entry)
                if event is None:
                    continue
                self._finish()
                self._given = entry
                if self.selection.matches(event):
                    return event
            try:
                await self._fill()
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._lost_group()

    async def done(self) -> None:
        """See EventReader."""
        self._finish()
        if self._done:
            await self._link.insist(*self._acks())
            self._done.clear()

    def _finish(self) -> None:
        """What was given is done."""
        if self._given is not None:
            self._done.append(self._given)
            self._given = None

    async def aclose(self) -> None:
        """Disconnect. What was read and not given goes to others at once; what was given last and is not done, once
        its idle time is over.
        """
        if self._holding is not None:
            self._holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._holding
            self._holding = None
        rest = list(self._ready)
        self._ready.clear()
        self._given = None
        with contextlib.suppress(BrokerUnavailableError):
            if self._done:
                await self._link.send(*self._acks())
                self._done.clear()
            await self._hold(rest, self._idle_ms)
            if self._open:
                await self._leave(self.consumer)
        self._open = False
        await super().aclose()

    async def _begin(self) -> None:
        """Make the group where it is new, and forget processes that are gone."""
        from redis.exceptions import ResponseError

        streams = self.selection.streams
        first = await beginning(self._link, self.owner, streams, self._since)
        for stream in streams:
            with contextlib.suppress(ResponseError):  # it is there
                await self._link.send(
                    ("XGROUP CREATE", self._key(stream), self.group, id_text(first.after), "MKSTREAM")
                )
        for stream in streams:
            groups, consumers = await self._link.send(
                ("XINFO GROUPS", self._key(stream)), ("XINFO CONSUMERS", self._key(stream), self.group)
            )
            for group in groups:
                if group["name"] == self.group.encode():
                    self._place = max(self._place, parse_id(group["last-delivered-id"]))
            for one in consumers:
                if not one["pending"] and one["idle"] > _GONE * 1000:
                    await self._leave(one["name"].decode())
        self._epoch = epoch_of(self._place)
        self._open = True
        self._holding = asyncio.create_task(self._keep_holding(), name=f"events-{self.group}")

    async def _lost_group(self) -> None:
        """Redis has lost the group, or somebody removed it: begin anew after what was read last."""
        self._since = id_text(self._place)
        self._open = False
        await self.aclose()
        self._missed(
            ", ".join(self.selection.streams), f"Redis does not know the group {self.group} any more.",
            f"It is made anew, after the event {self._since}.",
        )  # fmt: skip

    def _acks(self) -> list[Command]:
        return [("XACK", self._key(one.stream), self.group, id_text(one.id)) for one in self._done]

    async def _fill(self) -> None:
        """Read on, or take over; what was given is done."""
        loop = asyncio.get_running_loop()
        streams = self.selection.streams
        missed = ("HMGET", keys.events_trimmed(self.owner), *(f"{name} group:{self.group}" for name in streams))
        self._finish()
        acks = self._acks()
        # Who is quick gets several at a time; who is not leaves them to others.
        if acks:
            self._count = min(2 * self._count, _AT_ONCE) if loop.time() - self._filled_at < _QUICK else 1
        lost = self._link.lost
        if loop.time() >= self._look_at:
            *_, marks = await self._link.insist(*acks, missed)
            self._done.clear()
            if not await self._take_over():
                self._look_at = loop.time() + min(self._idle_ms / 2000, BLOCK)
        else:
            wait = max(0.001, min(self._look_at - loop.time(), BLOCK))
            read = self._read(">", self._count, "BLOCK", max(1, int(wait * 1000)))
            *_, marks, reply = await self._link.insist(*acks, missed, read, blocks=wait)
            self._done.clear()
            self._ready.extend(self._entries(reply))
        self._filled_at = loop.time()
        if self._link.lost != lost:
            await self._read_again()
        await self._tell_of_removed(dict(zip(streams, marks, strict=True)))

    def _read(self, place: str, count: int, *options: Argument) -> Command:
        streams = self.selection.streams
        return (
            "XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count, *options, "STREAMS",
            *map(self._key, streams), *[place] * len(streams),
        )  # fmt: skip

    async def _read_again(self) -> None:
        """What a reply brought that was lost: it is ours already."""
        [reply] = await self._link.insist(self._read("0", 100))
        known = {(entry.stream, entry.id) for entry in self._ready}
        self._ready.extend(entry for entry in self._entries(reply) if (entry.stream, entry.id) not in known)

    async def _take_over(self) -> bool:
        """Take over one entry of a process that has said nothing for long; whether there was one."""
        for stream in self.selection.streams:
            [reply] = await self._link.insist(
                ("XAUTOCLAIM", self._key(stream), self.group, self.consumer, self._idle_ms, "0-0", "COUNT", 1)
            )
            if len(reply) > 2 and reply[2]:
                self._missed(
                    stream, f"{len(reply[2])} events of the group {self.group} were removed before they were done.",
                    "Keep them for longer: dataflow capture --max-age, --max-length.",
                )  # fmt: skip
            entries = self._entries({self._key(stream).encode(): reply[1]})
            if entries:
                [pending] = await self._link.insist(
                    ("XPENDING", self._key(stream), self.group, id_text(entries[0].id), id_text(entries[0].id), 1)
                )
                deliveries = pending[0]["times_delivered"] if pending else 1
                if deliveries > self._attempts:
                    reason = f"It was delivered {deliveries - 1} times, and never done."
                    await self._bury(entries[0], reason, deliveries - 1)
                else:
                    self._ready.extend(entries)
                return True
        return False

    async def _bury(self, entry: Entry, reason: str, deliveries: int) -> None:
        logger.error(
            "The group %s of %s gives up the event %s of %s: %s It is among the dead letters.",
            self.group, self.owner, id_text(entry.id), entry.stream, reason,
        )  # fmt: skip
        fields = letter_fields(entry.stream, id_text(entry.id), entry.text, f"group:{self.group}", reason, deliveries)
        await self._dead.bury(self.group, fields)

    async def _decoded(self, entry: Entry) -> Event | None:
        try:
            return decode(entry.text, self._models)
        except EventError as error:
            await self._bury(entry, str(error), 1)
            return None

    async def _tell_of_removed(self, marks: dict[str, bytes | None]) -> None:
        """Tell what the trimmer removed though this group had yet to do it; one of the group's processes does."""
        told = []
        for stream, mark in marks.items():
            field = f"{stream} group:{self.group}"
            if mark and (await self._link.insist(("HDEL", keys.events_trimmed(self.owner), field)))[0]:
                told.append(f"{stream} up to {mark.decode()}")
        if told:
            self._missed(
                ", ".join(told), f"Events were removed before the group {self.group} had done them.",
                "Start more processes, or keep events for longer: dataflow capture --max-length.",
            )  # fmt: skip

    async def _keep_holding(self) -> None:
        """Say now and then what is done, and that what is in hand is being done."""
        while True:
            await asyncio.sleep(self._idle_ms / 3000)
            done, rest = list(self._done), list(self._ready)
            left = []
            if asyncio.get_running_loop().time() - self._filled_at > self._idle_ms / 1000:
                # What it is at takes long: the others need not wait for it.
                left, rest = rest, []
                self._ready.clear()
            try:
                await self._hold([*([self._given] if self._given is not None else []), *rest], 0)
                await self._hold(left, self._idle_ms)
                client = await self._broker.client()
                async with self._broker.errors():
                    for one in done:
                        await client.xack(self._key(one.stream), self.group, id_text(one.id))
            except BrokerUnavailableError as error:
                logger.debug("%s", error)
            else:
                self._done = [one for one in self._done if one not in done]

    async def _leave(self, consumer: str) -> None:
        """Have Redis forget a process of the group, unless something is pending for it."""
        await self._broker.run(_LEAVE, [self.owner, self.group, consumer, *self.selection.streams])

    async def _hold(self, entries: list[Entry], idle_ms: int) -> None:
        if entries:
            pairs = [part for entry in entries for part in (entry.stream, id_text(entry.id))]
            await self._broker.run(_HOLD, [self.owner, self.group, self.consumer, idle_ms, *pairs])
