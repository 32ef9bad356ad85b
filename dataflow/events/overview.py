"""What is in the streams of an instance, and how far behind their readers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataflow.errors import EventError
from dataflow.events.envelope import decode
from dataflow.jobs import Broker, keys

#: Events behind that are counted one by one.
COUNTED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderInfo:
    """Who reads a stream, and is waited for before it is trimmed.

    Attributes:
        name: ``group:NAME``, ``trigger:NAME``, ``reader:NAME``, …
        place: The id that it has read up to.
        behind: Events that it has yet to read; ``COUNTED`` + 1 for more than ``COUNTED``.
        oldest: When the first of them was committed.
        pending: Events that processes of a group have in hand.
    """

    name: str
    place: str
    behind: int
    oldest: datetime | None
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream.

    Attributes:
        name: Its table, or ``@`` and its type of messages.
        published: Events that were ever published into it.
        length: Events that are in it.
        first: When the first of them was committed; None where it is empty.
        last: When the last was.
        readers: Who reads it by name.
    """

    name: str
    published: int
    length: int
    first: datetime | None
    last: datetime | None
    readers: tuple[ReaderInfo, ...]


async def stream_infos(broker: Broker, owner: str) -> list[StreamInfo]:
    """All streams of an instance, by name.

    Raises:
        BrokerUnavailableError: Redis cannot be reached.
    """
    client: Any = await broker.client()
    async with broker.errors():
        counts: Mapping[bytes, bytes] = await client.hgetall(keys.events(owner))
    found = []
    for name, count in sorted(counts.items()):
        async with broker.errors():
            found.append(await _stream(client, owner, name.decode(), int(count)))
    return found


async def _stream(client: Any, owner: str, name: str, published: int) -> StreamInfo:
    key = keys.events(owner, name)
    first, last = await client.xrange(key, count=1), await client.xrevrange(key, count=1)
    places = {
        reader.decode(): (place, 0) for reader, place in (await client.hgetall(keys.event_cursors(owner, name))).items()
    }
    if await client.exists(key):
        for group in await client.xinfo_groups(key):
            places[f"group:{group['name'].decode()}"] = group["last-delivered-id"], group["pending"]
    readers = []
    for reader, (place, pending) in sorted(places.items()):
        ahead = await client.xrange(key, f"({place.decode()}", count=COUNTED + 1)
        readers.append(
            ReaderInfo(name=reader, place=place.decode(), behind=len(ahead), oldest=_time(ahead), pending=pending)
        )
    return StreamInfo(
        name=name,
        published=published,
        length=await client.xlen(key),
        first=_time(first),
        last=_time(last),
        readers=tuple(readers),
    )


def _time(entries: list[tuple[bytes, Mapping[bytes, bytes]]]) -> datetime | None:
    """When the first of some entries was committed."""
    try:
        return decode(entries[0][1][b"event"], {}).ts if entries else None
    except (EventError, KeyError):
        return None


async def forget_reader(broker: Broker, owner: str, name: str) -> int:
    """Remove a reader from all streams: it is not waited for any more. Returns how many it read.

    Raises:
        BrokerUnavailableError: Redis cannot be reached.
    """
    client: Any = await broker.client()
    kind, _, group = name.partition(":")
    forgotten = 0
    for info in await stream_infos(broker, owner):
        if name not in {reader.name for reader in info.readers}:
            continue
        forgotten += 1
        async with broker.errors():
            if kind == "group":
                await client.xgroup_destroy(keys.events(owner, info.name), group)
            else:
                await client.hdel(keys.event_cursors(owner, info.name), name)
    if kind == "reader":
        async with broker.errors():
            await client.delete(keys.event_runs(owner, group))
    return forgotten
