"""What capture promises whatever the source: one process works, nothing is lost with a Redis or a database that is."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path

import pytest

from dataflow.databases.url import parse_url
from dataflow.errors import CaptureError, ConfigurationError, FencedError
from dataflow.events.envelope import decode
from dataflow.events.publisher import Entry, Publisher
from dataflow.events.service import CaptureService
from dataflow.events.trimming import Trimmer
from dataflow.jobs import keys
from tests.integration.events.lines import Line, folded


async def add(line: Line, number: int) -> None:
    await line.run("INSERT INTO items (id, name, count) VALUES (?, 'x', 0)", number)


async def test_an_event_is_read_back_in_the_types_of_its_model(sqlite_line: Line) -> None:
    from tests.integration.events.test_sources import ROW, insert_everything

    line = sqlite_line
    await line.start()
    await insert_everything(line)
    await line.events("everythings", 1)
    [(_, fields)] = await line.raw("everythings")
    event = decode(fields[b"event"], line.app.models)
    assert event.after is not None
    fields_of = line.app.models["Everything"].by_name
    expected = {
        name: fields_of[name].coerce(value, "Everything")
        for name, value in ROW.items()
        if name not in ("secret", "hidden")
    }
    assert {name: event.after[name] for name in expected} == expected
    assert {name: type(event.after[name]) for name in expected} == {
        name: type(value) for name, value in expected.items()
    }
    assert event.after["secret"] == "***"
    assert event.ts.tzinfo is not None


async def test_a_redis_that_lost_everything_gets_a_new_epoch_loudly(
    sqlite_line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line = sqlite_line
    await line.start()
    await add(line, 1)
    await line.events("items", 1)
    await line.stop()
    client = await line.app.broker.client()
    await client.delete(*[key async for key in client.scan_iter(match=f"*:{line.app.name}*")])
    await add(line, 2)
    await line.start()
    await add(line, 3)
    found = await line.events("items", 3)  # the first was not acknowledged yet: it comes back
    assert {event["source"]["epoch"] for event in found} == {2}
    assert found[0]["id"].startswith(str(2 << 56)[:6])
    assert "Redis has lost the streams" in caplog.text
    assert "--snapshot" in caplog.text


async def test_a_database_that_was_restored_gets_a_new_epoch_in_the_same_stream(
    sqlite_line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = sqlite_line
    file = Path(parse_url(line.app.settings.database_url).database)
    await line.start()
    await add(line, 1)
    await line.events("items", 1)
    await line.stop()
    await line.app.database.close()
    shutil.copy(file, tmp_path / "copy.db")
    await line.start()
    await add(line, 2)
    await add(line, 3)
    await line.events("items", 3)
    await line.stop()
    await line.app.database.close()
    shutil.copy(tmp_path / "copy.db", file)
    for leftover in ("-wal", "-shm"):
        Path(f"{file}{leftover}").unlink(missing_ok=True)
    await line.start()
    await add(line, 4)

    async def arrived() -> bool:
        return any(json.loads(entry[b"event"])["after"]["id"] == 4 for _, entry in await line.raw("items"))

    await line.until(arrived)
    ids = [tuple(map(int, entry_id.split(b"-"))) for entry_id, _ in await line.raw("items")]
    assert ids == sorted(ids)
    assert ids[-1][0] >> 56 == 2
    assert "restored from a copy" in caplog.text


async def test_one_process_captures_and_another_takes_over(sqlite_line: Line) -> None:
    line = sqlite_line
    first = await line.start()
    other = Line(line.app.settings.database_url, line.app.settings.redis_url or "", line.mechanism, name=line.app.name)
    second = await other.start(lock_seconds=1, wait=False)
    try:
        await add(line, 1)
        await line.events("items", 1)
        assert (first.published, second.working.is_set()) == (1, False)
        await line.stop()
        await other.until(lambda: asyncio.sleep(0, second.working.is_set()))
        await add(line, 2)
        assert folded(await other.events("items", 2)) == await line.rows()
    finally:
        await other.stop()
        await other.app.close_async()


async def test_who_lost_the_lock_cannot_publish(sqlite_line: Line) -> None:
    line = sqlite_line
    mine, other = Publisher(line.app.broker, line.app.name), Publisher(line.app.broker, line.app.name)
    try:
        assert await mine.acquire()
        assert not await other.acquire()
        await mine.call("DEL", keys.capture_lock(line.app.name))
        assert await other.acquire()
        with pytest.raises(FencedError):
            await mine.publish([Entry("items", "1-0", b"{}")], {"position": 1})
        assert await other.fields() == {}
        assert not await mine.renew()
        await mine.release()
        assert await other.renew(), "only the owner lets go of it"
    finally:
        await mine.close()
        await other.close()


async def test_a_redis_that_lost_its_last_second_is_told_it_again(
    sqlite_line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line = sqlite_line
    await line.start(ack_after=3600)
    client = await line.app.broker.client()
    capture, stream = keys.capture(line.app.name), keys.events(line.app.name, "items")
    await add(line, 1)
    before = await line.events("items", 1)
    stood = {name: await client.hget(capture, name) for name in ("position", "index")}
    await add(line, 2)
    await line.events("items", 2)
    # As a Redis that was killed comes back with appendfsync everysec; its clients connect again, and notice nothing.
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(stream)
        pipeline.xadd(stream, {"event": json.dumps(before[0])}, id=before[0]["id"])
        pipeline.hset(capture, mapping=stood)
        await pipeline.execute()
    await add(line, 3)
    assert folded(await line.events("items", 3)) == await line.rows()
    assert "Redis has lost what it was told last" in caplog.text


async def test_an_entry_that_would_be_lost_is_an_error(sqlite_line: Line) -> None:
    line = sqlite_line
    publisher = Publisher(line.app.broker, line.app.name)
    try:
        await publisher.acquire()
        entries = [Entry("items", f"{number}-0", b"{}") for number in (1, 2, 4)]
        assert await publisher.publish(entries, {}) == 3
        assert await publisher.publish(entries, {}) == 0, "a replay"
        with pytest.raises(CaptureError, match="Somebody else wrote to it"):
            await publisher.publish([Entry("items", "3-0", b"{}")], {})
        await publisher.call("XTRIM", keys.events(line.app.name, "items"), "MINID", "4-0")
        assert await publisher.publish(entries, {}) == 0, "a replay of what was trimmed"
    finally:
        await publisher.close()


async def test_a_snapshot_goes_on_after_a_restart(sqlite_line: Line) -> None:
    line = sqlite_line
    for number in range(1, 2_101):
        await add(line, number)
    client = await line.app.broker.client()
    await line.service.request_snapshot("items")
    await client.hset(
        keys.capture(line.app.name), "snapshot:items", '{"state": "running", "cursor": 1500, "rows": 1500}'
    )
    await line.start()
    # The triggers came with capture: what was there before is only in the snapshot.
    found = await line.events("items", 600)
    assert [event["after"]["id"] for event in found] == list(range(1_501, 2_101))
    assert {event["op"] for event in found} == {"r"}
    with pytest.raises(CaptureError, match="no model 'Itme'.*Item"):
        await line.service.request_snapshot("Itme")


async def test_old_events_go_but_not_before_they_were_read(sqlite_line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line = sqlite_line
    name, client = line.app.name, await line.app.broker.client()
    await line.start()
    for number in range(10):
        await add(line, number)
    await line.events("items", 10)
    publisher = Publisher(line.app.broker, name)
    stream = keys.events(name, "items")
    ids = [entry_id for entry_id, _ in await line.raw("items")]
    try:
        await client.xgroup_create(stream, "slow", 0)
        await client.xreadgroup("slow", "c", {stream: ">"}, count=3)
        await client.xack(stream, "slow", *ids[:2])
        await Trimmer(max_length=6).trim(publisher)
        assert [entry_id for entry_id, _ in await line.raw("items")] == ids[2:], "the third is not acknowledged"
        await client.xack(stream, "slow", ids[2])
        await client.xgroup_setid(stream, "slow", ids[9])
        await client.hset(keys.event_cursors(name, "items"), "inbox", ids[3])
        await Trimmer(max_length=3).trim(publisher)
        assert [entry_id for entry_id, _ in await line.raw("items")] == ids[7:], "twice as long as it may be: cut"
        assert "though a reader has yet to do them" in caplog.text
        caplog.clear()
        await client.delete(keys.event_cursors(name, "items"))
        await Trimmer(max_age=0.0).trim(publisher)
        assert await line.raw("items") == []
        assert not caplog.records
    finally:
        await publisher.close()


async def test_the_outbox_is_emptied_once_redis_has_had_its_time(sqlite_line: Line) -> None:
    line = sqlite_line
    await line.start(ack_after=0.1)
    await add(line, 1)
    await line.events("items", 1)

    async def empty() -> bool:
        return await line.app.database.fetch_one("SELECT 1 FROM dataflow_outbox") is None

    await line.until(empty)


async def test_a_changed_model_gets_new_triggers(sqlite_line: Line) -> None:
    line = sqlite_line
    await line.start()
    await line.stop()
    await line.run("DROP TRIGGER dataflow_c_items")
    await line.start()
    await add(line, 1)
    await line.events("items", 1)


async def test_two_instances_cannot_share_an_outbox(sqlite_line: Line) -> None:
    line = sqlite_line
    await line.start()
    other = Line(line.app.settings.database_url, line.app.settings.redis_url or "", line.mechanism)
    try:
        capture = await other.start(wait=False)
        assert capture.task is not None
        with pytest.raises(CaptureError, match="read by the instance"):
            await capture.task
    finally:
        other.capture = None
        await other.app.close_async()


LEFT_BEHIND = {
    "postgresql": "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()",
    "mysql": "SELECT 0",
}
TRIGGERS = {
    "postgresql": "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'dataflow%'",
    "mysql": "SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
}


@pytest.mark.parametrize("line", ["postgresql-pgoutput", "mysql-binlog"], indirect=True)
async def test_another_mechanism_leaves_nothing_of_the_one_before_that_grows(line: Line) -> None:
    database, log = line.app.database, line.mechanism
    kind = str(database.dialect)

    async def count(statement: str) -> int:
        row = await database.fetch_one(statement)
        assert row is not None
        return int(row[0])

    line.mechanism = "outbox"
    await line.start(ack_after=3600)
    await add(line, 1)
    await line.events("items", 1)
    await line.stop()
    assert await count(TRIGGERS[kind]) > 0
    await line.run("INSERT INTO dataflow_outbox (op, name, row_after, created_ms) VALUES ('m', 'kept', '{}', 1)")

    line.mechanism = log
    await line.start()
    assert await count(TRIGGERS[kind]) == 0
    assert await count("SELECT count(*) FROM dataflow_outbox WHERE op <> 'm'") == 0
    await add(line, 2)
    await line.events("items", 2)
    await line.stop()

    line.mechanism = "outbox"
    await line.start()
    assert await count(LEFT_BEHIND[kind]) == 0
    await add(line, 3)
    assert [event["source"]["epoch"] for event in await line.events("items", 3)] == [1, 2, 3]


async def test_a_mechanism_that_does_not_exist_is_named(sqlite_line: Line) -> None:
    with pytest.raises(ConfigurationError, match="sqlite has no mechanism 'pgoutpt'"):
        await CaptureService(sqlite_line.app, mechanism="pgoutpt").probe()


async def test_the_service_starts_reports_and_stops(sqlite_line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line = sqlite_line
    with caplog.at_level(logging.INFO, "dataflow.events"):
        await line.service.start()
        service = line.service

        async def works() -> bool:
            assert service.task is not None
            if service.task.done():
                service.task.result()
            return service.capture is not None and service.capture.working.is_set()

        await line.until(works)
        await add(line, 1)
        await line.events("items", 1)
        await service.stop()
        await service.stop()
    assert "by outbox: tables items, everythings." in caplog.text
    assert await (await line.app.broker.client()).get(keys.capture_lock(line.app.name)) is None
