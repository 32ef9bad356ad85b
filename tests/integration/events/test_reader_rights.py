"""A Redis user with no more rights than docs/security.md gives to who reads events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis

from dataflow import DataFlow
from dataflow.errors import BrokerUnavailableError
from dataflow.events.overview import forget_reader, stream_infos
from dataflow.nodes.interface import RunContext
from tests.integration.events.lines import declare
from tests.integration.events.stage import Stage, given
from tests.servers import RedisServer

TEXT = (Path(__file__).parents[3] / "docs" / "security.md").read_text()


async def test_who_reads_events_needs_no_more(new_server: Callable[..., Any]) -> None:
    server = new_server(RedisServer)
    rule = re.search(r"^    (ACL SETUSER reader .*)$", TEXT, re.MULTILINE)
    assert rule is not None
    stage = Stage(server.url)
    await stage.open()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command(*rule[1].split())
    app = DataFlow(":memory:", name="stage", redis_url=server.url.replace("//", "//reader:READER-PASSWORD@"))
    declare(app)
    try:
        await stage.items(1, 2)
        async with app.events("Item", since=timedelta(hours=1)) as follower:
            assert await given(follower, 2) == [1, 2]
        async with app.events("@paid", group="g", since="start", idle=0.05, attempts=1) as member:
            await stage.publish(("@paid", 3))
            assert await given(member, 1) == [3]
        async with app.events("@paid", group="g", idle=0.05, attempts=1) as member:
            again = asyncio.create_task(given(member, 1))
            while not (letters := await app.dead_events.list()):
                await asyncio.sleep(0.01)
            await app.dead_events.retry(letters[0].key)
            assert await again == [3]
        found = await app.nodes["EventSourceNode"].run({"table": "items", "reader": "r"}, RunContext("a", "b"))
        assert found["count"] == 2
        infos = await stream_infos(app.broker, "stage")
        assert [one.name for info in infos for one in info.readers] == ["group:g", "reader:r"]
        assert await forget_reader(app.broker, "stage", "group:g")
        assert await forget_reader(app.broker, "stage", "reader:r")
    except BrokerUnavailableError as error:
        raise AssertionError("docs/security.md gives too little") from error
    finally:
        await app.close_async()
        await stage.close()
