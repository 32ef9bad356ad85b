"""Effects that happen once for each event, on each database, whatever becomes of those who have them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataflow import DataFlow
from dataflow.errors import EventError, InputError, MissedEventsError, MissingTableError, UniqueViolationError
from dataflow.events import inbox as module
from dataflow.events.envelope import Event, Op, Source, encode, entry_id
from dataflow.events.inbox import TABLE, Delivery, Inbox
from dataflow.jobs import keys
from tests.integration.databases import sql

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
LIMIT = 20.0


def declare(db: DataFlow) -> None:
    @db.model
    class Order:
        status: str = "open"

    @db.model
    class Effect:
        __dataflow__ = {"timestamps": False, "events": False}  # noqa: RUF012
        number: int
        __indexes__ = [{"name": "number", "fields": ["number"], "unique": True}]  # noqa: RUF012


@pytest.fixture
async def db(database_url: str, redis_url: str) -> AsyncIterator[DataFlow]:
    async with DataFlow(database_url, name=f"inbox{os.getpid()}", redis_url=redis_url) as made:
        declare(made)
        client = await made.broker.client()
        await client.flushdb()
        await made.create_tables_async()
        yield made


async def happen(db: DataFlow, *numbers: int, status: str = "done", epoch: int = 1) -> None:
    """Events of orders, as capture publishes them."""
    client = await db.broker.client()
    for number in numbers:
        source = Source(db=db.name, kind="sqlite", table="orders", model="Order", epoch=epoch)
        event_id = entry_id(epoch, number, 0)
        row = {"id": number, "status": status}
        event = Event(id=event_id, op=Op.CREATE, before=None, after=row, source=source, ts=NOW, read_at=NOW)
        text = encode(event, db.models["Order"])
        await client.xadd(keys.events(db.name, "orders"), {"event": text}, id=event_id)


async def effects(db: DataFlow) -> list[int]:
    return [row[0] for row in await db.database.fetch_all("SELECT number FROM effects ORDER BY id")]


async def place(db: DataFlow) -> str | None:
    query = sql(db.database, f"SELECT last_id FROM {TABLE} WHERE consumer = ?")
    try:
        row = await db.database.fetch_one(query, (f"{db.name}:stock",))
    except MissingTableError:
        return None
    return None if row is None else str(row[0])


async def do(delivery: Delivery) -> int:
    number = int((delivery.event.after or {})["id"])
    async with delivery as transaction:
        await transaction.run("EffectCreateNode", {"number": number})
    return number


async def test_each_event_has_its_effect_once(db: DataFlow) -> None:
    await happen(db, 1, 2, 3)
    async with asyncio.timeout(LIMIT):
        async for delivery in db.inbox("stock", "Order", since="start"):
            if await do(delivery) == 3:
                break
    assert await effects(db) == [1, 2, 3]
    await happen(db, 4)
    async with asyncio.timeout(LIMIT):
        async for delivery in db.inbox("stock", "Order"):  # it goes on where it was
            assert await do(delivery) == 4
            break
    assert await effects(db) == [1, 2, 3, 4]
    assert await place(db) == entry_id(1, 4, 0)


async def test_a_new_consumer_begins_now_and_has_that_place(db: DataFlow) -> None:
    await happen(db, 1)
    async with db.inbox("stock", "Order") as inbox:
        waiting = asyncio.ensure_future(inbox.next())
        while await place(db) is None:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
    await happen(db, 2)
    async with db.inbox("stock", "Order") as inbox, asyncio.timeout(LIMIT):
        assert await do(await inbox.next()) == 2


async def test_what_fails_comes_again_and_leaves_nothing(db: DataFlow) -> None:
    await happen(db, 1, 2)
    attempts = []
    async with asyncio.timeout(LIMIT):
        async for delivery in db.inbox("stock", "Order", since="start"):
            attempts.append((delivery.event.after["id"], delivery.attempt))  # type: ignore[index]
            try:
                async with delivery as transaction:
                    await transaction.run("EffectCreateNode", {"number": len(attempts)})
                    if len(attempts) < 3:
                        raise LookupError
            except LookupError:
                continue
            if len(attempts) == 4:
                break
    assert attempts == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert await effects(db) == [3, 4]


async def test_nothing_is_lost_by_who_stops_in_the_middle(db: DataFlow) -> None:
    await happen(db, 1, 2)
    inbox = db.inbox("stock", "Order", since="start")
    async with asyncio.timeout(LIMIT):
        with pytest.raises(LookupError):
            await fail(inbox)
        async for delivery in inbox:  # another loop over the same inbox
            assert ((delivery.event.after or {})["id"], delivery.attempt) == (1, 2)
            break
        async with db.transaction() as transaction:  # whoever waits for the row is cancelled
            if db.database.dialect == "sqlite":
                await transaction.run("EffectCountNode")
            else:
                await transaction.executor.fetch_all(f"SELECT last_id FROM {TABLE} FOR UPDATE")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(inbox.next(), 1.5)
        assert [await do(await inbox.next()) for _ in range(2)] == [1, 2]
        await inbox.aclose()
    assert await effects(db) == [1, 2]


async def fail(inbox: Inbox) -> None:
    async for delivery in inbox:
        async with delivery:
            raise LookupError


async def test_what_is_passed_over_or_parked_is_done(db: DataFlow) -> None:
    await happen(db, 1, 2, 3, 4)
    async with asyncio.timeout(LIMIT):
        async for delivery in db.inbox("stock", "Order", since="start"):
            number = delivery.event.after["id"]  # type: ignore[index]
            if number == 1:
                continue
            if number == 2:
                await delivery.park("not today")
                continue
            await do(delivery)
            if number == 4:
                break
    assert await effects(db) == [3, 4]
    client = await db.broker.client()
    ((_, letter),) = await client.xrange(keys.events_dead(db.name))
    assert (letter[b"reader"], letter[b"reason"], letter[b"stream"]) == (b"inbox:stock", b"not today", b"orders")
    assert json.loads(letter[b"event"])["after"]["id"] == 2


async def test_a_node_that_failed_takes_the_place_with_it(db: DataFlow) -> None:
    await happen(db, 1)
    async with db.inbox("stock", "Order", since="start") as inbox, asyncio.timeout(LIMIT):
        await do(await inbox.next())
        await happen(db, 2)
        delivery = await inbox.next()
        with pytest.raises(UniqueViolationError):
            async with delivery as transaction:
                await transaction.run("EffectCreateNode", {"number": 1})
        delivery = await inbox.next()
        assert (delivery.event.id, delivery.attempt) == (entry_id(1, 2, 0), 2)
        with pytest.raises(EventError, match="parked instead"):
            async with delivery:
                await delivery.park("too late")
        with pytest.raises(EventError, match="entered once"):
            async with delivery:
                pass
    assert await place(db) == entry_id(1, 1, 0)


async def test_two_processes_of_a_consumer_do_each_event_once(db: DataFlow, database_url: str, redis_url: str) -> None:
    numbers = list(range(1, 41))

    async def consume(app: DataFlow) -> list[int]:
        done: list[int] = []
        async with app.inbox("stock", "Order", since="start") as inbox:
            while True:
                done.append(await do(await inbox.next()))

    async with DataFlow(database_url, name=db.name, redis_url=redis_url) as other:
        declare(other)
        await other.create_tables_async()
        tasks = [asyncio.create_task(consume(app)) for app in (db, other)]
        await happen(db, *numbers)
        async with asyncio.timeout(LIMIT):
            while await effects(db) != numbers:
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert await effects(db) == numbers


async def test_places_move_past_what_nobody_asked_for(db: DataFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTE_SECONDS", 0.05)
    await happen(db, 1)
    await happen(db, 2, 3, status="open")
    async with db.inbox("stock", "Order", since="start", filter={"status": "done"}) as inbox:
        async with asyncio.timeout(LIMIT):
            assert await do(await inbox.next()) == 1
            waiting = asyncio.ensure_future(inbox.next())
            client = await db.broker.client()
            cursors = keys.event_cursors(db.name, "orders")
            while await client.hget(cursors, "inbox:stock") != entry_id(1, 3, 0).encode():
                await asyncio.sleep(0.01)
            assert await place(db) == entry_id(1, 3, 0)
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_a_log_that_is_another_one_is_told(db: DataFlow) -> None:
    await happen(db, 7)
    async with db.inbox("stock", "Order", since="start") as inbox, asyncio.timeout(LIMIT):
        assert await do(await inbox.next()) == 7
    client = await db.broker.client()
    await client.delete(keys.events(db.name, "orders"))
    await happen(db, 8, epoch=2)
    async with db.inbox("stock", "Order") as inbox, asyncio.timeout(LIMIT):
        with pytest.raises(MissedEventsError):
            await inbox.next()
        assert await do(await inbox.next()) == 8
    assert await effects(db) == [7, 8]


async def test_wrong_names(db: DataFlow) -> None:
    with pytest.raises(InputError, match="A consumer is named"):
        db.inbox("a b", "Order")
    with pytest.raises(InputError):
        db.inbox("stock", "Ordr")


#: Kills itself between the effect and the commit of every third event.
_PROGRAM = """
import asyncio, os, signal, sys
from dataflow import DataFlow
from tests.integration.events.test_inbox import declare

async def main(url, redis_url, name):
    db = DataFlow(url, name=name, redis_url=redis_url)
    declare(db)
    count = 0
    async for delivery in db.inbox("stock", "Order", since="start"):
        async with delivery as transaction:
            await transaction.run("EffectCreateNode", {"number": delivery.event.after["id"]})
            count += 1
            if count == 3:
                os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_that_is_killed_between_effect_and_commit(
    db: DataFlow, database_url: str, redis_url: str
) -> None:
    await happen(db, *range(1, 7))
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROGRAM, database_url, redis_url, db.name,
            cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(process.wait(), LIMIT) == -signal.SIGKILL
    assert await effects(db) == [1, 2, 3, 4]
    async with db.inbox("stock", "Order") as inbox, asyncio.timeout(LIMIT):
        assert [await do(await inbox.next()) for _ in range(2)] == [5, 6]
    assert await effects(db) == [1, 2, 3, 4, 5, 6]
    assert await place(db) == entry_id(1, 6, 0)
