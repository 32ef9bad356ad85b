"""A process of a group, as the tests kill it: prints the row ids that it is given, and hangs at one of them."""

from __future__ import annotations

import asyncio
import sys

from dataflow import DataFlow
from tests.integration.events.lines import declare


async def main(redis_url: str, hang_at: int) -> None:
    app = DataFlow(":memory:", name="stage", redis_url=redis_url)
    declare(app)
    async for event in app.events("Item", group="g", since="start", idle=0.5):
        assert event.after is not None
        print(event.after["id"], flush=True)
        if event.after["id"] == hang_at:
            await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
