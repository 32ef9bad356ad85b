"""Capture, Redis and the database are killed at random moments while three write: rows in the table = events in the
stream.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from dataflow.databases import open_database
from dataflow.errors import DatabaseError
from tests.acceptance.programs import BIN, environment
from tests.integration.databases import sql
from tests.integration.events.lines import folded
from tests.integration.events.test_binlog_source import LOGGED
from tests.servers import MariaDBServer, PostgreSQLServer, RedisServer, Server

APP = """
from dataflow import DataFlow

db = DataFlow(name="shop")

@db.model
class Item:
    __dataflow__ = {"timestamps": False}
    name: str
    count: int
"""
STREAM = "rq:dataflow:events:shop:items"


class CaptureProcess:
    """A ``dataflow capture``."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, *options: str) -> None:
        variables = environment(DATABASE_URL=database_url, REDIS_URL=redis_url)
        with (folder / "capture.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "dataflow", "capture", "shop:db", *options],
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


#: Database → the mechanism that captures it.
KINDS = {"sqlite": "outbox", "postgresql": "pgoutput", "mysql": "binlog"}


@pytest.fixture(params=KINDS)
def database_server(request: pytest.FixtureRequest, new_server: Callable[[type[Server]], Server]) -> Server | None:
    """A server whose log is captured; None for SQLite."""
    match request.param:
        case "postgresql":
            pytest.importorskip("psycopg")
            return new_server(PostgreSQLServer)
        case "mysql":
            server = new_server(MariaDBServer)
            assert isinstance(server, MariaDBServer)
            server.options = LOGGED
            server.restart()
            return server
    return None


async def test_no_event_is_lost_or_twice_whoever_is_killed(
    folder: Path, database_server: Server | None, new_server: Callable[[type[Server]], Server]
) -> None:
    server = new_server(RedisServer)
    assert isinstance(server, RedisServer)
    server.appendonly = True
    await asyncio.to_thread(server.restart)
    url = f"sqlite:///{folder / 'shop.db'}" if database_server is None else database_server.url
    database = open_database(url)
    capture = CaptureProcess(folder, url, server.url)
    done = asyncio.Event()
    random_ = random.Random()

    insert = sql(database, "INSERT INTO items (id, name, count) VALUES (?, 'n', 0)")
    update = sql(database, "UPDATE items SET count = count + 1 WHERE id = ?")

    async def write(writer: int) -> None:
        own = 10_000 * writer
        while not done.is_set():
            own += 1
            # A commit that a killed server did not answer is done or not; the table tells.
            with suppress(DatabaseError):
                async with database.transaction() as transaction:
                    await transaction.execute(insert, (own,))
                    await transaction.execute(update, (own - 3,))
                    await transaction.execute(update, (own,))
                    if own % 3 == 0:
                        await transaction.execute(sql(database, "DELETE FROM items WHERE id = ?"), (own - 1,))
            await asyncio.sleep(random_.random() * 0.02)

    try:
        with redis.Redis.from_url(server.url) as client:
            async with asyncio.timeout(20):
                while not client.hexists("rq:dataflow:capture:shop", "incarnation"):
                    await asyncio.sleep(0.02)
            writers = [asyncio.create_task(write(writer)) for writer in (1, 2, 3)]
            for victim in random_.sample(["capture", "capture", "redis", "database"], 4):
                # From one event to the next kill: capture works again each time.
                before = client.xlen(STREAM)
                async with asyncio.timeout(30):
                    while client.xlen(STREAM) < before + random_.randint(5, 60):
                        await asyncio.sleep(0.01)
                if victim == "redis":
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                elif victim == "database" and database_server is not None:
                    await asyncio.to_thread(database_server.kill)
                    await asyncio.to_thread(database_server.start)
                else:
                    capture.kill()
                    # The dead process's lock would be waited for; a test need not.
                    client.delete("rq:dataflow:capture-lock:shop")
                    capture = CaptureProcess(folder, url, server.url)
            done.set()
            await asyncio.gather(*writers)
            await database.execute(sql(database, "INSERT INTO items (id, name, count) VALUES (1, 'last', 0)"))
            async with asyncio.timeout(30):
                while b'"last"' not in client.xrevrange(STREAM, count=1)[0][1][b"event"]:
                    await asyncio.sleep(0.02)
            events = [json.loads(fields[b"event"]) for _, fields in client.xrange(STREAM)]
            rows = await database.fetch_all("SELECT id, name, count FROM items")
            assert folded(events) == {row[0]: {"id": row[0], "name": row[1], "count": row[2]} for row in rows}
            sources = {(event["source"]["epoch"], event["source"]["mechanism"]) for event in events}
            assert sources == {(1, KINDS[database.dialect.value])}
    finally:
        capture.kill()
        await database.close()


async def test_the_command_probes_asks_for_snapshots_and_removes(
    folder: Path, new_server: Callable[[type[Server]], Server]
) -> None:
    server = new_server(RedisServer)

    def run(*options: str) -> str:
        variables = environment(DATABASE_URL="sqlite:///shop.db", REDIS_URL=server.url)
        command = [BIN / "dataflow", "capture", "shop:db", *options]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "are captured by outbox" in await asyncio.to_thread(run, "--probe")
    assert not (folder / "shop.db").exists() or b"dataflow_outbox" not in (folder / "shop.db").read_bytes()
    assert "op r" in await asyncio.to_thread(run, "--snapshot", "Item")
    with redis.Redis.from_url(server.url) as client:
        assert client.hgetall("rq:dataflow:capture:shop") == {b"snapshot:items": b'{"state":"wanted"}'} or client.hget(
            "rq:dataflow:capture:shop", "snapshot:items"
        )
    assert "Nothing of capture is left" in await asyncio.to_thread(run, "--remove")
