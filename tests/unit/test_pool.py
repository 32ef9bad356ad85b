"""The pool by itself: its connections are plain objects, so that every interleaving can be tried."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dataflow.databases import pool as pool_module
from dataflow.databases.interface import Arguments, Capabilities, Outcome, Row
from dataflow.databases.pool import Pool, PoolLimits, Slot
from dataflow.databases.sessions import PooledSession
from dataflow.errors import DatabaseUnavailableError, PoolTimeoutError


class Plug(PooledSession):
    """A connection to nothing."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.closed = False
        self.holders = 0

    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        return []

    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        return None

    async def execute(self, sql: str, args: Arguments) -> Outcome:
        return Outcome(0)

    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        return 0

    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        return 0

    async def command(self, sql: str) -> None: ...

    async def begin(self, settings: Mapping[str, str] | None = None) -> None: ...

    async def commit(self) -> None: ...

    async def ping(self) -> None:
        await self.socket.step()
        if self.closed or self.socket.down:
            raise ConnectionError("dead")

    def is_in_transaction(self) -> bool:
        return False

    def is_outdated(self, statement: str, error: BaseException) -> bool:
        raise AssertionError("the pool runs no statements")

    async def settle(self) -> bool:
        await self.socket.step()
        return not self.closed and self.socket.usable_after_cancel

    async def capabilities(self) -> Capabilities:
        raise AssertionError("a pool has no use for them")

    async def close(self) -> None:
        await self.socket.step()
        self.terminate()

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        if not self.closed:
            self.closed = True
            self.socket.open -= 1


