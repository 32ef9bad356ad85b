"""One suite for every source: the same changes give the same events, whatever happens to capture."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from dataflow.events.sources.postgresql import PostgreSQLSource
from dataflow.jobs import keys
from dataflow.queries.codecs import ModelCodec
from tests.integration.databases import sql
from tests.integration.events.lines import Line, folded, told

ID = UUID("0190d3a0-0000-7000-8000-000000000001")
ROW = {
    "id": ID,
    "text": "O'Brien \\ \" % ` $1 ?\n\té漢😀",
    "whole": -(2**63),
    "ratio": 0.1 + 0.2,
    "yes": True,
    "amount": "-1234567890.0100",
    "moment": "2026-02-28T23:59:59.999999+00:00",
    "day": "1999-01-02",
    "clock": "23:59:59.000001",
    "raw": bytes(range(256)),
    "data": {"a": [1, None, "b", 1.5], "é": {}},
    "status": "open",
    "note": None,
    "secret": "password",
    "hidden": "nobody's",
}
TOLD = {
    "id": str(ID),
    "text": ROW["text"],
    "whole": -(2**63),
    "ratio": 0.30000000000000004,
    "yes": True,
    "amount": "-1234567890.0100",
    "moment": "2026-02-28T23:59:59.999999Z",
    "day": "1999-01-02",
    "clock": "23:59:59.000001",
    "span": -1,
    "raw": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==",  # noqa: E501
    "data": {"a": [1, None, "b", 1.5], "é": {}},
    "status": "open",
    "note": None,
    "secret": "***",
}


async def insert_everything(line: Line) -> None:
    spec = line.app.models["Everything"]
    codec = ModelCodec(spec, line.app.database.dialect)
    row = {**ROW, "span": timedelta(microseconds=-1)}
    values = [codec.fields[name].bind(row[name]) for name in spec.names]
    marks = ", ".join("?" * len(values))
    await line.run(f"INSERT INTO everythings ({', '.join(spec.names)}) VALUES ({marks})", *values)


async def test_changes_of_every_kind_of_field_give_equal_envelopes(line: Line) -> None:
    table = line.app.models["Everything"].table_name
    await line.start()
    await insert_everything(line)
    await line.run(f"UPDATE {table} SET note = ?, secret = ?, hidden = ?", "done", "another", "other")
    await line.run(f"UPDATE {table} SET ratio = ?, yes = ?, status = ?", *_bound(line, 1e300, False, "done"))
    await line.run(f"DELETE FROM {table}")
    source = {"table": table, "model": "Everything", "tenant": None, "snapshot": False, "unavailable": []}
    second = {**TOLD, "note": "done"}
    third = {**second, "ratio": 1e300, "yes": False, "status": "done"}
    expected: list[dict[str, Any]] = [
        {"op": "c", "before": None, "after": TOLD, "changed": []},
        {"op": "u", "before": TOLD, "after": second, "changed": ["note", "secret"]},
        {"op": "u", "before": second, "after": third, "changed": ["ratio", "yes", "status"]},
        {"op": "d", "before": third, "after": None, "changed": []},
    ]
    found = await line.events(table, 4)
    assert told(found) == [{"v": 1, **event, "source": source} for event in expected]
    assert [list(event["after"]) for event in found[:3]] == [list(TOLD)] * 3, "columns come in the model's order"
    ids = [entry_id.decode() for entry_id, _ in await line.raw(table)]
    assert ids == [event["id"] for event in found]


def _bound(line: Line, *values: Any) -> list[Any]:
    fields = ModelCodec(line.app.models["Everything"], line.app.database.dialect).fields
    return [fields[name].bind(value) for name, value in zip(("ratio", "yes", "status"), values, strict=True)]


async def test_what_was_rolled_back_or_is_not_captured_gives_no_event(line: Line) -> None:
    await line.start()
    with pytest.raises(ZeroDivisionError):
        await _run_and_fail(line, "INSERT INTO items (id, name, count) VALUES (1, 'lost', 0)")
    await line.run(f"INSERT INTO {line.app.models['Silent'].table_name} (name) VALUES ('x')")
    await line.run("INSERT INTO items (id, name, count) VALUES (2, 'kept', 0)")
    assert [event["after"]["id"] for event in await line.events("items", 1)] == [2]
    client = await line.app.broker.client()
    assert await client.hgetall(keys.events(line.app.name)) == {b"items": b"1"}


async def _run_and_fail(line: Line, statement: str, *args: Any) -> None:
    async with line.app.database.transaction() as transaction:
        await line.run(statement, *args, executor=transaction)
        raise ZeroDivisionError


async def test_a_capture_that_stood_still_goes_on_where_it_was(line: Line) -> None:
    await line.start()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'a', 0)")
    await line.events("items", 1)
    await line.stop()
    await line.run("UPDATE items SET name = 'b' WHERE id = 1")
    await line.run("INSERT INTO items (id, name, count) VALUES (2, 'c', 0)")
    await line.start()
    await line.run("DELETE FROM items WHERE id = 1")
    found = await line.events("items", 4)
    assert [event["op"] for event in found] == ["c", "u", "c", "d"]
    assert folded(found) == await line.rows()
    assert {event["source"]["epoch"] for event in found} == {1}


async def test_what_is_read_again_is_not_published_again(line: Line) -> None:
    await line.start(ack_after=3600)
    for number in range(5):
        await line.run("INSERT INTO items (id, name, count) VALUES (?, 'a', 0)", number)
    first = await line.events("items", 5)
    await line.stop()
    client = await line.app.broker.client()
    position = int(first[1]["source"]["position"])
    await client.hset(keys.capture(line.app.name), mapping={"position": position, "index": first[1]["tx"]["i"]})
    capture = await line.start(ack_after=3600)
    await line.run("INSERT INTO items (id, name, count) VALUES (9, 'b', 0)")
    assert await line.events("items", 6) == [*first, (await line.events("items", 6))[5]]
    assert capture.published == 1


async def test_a_large_transaction_comes_whole_and_in_order(line: Line) -> None:
    await line.start()
    count = 3_000
    async with line.app.database.transaction() as transaction:
        statement = "INSERT INTO items (id, name, count) VALUES (?, ?, ?)"
        rows = [(number, f"name {number}", number) for number in range(count)]
        await transaction.execute_many(sql(line.app.database, statement), rows)
    found = await line.events("items", count)
    assert [event["after"]["id"] for event in found] == list(range(count))


async def _write(line: Line, writer: int, rounds: int) -> None:
    """Changes to rows that three writers share, in transactions of several, some of which wait for each other."""
    random_ = random.Random(writer)
    database = line.app.database
    for number in range(rounds):
        own = 1_000 * writer + number
        async with database.transaction() as transaction:
            await line.run("INSERT INTO items (id, name, count) VALUES (?, 'n', 0)", own, executor=transaction)
            shared = sorted(random_.sample(range(5), 2))  # in one order, so that there is no deadlock
            for row in shared:
                await line.run("UPDATE items SET count = count + 1 WHERE id = ?", row, executor=transaction)
            if number % 3 == 0:
                await line.run("DELETE FROM items WHERE id = ?", own, executor=transaction)
        await asyncio.sleep(0)


async def test_events_of_three_writers_add_up_to_their_rows(line: Line) -> None:
    await line.start()
    for row in range(5):
        await line.run("INSERT INTO items (id, name, count) VALUES (?, 'shared', 0)", row)
    await asyncio.gather(*(_write(line, writer, 30) for writer in (1, 2, 3)))
    await line.passed()
    assert folded(await line.events("items", 5 + 3 * (30 * 3 + 10))) == await line.rows()


async def test_a_snapshot_among_changes_adds_up_to_the_table(line: Line) -> None:
    database = line.app.database
    await database.execute_many(
        sql(database, "INSERT INTO items (id, name, count) VALUES (?, ?, 0)"),
        [(number, f"name {number}") for number in range(1, 2_501)],
    )
    await line.start()
    # What was there before capture began is not among the changes.
    await line.passed()
    await line.service.request_snapshot("Item")
    done = asyncio.Event()

    async def write(seed: int) -> None:
        random_ = random.Random(seed)
        while not done.is_set():
            row = random_.randint(1, 2_500)
            async with database.transaction() as transaction:
                await line.run("UPDATE items SET count = count + 1 WHERE id = ?", row, executor=transaction)
            await asyncio.sleep(0.001)

    writers = [asyncio.create_task(write(seed)) for seed in (1, 2)]
    client = await line.app.broker.client()

    async def complete() -> bool:
        return b'"done"' in (await client.hget(keys.capture(line.app.name), "snapshot:items") or b"")

    await line.until(complete)
    done.set()
    await asyncio.gather(*writers)
    await line.passed()
    events = await line.events("items", len(await line.raw("items")))
    rows: dict[int, Any] = {}
    for event in events:
        # A row never comes from the snapshot after a change that it does not have.
        key = event["after"]["id"]
        if event["op"] == "r":
            assert rows.get(key, event["after"]) == event["after"]
            assert event["source"]["snapshot"] is True
        elif key in rows:
            assert rows[key] == event["before"]
        rows[key] = event["after"]
    assert rows == await line.rows()
    assert len(rows) == 2_500


async def test_a_table_that_is_made_while_capture_runs_is_captured(line: Line) -> None:
    await line.run("DROP TABLE items")
    await line.start(prepare_every=0.05)
    await line.run("INSERT INTO silents (name) VALUES ('x')")
    await line.app.create_tables_async()
    # Rows from before capture has seen the table are not told where the database must be asked for them.
    client, number = await line.app.broker.client(), 0
    async with asyncio.timeout(15):
        while not await client.exists(keys.events(line.app.name, "items")):
            number += 1
            await line.run("INSERT INTO items (id, name, count) VALUES (?, 'early', 0)", number)
            await asyncio.sleep(0.02)
    await line.run("UPDATE items SET name = 'late' WHERE id = ?", number)
    await line.passed()
    found = [json.loads(fields[b"event"]) for _, fields in await line.raw("items")]
    told_ids = [event["after"]["id"] for event in found if event["op"] == "c"]
    assert told_ids == list(range(told_ids[0], number + 1))
    assert (found[-1]["op"], found[-1]["before"]["name"], found[-1]["after"]["name"]) == ("u", "early", "late")


async def test_a_log_tells_that_columns_changed_before_the_first_row_that_has_them(line: Line) -> None:
    await line.start()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'a', 0)")
    await line.run("ALTER TABLE items ADD COLUMN extra INTEGER")
    await line.run("INSERT INTO items (id, name, count, extra) VALUES (2, 'b', 0, 5)")
    await line.run("UPDATE items SET extra = 6 WHERE id = 2")
    await line.passed()
    found = [json.loads(fields[b"event"]) for _, fields in await line.raw("items")]
    outbox = line.mechanism == "outbox"
    assert [event["op"] for event in found] == (["c", "c", "u"] if outbox else ["c", "ddl", "c", "u"])
    assert folded(found) == await line.rows()
    assert all(event["before"] is event["after"] is None for event in found if event["op"] == "ddl")


async def test_messages_are_told_and_do_not_stay_in_the_outbox(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflow.events.capture._MESSAGE_SECONDS", 0.0)
    await line.start(prepare_every=0.05)
    statement = "INSERT INTO dataflow_outbox (op, name, row_after, created_ms) VALUES ('m', 'order_created', ?, 1)"
    async with line.app.database.transaction() as transaction:
        await line.run("INSERT INTO items (id, name, count) VALUES (1, 'a', 0)", executor=transaction)
        await line.run(statement, '{"order": 7}', executor=transaction)
    with pytest.raises(ZeroDivisionError):
        await _run_and_fail(line, statement, '{"order": 8}')
    [event] = await line.events("@order_created", 1)
    assert (event["op"], event["after"], event["source"]["table"]) == ("m", {"order": 7}, "order_created")

    async def empty() -> bool:
        return await line.app.database.fetch_one("SELECT 1 FROM dataflow_outbox") is None

    await line.until(empty)
    await line.passed()
    assert len(await line.raw("@order_created")) == 1


async def test_a_value_that_the_field_cannot_have_is_left_out_and_named(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    await line.start()
    table = line.app.models["Everything"].table_name
    await insert_everything(line)
    for status in ("weird", "odd", "open"):
        await line.run(f"UPDATE {table} SET status = '{status}'")
    _, first, second, third = await line.events(table, 4)
    rest = {name: value for name, value in TOLD.items() if name != "status"}
    assert (first["before"], first["after"], first["source"]["unavailable"]) == (TOLD, rest, ["status"])
    assert (second["before"], second["after"], second["source"]["unavailable"]) == (rest, rest, ["status"])
    assert (third["before"], third["after"], third["source"]["unavailable"]) == (rest, TOLD, ["status"])
    assert caplog.text.count("holds values that its field cannot have") == 1


@pytest.mark.parametrize("line", ["postgresql-pgoutput"], indirect=True)
async def test_what_others_write_is_acknowledged_so_that_the_server_need_not_keep_its_log(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PostgreSQLSource.__init__.__kwdefaults__, "heartbeat", 0.1)
    await line.start(ack_after=0.05)
    for _ in range(2):  # the second time it has nothing of its own to tell at all
        await line.run(f"INSERT INTO {line.app.models['Silent'].table_name} (name) VALUES ('x')")
        [written] = (await line.app.database.fetch_all("SELECT pg_current_wal_lsn()::text"))[0]

        async def passed(written: str = written) -> bool:
            sql_ = f"SELECT bool_or(confirmed_flush_lsn >= '{written}') FROM pg_replication_slots WHERE active"
            row = await line.app.database.fetch_one(f"{sql_} AND database = current_database()")
            return row is not None and bool(row[0])

        await line.until(passed)
