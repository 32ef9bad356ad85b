"""Streams of an instance whose events a test makes up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from dataflow import DataFlow
from dataflow.events.envelope import Event, Op, Source, encode, entry_id
from dataflow.events.publisher import Entry, Publisher
from dataflow.events.reading import EventReader
from dataflow.jobs import keys
from tests.integration.events.lines import declare


class Stage:
    """Streams of an instance whose events the test makes up; what capture would do is done by its own publisher."""

    def __init__(self, redis_url: str) -> None:
        self.app = DataFlow(":memory:", name="stage", redis_url=redis_url)
        declare(self.app)
        self.publisher = Publisher(self.app.broker, "stage")
        self.position = 0
        self.epoch = 1
        self.readers: list[EventReader] = []

    def read(self, *subjects: str, **options: Any) -> EventReader:
        """A reader that is closed with the stage."""
        self.readers.append(self.app.events(*subjects, **options))
        return self.readers[-1]

    async def open(self) -> None:
        await self.publisher.call("FLUSHDB")
        assert await self.publisher.acquire()
        await self.publisher.begin()

    async def publish(
        self, *items: tuple[str, int], ts: datetime | None = None, tenant: str | None = None
    ) -> list[str]:
        """Publish creates of rows (table, id), one transaction each; their ids."""
        entries = []
        for table, number in items:
            self.position += 10
            row = {"id": number, "name": "x", "count": number}
            ts = ts or datetime.now(UTC)
            place = entry_id(self.epoch, self.position, 0)
            message = table.startswith("@")
            source = Source(
                db="stage",
                kind="sqlite",
                table=table.removeprefix("@"),
                model=None if message else "Item",
                epoch=self.epoch,
                tenant=tenant,
            )
            op = Op.MESSAGE if message else Op.CREATE
            event = Event(id=place, op=op, before=None, after=row, source=source, ts=ts, read_at=ts)
            entries.append(Entry(table, place, encode(event, None if message else self.app.models["Item"])))
        fields = {"epoch": self.epoch, "incarnation": "i", "identity": "d", "mechanism": "outbox"}
        await self.publisher.publish(entries, {**fields, "position": self.position, "index": 0})
        return [entry.id for entry in entries]

    async def items(self, *numbers: int) -> list[str]:
        return await self.publish(*(("items", number) for number in numbers))

    async def length(self, table: str) -> int:
        return int(await self.publisher.call("XLEN", keys.events("stage", table)))

    async def close(self) -> None:
        for reader in self.readers:
            await reader.aclose()
        await self.publisher.close()
        await self.app.close_async()


async def given(reader: EventReader, count: int, seconds: float = 10.0) -> list[int]:
    """The row ids of the next events."""
    async with asyncio.timeout(seconds):
        events = [await reader.next() for _ in range(count)]
    return [event.after["id"] for event in events if event.after is not None]
