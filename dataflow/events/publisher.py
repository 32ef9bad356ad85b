"""Publisher: one process's right to append an instance's events to Redis, and how far it is.

The hash ``rq:dataflow:capture:OWNER`` is written by the same script as the entries, so both are there or neither:

==================  ==============================================================================
field               value
==================  ==============================================================================
epoch               counts the database's logs; the highest bits of entry ids
identity            which log it is
mechanism           how changes are captured
position, index     the last place that was published
incarnation         random; the same text is in the database, so that a Redis that lost its data is noticed
published           events appended
committed_ms        when the last of them was committed, Unix time
published_ms        when it was appended
lag_ms              the difference of both
seen_ms             when the database could last be read
reason              why the epoch is not the first
snapshot:TABLE      JSON: state (wanted, running, done), cursor (the last key), rows
==================  ==============================================================================
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataflow.errors import CaptureError, FencedError
from dataflow.events.ids import parse_id
from dataflow.events.sources.interface import Place
from dataflow.jobs import Broker, keys
from dataflow.jobs.scripts import Argument, Script

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Seconds that the right to publish lasts without being renewed.
LOCK_SECONDS = 10.0

_PUBLISH = Script(Path(__file__).parent / "lua" / "publish.lua")
#: Fields that tell how far capture is.
_STANDING = ("incarnation", "position", "index")
# Lets go of the lock, or makes it last, if it is ours.
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"


class Entry(NamedTuple):
    """One event on its way into a stream."""

    stream: str
    id: str
    text: bytes


@dataclass(frozen=True, slots=True)
class State:
    """How far capture is, as Redis knows it."""

    epoch: int
    identity: str
    mechanism: str
    incarnation: str
    place: Place | None


class Publisher:
    """Appends the events of one instance.

    Args:
        broker: Where the streams are.
        owner: Name of the instance.
        lock_seconds: Seconds that the right to publish lasts without being renewed.
    """

    def __init__(self, broker: Broker, owner: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self._broker = broker
        self.owner = owner
        self.lock_seconds = lock_seconds
        self._token = secrets.token_hex(8)
        self._client: Redis | None = None
        #: Incarnation, position and index that Redis must still have.
        self._standing: dict[str, str] = {}

    async def redis(self) -> Redis:
        """The publisher's own connection, which never sends anything twice."""
        if self._client is None:
            self._client = await self._broker.open()
        return self._client

    async def call(self, *command: Argument) -> Any:
        """One command.

        Raises:
            BrokerUnavailableError: The server cannot be reached, or refuses.
        """
        client = await self.redis()
        async with self._broker.errors():
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def acquire(self) -> bool:
        """Try to get the right to publish."""
        milliseconds = int(self.lock_seconds * 1000)
        lock = keys.capture_lock(self.owner)
        return bool(await self.call("SET", lock, self._token, "NX", "PX", milliseconds)) or await self.renew()

    async def renew(self) -> bool:
        """Make the right to publish last; whether it is still ours."""
        milliseconds = int(self.lock_seconds * 1000)
        return bool(await self.call("EVAL", _RENEW, 1, keys.capture_lock(self.owner), self._token, milliseconds))

    async def release(self) -> None:
        """Let another process publish at once."""
        await self.call("EVAL", _RELEASE, 1, keys.capture_lock(self.owner), self._token)

    async def seen(self) -> None:
        """Note that the database can be read, though it has nothing to tell."""
        await self.call("HSET", keys.capture(self.owner), "seen_ms", time.time_ns() // 1_000_000)

    async def fields(self) -> dict[str, str]:
        """The capture hash."""
        reply = await self.call("HGETALL", keys.capture(self.owner))
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
        return {name.decode(): value.decode() for name, value in pairs}

    async def state(self) -> State | None:
        """How far capture is; None where Redis knows nothing of it."""
        return _state(await self.fields())

    async def begin(self) -> State | None:
        """As ``state()``. Whatever is published from now on must find Redis as this, and then each call, left it."""
        await self.call("SADD", keys.CAPTURES, self.owner)  # for those who watch over all instances
        found = await self.fields()
        self._standing = {name: found.get(name, "") for name in _STANDING}
        return _state(found)

    async def publish(self, entries: Sequence[Entry], fields: Mapping[str, Argument]) -> int:
        """Append entries and set fields of the capture hash, as one step. Returns how many entries were new.

        An entry that its stream has already is left alone.

        Raises:
            FencedError: Another process has the right to publish; or Redis is not as ``begin()`` or the last call left
                it, because it lost its last second in a crash. Nothing was done; begin anew.
            CaptureError: A stream has later entries, and not this one.
            BrokerUnavailableError: The server cannot be reached, or refuses. Sending the same again is harmless.
        """
        from redis.exceptions import ResponseError

        standing = " ".join(self._standing.get(name, "") for name in _STANDING)
        args: list[Argument] = [self.owner, self._token, standing, 2 * len(fields)]
        for name, value in fields.items():
            args += (name, value)
        for entry in entries:
            args += entry
        client = await self.redis()
        async with self._broker.errors():
            try:
                appended, refused = await _PUBLISH.run(client, args)
            except ResponseError as error:
                if "FENCED" in str(error):
                    raise FencedError(f"Another process captures the changes of {self.owner!r} now.") from None
                if "FORGOTTEN" in str(error):
                    raise FencedError(f"Redis has lost what it was told last of {self.owner!r}.") from None
                raise
        self._standing |= {name: str(fields[name]) for name in _STANDING if name in fields}
        if refused:
            await self._check(entries, {item.decode() for item in refused})
        return int(appended)

    async def _check(self, entries: Sequence[Entry], refused: set[str]) -> None:
        """Whether entries that were refused are in their streams: those of a replay are, unless they were trimmed."""
        for entry in entries:
            if entry.id not in refused:
                continue
            stream = keys.events(self.owner, entry.stream)
            if await self.call("XRANGE", stream, entry.id, entry.id):
                continue
            first = await self.call("XRANGE", stream, "-", "+", "COUNT", 1)
            if not first or parse_id(first[0][0]) < parse_id(entry.id):
                raise CaptureError(
                    f"The stream {stream} has later entries than {entry.id}, and not that one.",
                    hint="Somebody else wrote to it. Delete the stream, and ask for a snapshot.",
                )

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _state(found: Mapping[str, str]) -> State | None:
    if "incarnation" not in found:
        return None
    place = Place(int(found["position"]), int(found["index"])) if found.get("position") else None
    return State(int(found["epoch"]), found["identity"], found["mechanism"], found["incarnation"], place)
