"""Capture is killed at random moments, and Redis too, while three write: rows in the table = events in the stream."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from dataflow.databases import open_database
from tests.acceptance.programs import BIN, environment
from tests.integration.events.lines import folded
from tests.servers import RedisServer, Server

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

    def __init__(self, folder: Path, redis_url: str, *options: str) -> None:
        variables = environment(DATABASE_URL="sqlite:///shop.db", REDIS_URL=redis_url)
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


async def test_no_event_is_lost_or_twice_whoever_is_killed(
    folder: Path, new_server: Callable[[type[Server]], Server]
) -> None:
    server = new_server(RedisServer)
    assert isinstance(server, RedisServer)
    server.appendonly = True
    await asyncio.to_thread(server.restart)
    capture = CaptureProcess(folder, server.url)
    database = open_database(f"sqlite:///{folder / 'shop.db'}")
    done = asyncio.Event()
    random_ = random.Random()

    async def until_captured() -> None:
        async with asyncio.timeout(20):
            while not (await database.existing_columns(["dataflow_capture", "items"])).keys() >= {"items"} or (
                await database.fetch_one("SELECT 1 FROM sqlite_master WHERE name = 'dataflow_d_items'") is None
            ):
                await asyncio.sleep(0.02)

    async def write(writer: int) -> None:
        own = 10_000 * writer
        while not done.is_set():
            own += 1
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO items (id, name, count) VALUES (?, 'n', 0)", (own,))
                await transaction.execute("UPDATE items SET count = count + 1 WHERE id % 7 = ?", (writer,))
                if own % 3 == 0:
                    await transaction.execute("DELETE FROM items WHERE id = ?", (own - 1,))
            await asyncio.sleep(random_.random() * 0.02)

    try:
        await until_captured()
        writers = [asyncio.create_task(write(writer)) for writer in (1, 2, 3)]
        with redis.Redis.from_url(server.url) as client:
            for kill in range(4):
                # From one event to the next kill: capture works again each time.
                before = client.xlen(STREAM)
                async with asyncio.timeout(20):
                    while client.xlen(STREAM) < before + random_.randint(5, 60):
                        await asyncio.sleep(0.01)
                if kill == 2:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                else:
                    capture.kill()
                    # The dead process's lock would be waited for; a test need not.
                    client.delete("rq:dataflow:capture-lock:shop")
                    capture = CaptureProcess(folder, server.url)
            done.set()
            await asyncio.gather(*writers)
            rows = {
                row[0]: {"id": row[0], "name": row[1], "count": row[2]}
                for row in await database.fetch_all("SELECT id, name, count FROM items")
            }
            row = await database.fetch_one("SELECT seq FROM sqlite_sequence WHERE name = 'dataflow_outbox'")
            assert row is not None
            async with asyncio.timeout(20):
                while client.xlen(STREAM) < row[0]:
                    await asyncio.sleep(0.02)
            events = [json.loads(fields[b"event"]) for _, fields in client.xrange(STREAM)]
            assert len(events) == row[0]
            assert folded(events) == rows
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
