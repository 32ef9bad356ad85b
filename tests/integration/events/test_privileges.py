"""Who may too little is told what is missing, and by which statement it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from dataflow import DataFlow
from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database
from dataflow.errors import CaptureError, MissingTableError
from dataflow.events.service import CaptureService, findings_text
from dataflow.events.sources.choice import Probed, choose
from dataflow.events.sources.interface import Finding, Source
from dataflow.events.tables import ensure_tables
from tests.integration.events.lines import declare
from tests.servers import RedisServer, Server


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, DataFlow]]:
    """The database as its administrator, who made the tables; and an instance of a user ``poor``, who may use them."""
    parts = urlsplit(url)
    user = f"poor_{parts.path[1:]}"[:32]
    postgresql = parts.scheme == "postgresql"
    admin = open_database(url, DatabaseOptions(pool_size=1))
    account = f'"{user}"' if postgresql else f"'{user}'@'%%'"
    async with DataFlow(url, name="rich") as rich:
        declare(rich)
        await rich.create_tables_async()
    if postgresql:
        await admin.execute(f"CREATE ROLE {account} LOGIN")
        await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {account}")
    else:
        await admin.execute(f"CREATE USER {account}")
        await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {parts.path[1:]}.* TO {account}")
    poor = DataFlow(urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{parts.port}")), name="poor", pool_size=2)
    declare(poor)
    try:
        yield admin, poor
    finally:
        await poor.close_async()
        if postgresql:
            await admin.execute(f"DROP OWNED BY {account} CASCADE")
        await admin.execute(f"DROP {'ROLE' if postgresql else 'USER'} {account}")
        await admin.close()


async def fatal(service: CaptureService) -> list[Finding]:
    return [finding for probed in await service.probe() for finding in probed.findings if finding.fatal]


async def prepared(service: CaptureService) -> None:
    best, _ = await choose(service.site, "outbox")
    try:
        await ensure_tables(best.source._database, may_create=True)  # type: ignore[attr-defined]
        await best.source.prepare()
    finally:
        await best.source.close()


async def test_a_role_of_postgresql_gets_what_triggers_need(postgresql_db_url: str) -> None:
    async with opened(postgresql_db_url) as (admin, poor):
        service = CaptureService(poor, mechanism="outbox")
        schema, triggers = await fatal(service)
        assert "may make neither tables nor functions in the schema public" in schema.problem
        assert "may not make triggers on everythings, items" in triggers.problem
        with pytest.raises(CaptureError, match="GRANT CREATE ON SCHEMA public TO .*\nGRANT TRIGGER ON") as raised:
            await prepared(service)
        assert ".;" not in raised.value.message
        for finding in (schema, triggers):
            await admin.execute(finding.fix)
        assert await fatal(service) == []
        await prepared(service)


async def test_triggers_that_another_role_made_are_its_own_to_change(postgresql_db_url: str) -> None:
    async with opened(postgresql_db_url) as (admin, poor):
        service = CaptureService(poor, mechanism="outbox")
        for finding in await fatal(service):
            await admin.execute(finding.fix)
        await prepared(service)
        await admin.execute('ALTER FUNCTION "dataflow_events_items" OWNER TO CURRENT_USER')
        await admin.execute("DELETE FROM dataflow_capture WHERE name = 'triggers'")
        with pytest.raises(
            CaptureError, match=r"must be owner of function dataflow_events_items.* DATAFLOW_AUTO_MIGRATE"
        ):
            await prepared(service)


async def test_a_user_of_mysql_who_may_not_make_triggers(mysql_db_url: str) -> None:
    async with opened(mysql_db_url) as (admin, poor):
        service = CaptureService(poor, mechanism="outbox")
        with pytest.raises(
            MissingTableError, match=r"(?s)CREATE command denied.*Create it:\nCREATE TABLE `dataflow_outbox`"
        ):
            await prepared(service)
        await ensure_tables(admin, may_create=True)
        with pytest.raises(CaptureError, match="(?s)cannot be made: .*denied.*\nCREATE TRIGGER `dataflow_c_items`"):
            await prepared(service)


async def test_a_user_of_mysql_with_a_binary_log(binlog_db_url: str) -> None:
    async with opened(binlog_db_url) as (admin, poor):
        log, triggers = await fatal(CaptureService(poor))
        assert triggers.problem == "With the binary log on, only SUPER may make triggers."
        assert triggers.fix.startswith("SET GLOBAL log_bin_trust_function_creators = 1;")
        with pytest.raises(CaptureError, match="cannot be captured: binlog: .*; outbox: .*triggers."):
            await choose(CaptureService(poor).site)

        await admin.execute(log.fix.replace("%", "%%"))
        best, _ = await choose(CaptureService(poor).site)
        assert best.source.mechanism == "binlog"
        with pytest.raises(CaptureError, match="no table dataflow_binlog_marks.*CREATE command denied") as raised:
            await best.source.prepare()
        assert raised.value.hint is not None
        await admin.execute(raised.value.hint.partition("\n")[2])
        await best.source.prepare()
        await best.source.close()


async def test_what_redis_may_do_to_streams(tmp_path: Path, new_server: Callable[[type[Server]], Server]) -> None:
    server = new_server(RedisServer)
    account = server.url.replace("redis://", "redis://capture:secret@")
    async with DataFlow(f"sqlite:///{tmp_path}/a.db", name="all", redis_url=server.url) as app:
        client = await app.broker.client()
        await client.config_set("maxmemory", "100mb")
        await client.config_set("maxmemory-policy", "allkeys-lru")
        crash, eviction = await CaptureService(app).probe_redis()
        assert crash.startswith(
            "Redis: A crash takes the streams with it (appendonly is no).\n    CONFIG SET appendonly"
        )
        assert "(maxmemory-policy is allkeys-lru)" in eviction
        await client.acl_setuser(
            "capture", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"]
        )
    async with DataFlow(f"sqlite:///{tmp_path}/a.db", name="some", redis_url=account) as app:
        assert await CaptureService(app).probe_redis() == []
    async with DataFlow(f"sqlite:///{tmp_path}/a.db", name="none") as app:
        assert await CaptureService(app).probe_redis() == []
    server.stop()
    async with DataFlow(f"sqlite:///{tmp_path}/a.db", name="away", redis_url=server.url) as app:
        [away] = await CaptureService(app).probe_redis()
        assert away.startswith("Redis: [DF-801]")


def test_statements_of_several_lines_stand_below_what_they_mend() -> None:
    class Nothing:
        mechanism = "binlog"

    source: Source = Nothing()  # type: ignore[assignment]
    findings = [Finding("No log.", "[mysqld]\nlog_bin = on", fatal=True), Finding("Slow.")]
    assert findings_text([Probed(source, findings)]) == [
        "binlog cannot be used: No log.\n    [mysqld]\n    log_bin = on",
        "binlog: Slow.",
    ]
