"""``dataflow capture`` as people use it: a process that captures, what others see of it, and Redis's own tool."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dataflow.jobs import Broker
from dataflow.jobs.prometheus import fleet_text
from tests.acceptance.programs import BIN, environment
from tests.servers import RedisServer

APP = """
from decimal import Decimal
from dataflow import DataFlow

db = DataFlow("sqlite:///shop.db", name="shop")

@db.model
class Order:
    __dataflow__ = {"timestamps": False}
    customer: str
    total: Decimal
"""


class Shop:
    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder, self.redis_url = folder, redis_url
        (folder / "shop.py").write_text(APP)

    def dataflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "dataflow", *arguments], cwd=self.folder, env=environment(REDIS_URL=self.redis_url), text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
        )  # fmt: skip

    def start_capture(self) -> subprocess.Popen[str]:
        command = [BIN / "dataflow", "capture", "shop:db"]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment(REDIS_URL=self.redis_url), text=True, stderr=subprocess.PIPE
        )

    def write(self, statement: str) -> None:
        """As somebody who knows nothing of DataFlow."""
        with sqlite3.connect(self.folder / "shop.db", timeout=10) as connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture
def shop(tmp_path: Path, redis_url: str) -> Iterator[Shop]:
    with redis.Redis.from_url(redis_url) as client:
        yield Shop(tmp_path, redis_url)
        if found := list(client.scan_iter(match="rq:dataflow:*")):
            client.delete(*found)


async def until(client: redis.Redis, length: int) -> None:
    async with asyncio.timeout(20):
        while client.xlen("rq:dataflow:events:shop:orders") < length:
            await asyncio.sleep(0.01)


async def test_what_others_see_of_a_capture(shop: Shop, redis_server: RedisServer) -> None:
    before = shop.dataflow("capture", "shop:db", "--status")
    assert (before.returncode, "stopped" in before.stdout) == (1, True)
    probe = shop.dataflow("capture", "shop:db", "--probe")
    assert (probe.returncode, probe.stderr) == (0, "")
    assert "Changes of shop in sqlite:///shop.db are captured by outbox." in probe.stdout
    assert "Redis: A crash takes the streams with it (appendonly is no).\n    CONFIG SET appendonly yes" in probe.stdout

    capture = shop.start_capture()
    with redis.Redis.from_url(shop.redis_url) as client:
        try:
            async with asyncio.timeout(20):
                while not client.hexists("rq:dataflow:capture:shop", "seen_ms"):
                    await asyncio.sleep(0.01)
            shop.write("INSERT INTO orders (id, customer, total) VALUES (1, 'Zoë', '12.50')")
            await until(client, 1)
            assert shop.dataflow("capture", "shop:db", "--snapshot", "Order").returncode == 0
            await until(client, 2)
            status = shop.dataflow("capture", "shop:db", "--status", "--json")
            assert status.returncode == 0, status.stdout
            [told] = json.loads(status.stdout)
            assert (told["instance"], told["state"], told["mechanism"]) == ("shop", "running", "outbox")
            assert (told["events"], told["epoch"], told["snapshots"]["orders"]["rows"]) == (2, 1, 1)
            assert told["lag"] < 15
            shown = shop.dataflow("capture", "shop:db", "--status").stdout
            assert "Snapshot of orders: done, 1 rows." in shown
            stats = json.loads(shop.dataflow("jobs", "stats", "--json").stdout)
            assert {one["instance"]: one["events"] for one in stats["captures"]}["shop"] == 2
            assert "shop" in shop.dataflow("jobs", "stats").stdout
        finally:
            capture.terminate()
            _, log = await asyncio.to_thread(capture.communicate)
    assert capture.returncode == 0, log

    after = json.loads(shop.dataflow("capture", "shop:db", "--status", "--json").stdout)
    assert [one["state"] for one in after] == ["stopped"]
    broker = Broker(shop.redis_url)
    try:
        lines = (await fleet_text(broker)).splitlines()
    finally:
        await broker.close()
    assert 'dataflow_capture_running{instance="shop"} 0' in lines
    assert 'dataflow_capture_events_total{instance="shop"} 2' in lines


async def test_redis_own_tool_shows_readable_json(shop: Shop) -> None:
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed")
    capture = shop.start_capture()
    with redis.Redis.from_url(shop.redis_url) as client:
        try:
            async with asyncio.timeout(20):
                while not client.hexists("rq:dataflow:capture:shop", "seen_ms"):
                    await asyncio.sleep(0.01)
            shop.write("INSERT INTO orders (id, customer, total) VALUES (7, 'Zoë \"Z\" O''Neill', '12.50')")
            await until(client, 1)
        finally:
            capture.terminate()
            await asyncio.to_thread(capture.communicate)
    # The command that docs/events.md shows.
    command = [program, "-u", shop.redis_url, "XRANGE", "rq:dataflow:events:shop:orders", "-", "+", "COUNT", "1"]
    entry_id, field, text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    event = json.loads(text)
    assert field == "event"
    assert event["id"] == entry_id
    assert "Zoë" in text
    # Debezium's names.
    assert event["op"] == "c"
    assert event["before"] is None
    assert event["after"] == {"id": 7, "customer": 'Zoë "Z" O\'Neill', "total": "12.50"}
    assert (event["source"]["db"], event["source"]["table"]) == ("shop", "orders")
    assert isinstance(event["ts_ms"], int)
