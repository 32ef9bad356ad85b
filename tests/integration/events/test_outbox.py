"""The outbox on databases where several may write at once."""

from __future__ import annotations

import asyncio

import pytest

from dataflow.databases.url import parse_url
from dataflow.errors import CaptureError
from dataflow.events.sources.outbox import OutboxSource
from dataflow.events.sources.triggers import triggers
from dataflow.events.tables import ensure_tables
from tests.integration.events.conftest import MECHANISMS
from tests.integration.events.lines import Line, folded


@pytest.mark.parametrize(
    "line", [name for name in MECHANISMS if name in ("postgresql-outbox", "mysql-outbox")], indirect=True
)
async def test_a_transaction_that_began_first_and_commits_last_is_not_missed(line: Line) -> None:
    await line.start()
    database = line.app.database
    async with database.transaction() as slow:
        await line.run("INSERT INTO items (id, name, count) VALUES (1, 'slow', 0)", executor=slow)
        await line.run("INSERT INTO items (id, name, count) VALUES (2, 'fast', 0)")
        assert [event["after"]["id"] for event in await line.events("items", 1)] == [2], "and nobody waits for it"
        await line.run("UPDATE items SET count = 1 WHERE id = 2", executor=slow)
    found = await line.events("items", 3)
    assert [(event["op"], event["after"]["id"]) for event in found] == [("c", 2), ("c", 1), ("u", 2)]
    assert folded(found) == await line.rows()


@pytest.mark.parametrize("line", ["postgresql-outbox"], indirect=True)
async def test_truncate_and_the_transactions_id_are_told(line: Line) -> None:
    await line.start()
    async with line.app.database.transaction() as transaction:
        for number in (1, 2):
            await line.run("INSERT INTO items (id, name, count) VALUES (?, 'x', 0)", number, executor=transaction)
    await line.run("TRUNCATE items")
    found = await line.events("items", 3)
    assert [event["op"] for event in found] == ["c", "c", "t"]
    assert found[0]["tx"]["id"] == found[1]["tx"]["id"] != found[2]["tx"]["id"]


@pytest.mark.parametrize("line", ["postgresql-outbox"], indirect=True)
async def test_values_are_told_alike_whatever_the_session_says(line: Line) -> None:
    from tests.integration.events.test_sources import TOLD, insert_everything

    await line.start()
    table = line.app.models["Everything"].table_name
    await insert_everything(line)
    async with line.app.database.transaction() as transaction:
        for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German'", "bytea_output = 'escape'"):
            await transaction.execute(f"SET LOCAL {setting}")
        await transaction.execute("SET LOCAL extra_float_digits = -15")
        await transaction.execute(f"UPDATE {table} SET note = 'n'")
    found = await line.events(table, 2)
    assert found[1]["after"] == {**TOLD, "note": "n"}


@pytest.mark.parametrize("line", [name for name in MECHANISMS if name.endswith("-outbox")], indirect=True)
async def test_nothing_is_left_after_remove(line: Line) -> None:
    await line.start()
    await line.stop()
    await line.service.remove()
    await line.run("INSERT INTO items (id, name, count) VALUES (1, 'x', 0)")
    assert await line.app.database.existing_columns(["dataflow_outbox", "dataflow_capture"]) == {}
    await asyncio.sleep(0)


@pytest.mark.parametrize("line", [name for name in MECHANISMS if name.endswith("-outbox")], indirect=True)
async def test_where_nothing_may_be_made_the_findings_statements_make_it(line: Line) -> None:
    app, models = line.app, list(line.service.site.models)
    await ensure_tables(app.database, may_create=True)

    def source() -> OutboxSource:
        url = parse_url(app.settings.database_url)
        return OutboxSource(app.database, url, models, app.name, may_create=False)

    [missing] = [finding for finding in await source().probe() if finding.fatal]
    assert "_items" in missing.problem
    with pytest.raises(CaptureError, match="Triggers are missing"):
        await source().prepare()
    for spec in models:
        for trigger in triggers(app.database.dialect, spec):
            for statement in trigger.create:
                assert statement in missing.fix
                await app.database.execute(statement)
    assert not [finding for finding in await source().probe() if finding.fatal]
    await source().prepare()
