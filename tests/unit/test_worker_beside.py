"""Coroutines beside the event loop end, fail and are cancelled as if they were on it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from worker.beside import run_beside


async def test_it_runs_in_a_thread_of_its_own_while_the_loop_is_blocked() -> None:
    seen: list[str] = []
    begun, count = threading.Event(), threading.Semaphore(0)

    async def work() -> None:
        seen.append(threading.current_thread().name)
        begun.set()
        for _ in range(5):
            await asyncio.sleep(0.001)
            count.release()

    task = asyncio.create_task(run_beside(work, "beside"))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(5):
        assert count.acquire(timeout=10), "the loop is blocked here"
    await task
    assert seen == ["beside"]


async def test_its_error_is_raised() -> None:
    async def work() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await run_beside(work, "beside")


async def test_cancelling_it_waits_for_its_cleanup() -> None:
    begun, cleaned = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    task = asyncio.create_task(run_beside(work, "beside"))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
    assert time.monotonic() - began < 5
