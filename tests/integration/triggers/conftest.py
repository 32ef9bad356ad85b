"""An instance whose events are put into its streams by the test, and schedulers that run beside it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from dataflow import DataFlow
from dataflow.events.envelope import Event, Op, Source, encode, entry_id
from dataflow.jobs import Broker, keys
from scheduler.scheduler import Scheduler

LIMIT = 20.0
Scheduling = Callable[..., AbstractAsyncContextManager[Scheduler]]
NewApp = Callable[..., DataFlow]
_positions = itertools.count(1)


@pytest.fixture
async def broker(redis_url: str) -> AsyncIterator[Broker]:
    made = Broker(redis_url)
    await (await made.client()).flushdb()
    yield made
    await made.close()


@pytest.fixture
async def new_app(broker: Broker) -> AsyncIterator[NewApp]:
    """Makes instances with a model Order and an actor ``fulfil`` on the test's broker."""
    made: list[DataFlow] = []

    def new(name: str = "shop", **settings: Any) -> DataFlow:
        app = DataFlow(":memory:", name=name, **settings)
        app._broker = broker
        made.append(app)

        @app.model
        class Order:
            __dataflow__: ClassVar = {"timestamps": False}
            id: int
            status: str
            total: Decimal = Decimal("1.50")

        @app.actor
        async def fulfil(order_id: int) -> int:
            return order_id

        return app

    yield new
    for app in made:
        await app.close_async()


@pytest.fixture
def db(new_app: NewApp) -> DataFlow:
    return new_app()


@pytest.fixture
def scheduling(broker: Broker) -> Scheduling:
    """A scheduler that runs while the block does."""

    @asynccontextmanager
    async def run(*apps: DataFlow, **options: Any) -> AsyncIterator[Scheduler]:
        scheduler = Scheduler(apps, broker, **options)
        task = asyncio.create_task(scheduler.run())
        started = asyncio.create_task(scheduler.started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            started.cancel()
            async with asyncio.timeout(LIMIT):
                await task

    return run


def order(number: int, status: str = "open", **more: Any) -> dict[str, Any]:
    return {"id": number, "status": status, "total": Decimal("1.50"), **more}


def event_of_order(
    app: DataFlow, op: Op, before: dict[str, Any] | None, after: dict[str, Any] | None, *, tenant: str | None = None
) -> Event:
    """The event of a change of an order, later than all before it."""
    changed = tuple(name for name in after or () if before and before[name] != (after or {})[name])
    position, now = next(_positions), datetime.now(UTC)
    source = Source(db=app.name, kind="sqlite", table="orders", model="Order", tenant=tenant, position=position)
    return Event(
        id=entry_id(1, position, 0), op=op, before=before, after=after, changed=changed, source=source, ts=now,
        read_at=now,
    )  # fmt: skip


async def tell(app: DataFlow, *events: Event) -> None:
    """Put events into their stream, as capture does."""
    client = await app.broker.client()
    for event in events:
        stream = keys.events(app.name, event.source.table if event.op is not Op.MESSAGE else f"@{event.source.table}")
        await client.xadd(stream, {"event": encode(event, app.models.get(event.source.model or ""))}, event.id)
        await client.hincrby(keys.events(app.name), stream.rpartition(":")[2], 1)  # type: ignore[misc]


async def queued(app: DataFlow, count: int, queue: str = "default") -> list[str]:
    """Ids of the jobs in a queue, when there are so many."""
    client = await app.broker.client()

    async def enough() -> list[str]:
        found = await client.lrange(keys.queue(queue), 0, -1)  # type: ignore[misc]
        return [item.decode() for item in found] if len(found) >= count else []

    found: list[str] = await until(enough)
    assert len(found) == count
    return found


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until this holds; returns what it gave."""
    async with asyncio.timeout(LIMIT):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
    return found


async def at(app: DataFlow, name: str, place: str, stream: str = "orders") -> None:
    """Wait until a trigger has done an event."""

    async def there() -> bool:
        return (await app.triggers.get_async(name)).places[stream] == place

    await until(there)
