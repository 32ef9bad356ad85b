"""What each mechanism tells of changes that are more than a row: what docs/events.md promises, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import psutil
import pytest

from dataflow import Field
from dataflow.errors import SchemaMismatchError
from dataflow.jobs import keys
from tests.integration.events.conftest import MECHANISMS
from tests.integration.events.lines import Line, folded

OUTBOXES = [name for name in MECHANISMS if name.endswith("-outbox")]


async def told(line: Line, table: str) -> list[dict[str, Any]]:
    """All events of a table, of what is committed now."""
    await line.passed()
    return [json.loads(fields[b"event"]) for _, fields in await line.raw(table)]


def ops(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["op"] for event in events]


async def add_children(line: Line, on_delete: str) -> None:
    """Two items, the first of which has two children, captured from now on."""

    @line.app.model
    class Child:
        __dataflow__: ClassVar = {"timestamps": False}

        item_id: int | None = Field(references="Item", on_delete=on_delete)

    await line.app.create_tables_async()
    await line.start()
    for number in (1, 2):
        await line.run("INSERT INTO items (id, name, count) VALUES (?, 'n', 0)", number)
    for number, item in ((1, 1), (2, 1), (3, 2)):
        await line.run("INSERT INTO children (id, item_id) VALUES (?, ?)", number, item)


@pytest.mark.parametrize(("on_delete", "op"), [("cascade", "d"), ("set null", "u")])
async def test_rows_that_a_foreign_key_changes(line: Line, on_delete: str, op: str) -> None:
    await add_children(line, on_delete)
    await line.run("DELETE FROM items WHERE id = 1")
    assert ops(await told(line, "items")) == ["c", "c", "d"]
    found = await told(line, "children")
    if line.mechanism == "binlog" or line.app.database.dialect == "mysql":
        # Neither its log nor its triggers tell; the probe does.
        assert ops(found) == ["c", "c", "c"]
        problems = [finding.problem for probed in await line.service.probe() for finding in probed.findings]
        assert any("oreign key" in problem and "hild" in problem for problem in problems)
        return
    assert ops(found) == ["c", "c", "c", op, op]
    assert {event["before"]["id"] for event in found[3:]} == {1, 2}
    assert all(event["before"]["item_id"] == 1 for event in found[3:])


async def test_a_table_that_is_emptied(line: Line) -> None:
    await line.start()
    for number in (1, 2):
        await line.run("INSERT INTO items (id, name, count) VALUES (?, 'n', 0)", number)
    sqlite = line.app.database.dialect == "sqlite"
    # SQLite has no TRUNCATE, and empties a table without looking at its rows only where it has no triggers.
    await line.run("DELETE FROM items" if sqlite else "TRUNCATE TABLE items")
    last = {"sqlite-outbox": ["d", "d"], "mysql-outbox": []}
    kind = f"{line.app.database.dialect}-{line.mechanism}"
    assert ops(await told(line, "items")) == ["c", "c", *last.get(kind, ["t"])]


async def test_columns_that_the_model_does_not_have_come_and_go(line: Line) -> None:
    await line.start()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'a', 0)")
    for number, change in enumerate(
        ("ADD COLUMN extra INTEGER", "RENAME COLUMN extra TO more", "DROP COLUMN more"), start=2
    ):
        await line.run(f"ALTER TABLE items {change}")
        await line.run("INSERT INTO items (id, name, count) VALUES (?, 'b', 0)", number)
        await line.run("UPDATE items SET count = count + 1 WHERE id = 1")
    found = await told(line, "items")
    expected = ["c", "c", "u", "c", "u", "c", "u"]
    assert [op for op in ops(found) if op != "ddl"] == expected
    assert ops(found).count("ddl") == (0 if line.mechanism == "outbox" else 3)
    assert folded(found) == await line.rows()
    assert not [event for event in found if event["source"]["unavailable"]]


@pytest.mark.parametrize("line", sorted(set(MECHANISMS) - set(OUTBOXES)), indirect=True)
async def test_a_log_tells_rows_without_a_column_of_the_model_that_is_gone(line: Line) -> None:
    await line.start()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'a', 5)")
    await line.run("ALTER TABLE items DROP COLUMN name")
    await line.run("UPDATE items SET count = 6 WHERE id = 1")
    found = await told(line, "items")
    assert ops(found) == ["c", "ddl", "u"]
    assert (found[2]["before"], found[2]["after"]) == ({"id": 1, "count": 5}, {"id": 1, "count": 6})


@pytest.mark.parametrize("line", OUTBOXES, indirect=True)
async def test_a_column_of_the_model_must_stay_while_triggers_name_it(line: Line) -> None:
    await line.start()
    drop, insert = "ALTER TABLE items DROP COLUMN name", "INSERT INTO items (id, count) VALUES (1, 5)"
    if line.app.database.dialect == "sqlite":
        with pytest.raises(SchemaMismatchError):
            await line.run(drop)
        return
    await line.run(drop)
    with pytest.raises(SchemaMismatchError):
        await line.run(insert)


def numbers(count: int) -> str:
    """A query of the numbers from 0, which every database takes."""
    digits = "(SELECT 0 AS n" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"
    places = len(str(count - 1))
    value = " + ".join(f"{10**place} * d{place}.n" for place in range(places))
    return f"SELECT {value} AS n FROM {', '.join(f'{digits} AS d{place}' for place in range(places))}"


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite keeps of the file in memory is no concern of capture's."""
    monkeypatch.setattr("dataflow.databases.sqlite._MMAP_BYTES", 0)
    monkeypatch.setenv("DATAFLOW_CACHE_SIZE_MB", "1")


@pytest.mark.timeout(240)
async def test_a_large_transaction_needs_no_memory(small_caches: None, line: Line) -> None:
    count, text = 50_000, "x" * 1_000
    await line.start()
    await line.run("INSERT INTO items (id, name, count) VALUES (1000000, 'first', 0)")
    await line.passed()
    query = f"SELECT n, '{text}', 0 FROM ({numbers(count)}) AS numbers WHERE n < {count}"
    await line.run(f"INSERT INTO items (id, name, count) {query}")
    client, process = await line.app.broker.client(), psutil.Process()
    stream, before = keys.events(line.app.name, "items"), process.memory_info().rss
    most = before

    async def done() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return bool(await client.xlen(stream) >= count + 1)

    await line.until(done, 200)
    await line.passed()
    assert await client.xlen(stream) == count + 1
    # The rows are 50 MB in the database's log, and several times that in Python.
    assert most - before < 35_000_000
    # Their order is the ids', and none is there twice.
    _, last = (await client.xrevrange(stream, count=1))[0]
    assert json.loads(last[b"event"])["after"]["name"] == text
