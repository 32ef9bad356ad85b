"""From the moment a schedule is due to the start of its job, and what schedules cost.

A private Redis, one ``dataflow scheduler`` and one ``dataflow worker``, each a process of its own. They have one clock,
so a job knows how late it starts.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import psutil
from rich.table import Table

from benchmarks.tables import table
from dataflow import DataFlow
from dataflow.jobs import keys
from tests.acceptance.programs import BIN, environment
from tests.servers import RedisServer

#: What the worker runs. It writes how many seconds late it began; a line of a file is written as a whole.
APP = """
import os, time
from dataflow import DataFlow, current_job

db = DataFlow(":memory:", name="bench")

@db.actor
async def late(file: str) -> None:
    seconds = time.time() - current_job().due.timestamp()
    with open(file, "a") as out:
        out.write(f"{seconds}\\n")
"""

#: Schedules added at once.
AT_ONCE = 50
#: Seconds between the ticks of a schedule that ticks one at a time; there are as many of them per second as PER_SECOND.
EVERY, PER_SECOND = 5, 20


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        seconds: Of ticks one at a time.
        burst: Schedules that are due in the same second.
        idle: Schedules of which none is due.
        idle_seconds: How long they are looked at.
    """

    seconds: float
    burst: int
    idle: int
    idle_seconds: float


FULL = Size(seconds=30, burst=1_000, idle=10_000, idle_seconds=30)
QUICK = Size(seconds=0, burst=50, idle=50, idle_seconds=0.5)


class Bench:
    """One measurement of all rows."""

    def __init__(self, folder: Path, server: RedisServer, size: Size) -> None:
        (folder / "bench.py").write_text(APP)
        self._folder = folder
        self._size = size
        self._server = server
        self._db = DataFlow(":memory:", name="bench", redis_url=server.url)
        self._scheduler: psutil.Process

        @self._db.actor
        async def late(file: str) -> None: ...

    async def run(self, processes: ExitStack) -> list[tuple[str, str]]:
        """Label and result of each row."""
        self._scheduler = psutil.Process(self._start(processes, "scheduler").pid)
        self._start(processes, "worker", "--concurrency", "200")
        rows = [("no schedule is due", await self._idle())]
        for share, name in ((False, "one at a time"), (True, f"{self._size.burst:,} due in the same second")):
            found = sorted(await (self._burst() if share else self._singly()))
            rows.append((f"due → job starts, {name}", _milliseconds(found)))
        await self._db.close_async()
        return rows

    def _start(self, processes: ExitStack, command: str, *options: str) -> subprocess.Popen[bytes]:
        log = processes.enter_context((self._folder / f"{command}.log").open("wb"))
        process = subprocess.Popen(
            [BIN / "dataflow", command, "bench:db", *options, "--log-level", "warning"],
            cwd=self._folder, env=environment(REDIS_URL=self._server.url), stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        processes.callback(process.wait)
        processes.callback(process.kill)
        return process

    async def _singly(self) -> list[float]:
        """How late jobs start, of schedules that are due one after the other."""
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        number, more = EVERY * PER_SECOND, int(self._size.seconds / EVERY)
        times: list[dict[str, object]] = []
        for n in range(number):
            start = begin + timedelta(seconds=n / PER_SECOND)
            times.append({"every": EVERY, "start": start, "end": start + timedelta(seconds=more * EVERY)})
        file = self._folder / "singly"
        await self._add("single", times, file)
        return await self._read(file, number * (1 + more))

    async def _burst(self) -> list[float]:
        """How late jobs start, of schedules that are all due at one moment."""
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2 + self._size.burst / 100)
        file = self._folder / "burst"
        await self._add("burst", [{"at": at}] * self._size.burst, file)
        return await self._read(file, self._size.burst)

    async def _idle(self) -> str:
        """CPU time that many schedules cost while none is due."""
        far = datetime.now(UTC) + timedelta(days=300)
        await self._add("idle", [{"at": far + timedelta(minutes=n)} for n in range(self._size.idle)], Path("never"))
        redis = psutil.Process(self._server.pid)
        client = await self._db.broker.client()
        while not await client.exists(keys.leader("bench")):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)
        before = _cpu(self._scheduler), _cpu(redis)
        await asyncio.sleep(self._size.idle_seconds)
        used = [
            (_cpu(process) - was) / self._size.idle_seconds
            for process, was in zip((self._scheduler, redis), before, strict=True)
        ]
        return f"{self._size.idle:,}: scheduler {used[0]:.2%} of a core, Redis {used[1]:.2%} (worker included)"

    async def _add(self, prefix: str, times: Sequence[dict[str, object]], file: Path) -> None:
        for first in range(0, len(times), AT_ONCE):
            await asyncio.gather(
                *(
                    self._db.schedules.add_async(f"{prefix}-{n}", "late", inputs={"file": str(file)}, **times[n])
                    for n in range(first, min(len(times), first + AT_ONCE))
                )
            )

    async def _read(self, file: Path, number: int) -> list[float]:
        async with asyncio.timeout(self._size.seconds + 120):
            while True:
                lines = _lines(file)
                if len(lines) >= number:
                    return [float(line) for line in lines]
                await asyncio.sleep(0.05)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _milliseconds(late: Sequence[float]) -> str:
    p99 = quantiles(late, n=100)[98]
    figures = {"median": median(late), "p99": p99, "last": late[-1]}
    shown = (f"{name} {seconds * 1e3:,.1f} ms" for name, seconds in figures.items())
    return f"{', '.join(shown)} ({len(late):,} jobs)"


def measure_schedules(size: Size) -> Table:
    """The rows as a table."""
    server = RedisServer()
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="dataflow-bench-") as folder, ExitStack() as processes:
            rows = asyncio.run(Bench(Path(folder), server, size).run(processes))
    finally:
        server.remove()
    return table("schedules", ("what", "result"), rows)
