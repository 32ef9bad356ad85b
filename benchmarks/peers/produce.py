"""``python -m benchmarks.peers.produce MODULE ACTION KIND COUNT SIZE``: a producer, in its library's virtualenv.

ACTION is ``tables``, ``one``, ``one-sync`` or ``many``. Prints the seconds that enqueuing COUNT jobs took, with
payloads of SIZE bytes.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import importlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


def payload(size: int) -> str:
    """A text of so many bytes that compresses badly, the same each time."""
    return base64.b64encode(random.Random(size).randbytes(size)).decode()[:size]


def main(module: str, action: str, kind: Any = "nothing", count: str = "0", size: str = "0") -> None:
    """Do it, and print the seconds."""
    producer: Any = importlib.import_module(f"benchmarks.peers.{module}").producer
    text = payload(int(size))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(producer.open())
        if action == "tables":
            runner.run(producer.create_tables())
            return
        gc.collect()
        if action == "one-sync":
            started = time.perf_counter()
            for _ in range(int(count)):
                producer.enqueue_sync(kind, text)
            seconds = time.perf_counter() - started
        elif action == "one":
            seconds = runner.run(_timed(lambda: _each(producer, kind, text, int(count))))
        else:
            seconds = runner.run(_timed(lambda: producer.enqueue_many(kind, [text] * int(count))))
    print(seconds)


async def _each(producer: Any, kind: Any, text: str, count: int) -> None:
    for _ in range(count):
        await producer.enqueue(kind, text)


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main(*sys.argv[1:])
