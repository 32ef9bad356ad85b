"""Reading events: where a reader begins, in which order, what it is not given, and what it is told of a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from dataflow import DataFlow
from dataflow.errors import EventError, InputError, MissedEventsError
from dataflow.events.envelope import Event, entry_id
from dataflow.events.reading import BATCH, EventReader, FollowingReader
from dataflow.events.trimming import Trimmer
from dataflow.jobs import keys
from tests.integration.events.lines import Line, declare
from tests.integration.events.stage import Stage, given
from tests.servers import RedisServer


async def test_each_change_of_a_database_is_read_as_it_comes(line: Line) -> None:
    await line.start()
    found: list[tuple[str, object, object]] = []
    began = asyncio.Event()

    async def follow() -> None:
        reader = line.app.events("Item", filter={"count": {"$gte": 5}}, operations=["insert", "update"])
        assert isinstance(reader, FollowingReader)
        await reader.begin()
        began.set()
        async for event in reader:
            found.append((event.op, event.before and event.before["count"], event.after and event.after["count"]))
            if len(found) == 2:
                break

    task = asyncio.create_task(follow())
    await began.wait()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'x', 0)")
    await line.run("INSERT INTO items (id, name, count) VALUES (2, 'x', 7)")
    await line.run("UPDATE items SET count = 5 WHERE id = 1")
    await line.run("DELETE FROM items WHERE id = 2")
    async with asyncio.timeout(15):
        await task
    assert found == [("c", None, 7), ("u", 0, 5)]
    # The database is the same, whatever captured it: what it tells afterwards is read from the start.
    past = line.app.events("Item", filter={"count": 5}, transition=True, since="start")
    assert isinstance(past, FollowingReader)
    assert [event.op async for event in _of(past, 1)] == ["u"]
    await past.aclose()


async def _of(reader: EventReader, count: int) -> AsyncIterator[Event]:
    for _ in range(count):
        yield await reader.next()


async def test_where_a_reader_begins(stage: Stage) -> None:
    old = datetime.now(UTC) - timedelta(hours=2)
    ids = await stage.publish(("items", 1), ("items", 2), ts=old)
    await Trimmer().trim(stage.publisher)  # notes how far capture is
    ids += await stage.items(3)
    now = stage.read("Item")
    assert isinstance(now, FollowingReader)
    await now.begin()
    await stage.items(4)
    assert await given(now, 1) == [4]
    assert await given(stage.read("Item", since="start"), 4) == [1, 2, 3, 4]
    assert await given(stage.read("Item", since=ids[1]), 2) == [3, 4]
    first = await stage.read("Item", since="start").next()
    assert await given(stage.read("Item", since=first), 1) == [2]
    assert await given(stage.read("Item", since=timedelta(hours=1)), 2) == [3, 4]
    assert await given(stage.read("Item", since=old), 1) == [1]
    assert await given(stage.read(since="start"), 4) == [1, 2, 3, 4]


@pytest.mark.parametrize("since", ["yesterday", "1-x", datetime(2026, 1, 1), 7, "-1-0"])
def test_what_is_no_beginning_is_refused_at_once(since: object) -> None:
    app = DataFlow(":memory:", name="refusing")
    declare(app)
    with pytest.raises(InputError):
        app.events("Item", since=since)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="on_loss"):
        app.events("Item", on_loss="ignore")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not called"):
        app.events("Item", group="a b")
    app.close()


async def test_several_streams_come_in_the_order_of_commits(stage: Stage) -> None:
    wanted = []
    for number in range(BATCH + 50):  # more than a read brings of one stream
        table = "@paid" if number > BATCH - 20 and number % 3 == 0 else "items"
        wanted.append(number)
        await stage.publish((table, number))
    assert await given(stage.read("@paid", "Item", since="start"), len(wanted)) == wanted


async def test_a_loop_that_ends_lets_go_and_a_reader_goes_on(stage: Stage) -> None:
    await stage.items(1, 2, 3)
    reader = stage.read("Item", since="start")
    async for event in reader:
        assert event.after is not None
        if event.after["id"] == 2:
            break
    assert await given(reader, 1) == [3]


async def test_what_was_removed_before_it_was_read_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    ids = await stage.items(*range(10))
    reader = stage.read("Item", since=ids[1])
    assert await given(reader, 1) == [2]
    logged = stage.read("Item", "@paid", since=ids[1], on_loss="log")
    await Trimmer(max_length=3).trim(stage.publisher)
    assert [int(number) for number in await given(logged, 3)] == [7, 8, 9]
    assert "were removed before they were read" in caplog.text
    late = stage.read("Item", since=timedelta(days=1))
    with pytest.raises(MissedEventsError, match="were removed"):
        await late.next()
    assert await given(late, 3) == [7, 8, 9], "it goes on when it is asked again"
    # What is read in one go is not missed by who has it in hand, nor by who asks for what is kept.
    assert await given(reader, 7) == [3, 4, 5, 6, 7, 8, 9]
    assert await given(stage.read("Item", since="start"), 3) == [7, 8, 9]


async def test_a_log_that_was_replaced_is_told(stage: Stage) -> None:
    await stage.items(1)
    reader = stage.read("Item", since="start")
    assert await given(reader, 1) == [1]
    stage.epoch, stage.position = 2, 0
    await stage.items(2)
    with pytest.raises(MissedEventsError, match="events of epoch 2 follow upon those of 1"):
        await reader.next()
    assert await given(reader, 1) == [2]


async def test_what_is_no_event_is_told_and_passed(stage: Stage) -> None:
    await stage.items(1)
    client = await stage.app.broker.client()
    await client.xadd(keys.events("stage", "items"), {"event": "{}"}, id=entry_id(1, 15, 0))
    await stage.items(2)
    reader = stage.read("Item", since="start")
    assert await given(reader, 1) == [1]
    with pytest.raises(EventError, match="is no event"):
        await reader.next()
    assert await given(reader, 1) == [2]
    assert await given(stage.read("Item", since="start", on_loss="log"), 2) == [1, 2]


async def test_a_redis_that_restarts_while_it_is_read_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with_data = RedisServer(appendonly=True)
    with_data.start()
    stage = Stage(with_data.url)
    try:
        await stage.open()
        await stage.items(1)
        reader, member = stage.read("Item", since="start"), stage.read("Item", since="start", group="g")
        assert await given(reader, 1) == await given(member, 1) == [1]
        waiting = [asyncio.create_task(given(one, 2, 30)) for one in (reader, member)]
        await asyncio.sleep(0.2)  # they block
        with_data.kill()
        await asyncio.to_thread(with_data.start)
        await stage.publisher.close()
        await stage.publisher.acquire()
        await stage.items(2, 3)
        assert await asyncio.gather(*waiting) == [[2, 3], [2, 3]]
        assert "waits for Redis" in caplog.text
        assert "goes on" in caplog.text
        await stage.close()
    finally:
        with_data.remove()
