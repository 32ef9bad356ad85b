"""A line from a database to Redis, as the tests of capture use it, and what events must add up to."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

from dataflow import DataFlow, Field
from dataflow.events.capture import Capture
from dataflow.events.service import CaptureService, captured_models
from dataflow.events.sources.choice import choose, others
from dataflow.events.trimming import Trimmer
from dataflow.jobs import keys
from tests.integration.databases import sql

_numbers = itertools.count(1)


class Status(Enum):
    OPEN = "open"
    DONE = "done"


def declare(db: DataFlow) -> None:
    """The models that the tests change rows of."""

    @db.model
    class Item:
        __dataflow__: ClassVar = {"timestamps": False}

        id: int = Field(default=0)
        name: str = ""
        count: int = 0

    @db.model
    class Everything:
        """A field of each kind."""

        __dataflow__: ClassVar = {"timestamps": False}

        id: UUID
        text: str
        whole: int
        ratio: float
        yes: bool
        amount: Decimal = Field(precision=20, scale=4)
        moment: datetime
        day: date
        clock: time
        span: timedelta
        raw: bytes
        data: dict[str, Any]
        status: Status
        note: str | None = None
        secret: str = Field("s", events="mask")
        hidden: str = Field("h", events="omit")

    @db.model
    class Silent:
        __dataflow__: ClassVar = {"timestamps": False, "events": False}

        name: str


class Line:
    """An instance whose changes are captured."""

    def __init__(self, database_url: str, redis_url: str, mechanism: str, *, name: str | None = None) -> None:
        self.mechanism = mechanism
        self.app = DataFlow(
            database_url, name=name or f"line{os.getpid()}_{next(_numbers)}", redis_url=redis_url, pool_size=5
        )
        declare(self.app)
        self.service = CaptureService(self.app, mechanism=mechanism)
        self.capture: Capture | None = None

    async def open(self) -> None:
        await self.app.create_tables_async()

    async def start(
        self,
        *,
        ack_after: float = 0.2,
        lock_seconds: float = 10.0,
        prepare_every: float = 5.0,
        wait: bool = True,
    ) -> Capture:
        """Capture; returns when it reads."""
        best, _ = await choose(self.service.site, self.mechanism)
        self.capture = Capture(
            best.source,
            self.app.database,
            self.app.broker,
            list(captured_models(self.app).values()),
            self.app.name,
            ack_after=ack_after,
            lock_seconds=lock_seconds,
            trimmer=Trimmer(interval=3600),
            prepare_every=prepare_every,
            others=others(self.service.site, self.mechanism),
        )
        await self.capture.start()
        if wait:
            await self.until(self._works)
        return self.capture

    async def _works(self) -> bool:
        assert self.capture is not None
        return self.capture.working.is_set()

    async def stop(self) -> None:
        if self.capture is not None:
            await self.capture.stop()
            self.capture = None

    async def close(self) -> None:
        await self.stop()
        try:
            await self.service.remove()
        finally:
            client = await self.app.broker.client()
            if found := [key async for key in client.scan_iter(match=f"*:{self.app.name}*")]:
                await client.delete(*found)
            await self.app.close_async()

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
        """Return when it holds; an error of capture is raised."""
        async with asyncio.timeout(seconds):
            while not await condition():
                task = self.capture.task if self.capture is not None else None
                if task is not None and task.done():
                    task.result()
                    raise AssertionError("capture ended")
                await asyncio.sleep(0.005)

    async def run(self, statement: str, *args: Any, executor: Any = None) -> None:
        await (executor or self.app.database).execute(sql(self.app.database, statement), args)

    async def raw(self, table: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        client = await self.app.broker.client()
        found: list[tuple[bytes, dict[bytes, bytes]]] = await client.xrange(keys.events(self.app.name, table))
        return found

    async def events(self, table: str, count: int) -> list[dict[str, Any]]:
        """The events of a table, when there are so many."""
        client = await self.app.broker.client()
        stream = keys.events(self.app.name, table)

        async def enough() -> bool:
            return int(await client.xlen(stream)) >= count

        await self.until(enough)
        found = [json.loads(entry[b"event"]) for _, entry in await self.raw(table)]
        assert len(found) == count, [(event["op"], event["after"] or event["before"]) for event in found[count - 1 :]]
        return found

    async def passed(self) -> None:
        """Return when capture is beyond all that is committed now."""
        assert self.capture is not None
        token = f"test-{next(_numbers)}"
        seen = asyncio.Event()
        snapshots = self.capture._snapshots
        published = snapshots.published

        def look(chunk: Any) -> None:
            published(chunk)
            if chunk.mark == token:
                seen.set()

        snapshots.published = look  # type: ignore[method-assign]
        await self.capture.source.mark(token)

        async def arrived() -> bool:
            return seen.is_set()

        await self.until(arrived)
        snapshots.published = published  # type: ignore[method-assign]

    async def rows(self, table: str = "items") -> dict[Any, dict[str, Any]]:
        found = await self.app.database.fetch_all(f"SELECT id, name, count FROM {table} ORDER BY id")
        return {row[0]: {"id": row[0], "name": row[1], "count": row[2]} for row in found}


def told(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without what differs by database: positions, times and names of mechanisms."""
    shown = []
    for event in events:
        source = {
            name: value
            for name, value in event["source"].items()
            if name not in ("db", "kind", "mechanism", "position", "epoch")
        }
        shown.append({name: event[name] for name in ("v", "op", "before", "after", "changed")} | {"source": source})
    return shown


def folded(events: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """The rows that events add up to. Each must fit what those before it left: nothing is missing, twice or out of
    order.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for event in events:
        before, after = event["before"], event["after"]
        match event["op"]:
            case "c":
                assert after["id"] not in rows, event
            case "u" | "d":
                assert rows.get(before["id"]) == before, (event, rows.get(before["id"]))
                del rows[before["id"]]
            case "r":
                assert rows.get(after["id"], after) == after, (event, rows.get(after["id"]))
        if after is not None:
            rows[after["id"]] = after
    return rows