class Socket:
    """Where plugs come from; counts them."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0
        self.down = False
        self.usable_after_cancel = True
        self.random = random.Random(1)

    async def step(self) -> None:
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)

    async def connect(self) -> Plug:
        await self.step()
        if self.down:
            raise DatabaseUnavailableError("down")
        self.open += 1
        self.most = max(self.most, self.open)
        return Plug(self)


def make_pool(socket: Socket, **changes: Any) -> Pool[Plug]:
    limits = {"size": 2, "max_overflow": 1, "timeout": 5.0, "recycle": 3600.0, "pre_ping": True, **changes}
    return Pool(socket.connect, PoolLimits(**limits), "test://")


async def get(pool: Pool[Plug]) -> Slot[Plug]:
    return pool.take() or await pool.acquire()


async def settled(pool: Pool[Plug]) -> None:
    while pool._side_tasks:
        await asyncio.sleep(0)


async def test_a_connection_is_used_again_the_latest_first() -> None:
    pool = make_pool(Socket())
    first, second = await get(pool), await get(pool)
    pool.release(first)
    pool.release(second)
    assert pool.take() is second
    assert pool.take() is first
    assert pool.take() is None


async def test_callers_beyond_the_capacity_wait_in_order() -> None:
    socket = Socket()
    pool = make_pool(socket)
    held = [await get(pool) for _ in range(3)]
    order: list[int] = []

    async def caller(number: int) -> None:
        slot = await get(pool)
        order.append(number)
        pool.release(slot)

    tasks = [asyncio.create_task(caller(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert pool.metrics()["waiting"] == 5
    assert pool.metrics()["is_exhausted"] is True
    for slot in held:
        pool.release(slot)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert socket.most == 3


async def test_waiting_too_long_says_what_to_raise() -> None:
    pool = make_pool(Socket(), timeout=0.01)
    held = [await get(pool) for _ in range(3)]
    with pytest.raises(PoolTimeoutError, match=r"pool_size \(now 2\) or max_overflow \(now 1\)"):
        await get(pool)
    for slot in held:
        pool.release(slot)
    assert pool.metrics()["checked_out"] == 0
    assert pool.metrics()["waiting"] == 0


async def test_a_broken_connection_costs_no_place() -> None:
    socket = Socket()
    pool = make_pool(socket, size=1, max_overflow=0)
    slot = await get(pool)
    waiting = asyncio.create_task(get(pool))
    await asyncio.sleep(0)
    assert slot.session is not None
    slot.session.terminate()
    pool.release(slot)
    other = await waiting
    assert other.session is not None
    assert not other.session.is_closed()
    assert socket.open == 1


async def test_a_failed_connect_lets_the_next_caller_try() -> None:
    socket = Socket()
    pool = make_pool(socket, size=1, max_overflow=0)
    socket.down = True
    results = await asyncio.gather(*(get(pool) for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 4
    assert pool.metrics()["total"] == 0
    socket.down = False
    pool.release(await get(pool))
    assert pool.metrics()["total"] == 1


async def test_an_idle_connection_is_checked_before_use(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = Socket()
    pool = make_pool(socket)
    slot = await get(pool)
    plug = slot.session
    pool.release(slot)
    monkeypatch.setattr(pool_module, "CHECK_AFTER", -1.0)
    assert pool.take() is None
    assert (await pool.acquire()).session is plug
    pool.release(slot)
    assert plug is not None
    plug.terminate()
    replaced = await pool.acquire()
    assert replaced.session is not plug
    assert socket.open == 1


async def test_an_old_connection_is_replaced() -> None:
    socket = Socket()
    pool = make_pool(socket, recycle=1e-9)
    slot = await get(pool)
    plug = slot.session
    pool.release(slot)
    assert (await get(pool)).session is not plug
    assert socket.open == 1


async def test_connections_beyond_the_size_are_closed_when_nobody_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "OVERFLOW_LINGER", 0.0)
    socket = Socket()
    pool = make_pool(socket)
    held = [await get(pool) for _ in range(3)]
    assert pool.metrics()["overflow"] == 1
    for slot in held:
        pool.release(slot)
    while pool.metrics()["overflow"]:
        await asyncio.sleep(0)
    await settled(pool)
    assert pool.metrics()["total"] == socket.open == 2


async def test_without_pooling_nothing_stays_open() -> None:
    socket = Socket()
    pool = make_pool(socket, size=0, max_overflow=3)
    pool.release(await get(pool))
    await settled(pool)
    assert pool.metrics()["total"] == socket.open == 0


async def test_close_ends_idle_and_used_connections_and_waiting_callers() -> None:
    socket = Socket()
    pool = make_pool(socket, size=1, max_overflow=0)
    slot = await get(pool)
    waiting = asyncio.create_task(get(pool))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(DatabaseUnavailableError, match="closed"):
        await waiting
    assert socket.open == 1
    pool.release(slot)
    await settled(pool)
    assert socket.open == 0
    assert pool.metrics()["total"] == 0


@pytest.mark.parametrize("usable", [True, False])
async def test_a_cancelled_call_gives_its_place_back_once_it_is_settled(usable: bool) -> None:
    socket = Socket()
    socket.usable_after_cancel = usable
    pool = make_pool(socket, size=1, max_overflow=0)
    slot = await get(pool)
    await pool.release_unsettled(slot)
    assert pool.metrics()["checked_out"] == 0
    assert socket.open == (1 if usable else 0)


@pytest.mark.parametrize("seed", range(30))
async def test_no_place_is_lost_whatever_is_cancelled(seed: int) -> None:
    """Callers that hold, fail, break their connection or are cancelled at any moment."""
    chance = random.Random(seed)
    socket = Socket()
    socket.random = chance
    pool = make_pool(socket, timeout=60.0)

    async def caller() -> None:
        slot = await get(pool)
        assert slot.session is not None
        slot.session.holders += 1
        assert slot.session.holders == 1, "two callers hold one connection"
        plug = slot.session
        try:
            await socket.step()
            if chance.random() < 0.1:
                plug.terminate()
        except BaseException:
            plug.holders -= 1
            await pool.release_unsettled(slot)
            raise
        plug.holders -= 1
        pool.release(slot)

    async def cancel(task: asyncio.Task[None]) -> None:
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()

    tasks: list[asyncio.Task[None]] = []
    cancels: list[asyncio.Task[None]] = []
    for _ in range(200):
        socket.down = chance.random() < 0.1
        socket.usable_after_cancel = chance.random() < 0.5
        task = asyncio.create_task(caller())
        tasks.append(task)
        if chance.random() < 0.5:
            cancels.append(asyncio.create_task(cancel(task)))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.gather(*cancels)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError, DatabaseUnavailableError}
    await settled(pool)
    metrics = pool.metrics()
    assert (metrics["checked_out"], metrics["waiting"]) == (0, 0)
    assert metrics["total"] == socket.open <= 3
    assert socket.most <= 3
    socket.down = False
    everyone = await asyncio.gather(*(get(pool) for _ in range(3)))
    assert len(set(everyone)) == 3
