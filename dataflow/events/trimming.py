"""Trimmer: removes events that are old, or too many; not before everybody who reads the stream has done them.

Ids tell positions in a log and no times, so capture notes now and then how far it is. What is older than ``max_age``
goes, and what is beyond ``max_length`` too, but nothing that a reader has yet to do: a consumer group, or one that
keeps its cursor in ``rq:dataflow:event-cursors:OWNER:TABLE``. Only a stream that is twice as long as it may be is cut
all the same, loudly: a reader that nobody looks after must not fill Redis.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from dataflow.events.envelope import entry_id
from dataflow.events.ids import START, EntryId, after, id_text, parse_id
from dataflow.events.publisher import Publisher
from dataflow.jobs import keys

logger = logging.getLogger("dataflow.events")

#: Seconds that an event is kept.
MAX_AGE = 7 * 86_400.0
#: Events that a stream holds.
MAX_LENGTH = 1_000_000


class Trimmer:
    """Args:
    max_age: Seconds that an event is kept.
    max_length: Events that a stream holds.
    interval: Seconds between two looks.
    """

    def __init__(self, *, max_age: float = MAX_AGE, max_length: int = MAX_LENGTH, interval: float = 30.0) -> None:
        self.max_age = max_age
        self.max_length = max_length
        self.interval = interval

    async def run(self, publisher: Publisher) -> None:
        """Trim now and then; cancelled by who started it."""
        while True:
            await self.trim(publisher)
            await asyncio.sleep(self.interval)

    async def trim(self, publisher: Publisher) -> None:
        """Trim all streams of an instance."""
        now = time.time()
        times = keys.capture_times(publisher.owner)
        state = await publisher.state()
        if state is not None and state.place is not None:
            # An id of its own for each moment: a quiet database stays where it is.
            here = f"{entry_id(state.epoch, *state.place)} {int(now)}"
            await publisher.call("ZADD", times, now, here)
        old = await publisher.call("ZREVRANGEBYSCORE", times, now - self.max_age, "-inf", "LIMIT", 0, 1)
        before = old[0].split()[0] if old else None
        for name in await publisher.call("HKEYS", keys.events(publisher.owner)):
            await self._trim(publisher, name.decode(), before)
        if old:
            await publisher.call("ZREMRANGEBYSCORE", times, "-inf", f"({now - self.max_age}")

    async def _trim(self, publisher: Publisher, name: str, before: bytes | None) -> None:
        stream = keys.events(publisher.owner, name)
        length = int(await publisher.call("XLEN", stream))
        wanted = after(parse_id(before)) if before is not None else START
        if length > self.max_length:
            surplus = await self._nth(publisher, stream, length - self.max_length)
            wanted = max(wanted, surplus)
        if wanted == START:
            return
        needed = await self._needed(publisher, name, stream)
        first = min(needed.values(), default=wanted)
        late: list[str] = []
        if first < wanted:
            wanted = first
            if length > 2 * self.max_length:
                wanted = await self._nth(publisher, stream, length - self.max_length)
                late = [reader for reader, first in needed.items() if first < wanted]
                logger.error(
                    "%s holds %d events, twice as many as it may: the oldest are removed, though a reader has yet to "
                    "do them: %s.", stream, length, ", ".join(late),
                )  # fmt: skip
        gone = await publisher.call("XREVRANGE", stream, f"({id_text(wanted)}", "-", "COUNT", 1)
        if gone:
            # First, so that no reader finds the gap before its reason.
            marks = [part for reader in ("", *late) for part in (f"{name} {reader}".rstrip(), gone[0][0])]
            await publisher.call("HSET", keys.events_trimmed(publisher.owner), *marks)
            await publisher.call("XTRIM", stream, "MINID", id_text(wanted))

    async def _nth(self, publisher: Publisher, stream: str, number: int) -> EntryId:
        """Id of the entry that comes after ``number`` others."""
        found, left = START, number
        while left > 0:
            page = await publisher.call("XRANGE", stream, id_text(found), "+", "COUNT", min(left, 1_000))
            if not page:
                break
            found, left = after(parse_id(page[-1][0])), left - len(page)
        return found

    async def _needed(self, publisher: Publisher, name: str, stream: str) -> dict[str, EntryId]:
        """Who reads, and the first id that each has yet to do."""
        cursors = _pairs(await publisher.call("HGETALL", keys.event_cursors(publisher.owner, name)))
        needed = {reader.decode(): after(parse_id(value)) for reader, value in cursors.items()}
        for group in await publisher.call("XINFO", "GROUPS", stream):
            facts = _pairs(group)
            pending = await publisher.call("XPENDING", stream, facts[b"name"])
            waits = parse_id(pending["min"]) if pending["pending"] else after(parse_id(facts[b"last-delivered-id"]))
            needed[f"group:{facts[b'name'].decode()}"] = waits
        return needed


def _pairs(reply: Any) -> dict[bytes, Any]:
    return {
        key if isinstance(key, bytes) else str(key).encode(): value
        for key, value in (reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True))
    }
