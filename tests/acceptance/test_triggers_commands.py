"""``dataflow triggers`` as people use it, and a scheduler that captures, too, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import redis

from tests.acceptance.programs import BIN, environment, run

SOURCE = """
from dataflow import DataFlow

db = DataFlow(name="shop")

@db.model
class Order:
    status: str = "open"

@db.on(Order, "create", inputs={"order_id": "after.id"})
@db.actor
def fulfil(order_id: int) -> int:
    return order_id
"""


async def test_triggers_are_listed_paused_resumed_and_removed(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "shop.py").write_text(SOURCE)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path}/shop.db", "DATAFLOW_APP": "shop:db"}

    async def dataflow(*line: str) -> str:
        return await asyncio.to_thread(run, [BIN / "dataflow", "triggers", *line], tmp_path, **variables)

    async def told() -> dict[str, object]:
        (info,) = json.loads(await dataflow("list", "--json")) or [{}]
        return dict(info)

    assert "declared in the code" in await dataflow("list")
    log = tmp_path / "scheduler.log"
    with log.open("wb") as output:
        scheduler = subprocess.Popen(
            [BIN / "dataflow", "scheduler", "shop:db", "--with-capture"],
            cwd=tmp_path, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while "are captured from here on" not in log.read_text():
                await asyncio.sleep(0.05)
            assert "create of Order" in await dataflow("list")
            script = "import shop; from dataflow import LocalRuntime, WorkflowBuilder as W; w = W(); "
            script += "w.add_node('OrderCreateNode', 'o', {}); LocalRuntime().execute(w.build())"
            await asyncio.to_thread(run, [BIN / "python", "-c", script], tmp_path, **variables)
            while (await told())["fired"] != 1:
                await asyncio.sleep(0.05)
        assert await dataflow("pause", "fulfil", "--reason", "inventory") == "fulfil: paused, create of Order\n"
        assert (await told())["reason"] == "inventory"
        assert await dataflow("resume", "fulfil") == "fulfil: active, create of Order\n"
        scheduler.terminate()
        assert await asyncio.to_thread(scheduler.wait, 30) == 0
    finally:
        scheduler.kill()
        scheduler.wait()
    text = log.read_text()
    assert "Traceback" not in text, text
    refused = await asyncio.to_thread(
        subprocess.run, [BIN / "dataflow", "triggers", "remove", "fulfil"], cwd=tmp_path, env=environment(**variables),
        capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "declared in the code" in refused.stderr
