"""Schedulers that are killed, whose Redis is killed, and whose clocks are wrong: what became of each tick.

``python -m tests.fault.ticks`` runs all three for minutes and prints the ledgers (part of ``make chaos``); short forms
are in the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import redis

from dataflow.jobs import Broker, keys
from dataflow.schedules import Schedule
from dataflow.schedules.ids import tick_id
from dataflow.schedules.store import ScheduleStore
from tests.acceptance.programs import BIN, environment
from tests.servers import RedisServer

OWNER = "ticking"
QUEUE = "ticks"

#: What is scheduled: intervals and cron, one of them with jitter, each with jobs of its own.
APP = """
from dataflow import DataFlow

db = DataFlow(":memory:", name="ticking")

@db.schedule(every=1, name="each-second", overlap="allow", queue="ticks")
@db.schedule(cron="* * * * * *", name="each-second-by-cron", overlap="allow", queue="ticks")
@db.schedule(cron="*/3 * * * * *", name="with-jitter", jitter=2, overlap="allow", queue="ticks")
@db.actor
def nothing() -> None: ...
"""

#: A ``dataflow`` whose every clock is wrong by so many seconds: its first argument.
WRONG_CLOCK = """
import datetime, sys, time

seconds = float(sys.argv.pop(1))
import dataflow.cli, scheduler.command, redis.asyncio

right_time, right_datetime = time.time, datetime.datetime
time.time = lambda: right_time() + seconds

class AnyDatetime(type):
    def __instancecheck__(cls, value):
        return isinstance(value, right_datetime)

class Wrong(right_datetime, metaclass=AnyDatetime):
    def __new__(cls, *args, **kwargs):
        return right_datetime(*args, **kwargs)

    @classmethod
    def now(cls, tz=None):
        return right_datetime.now(tz) + datetime.timedelta(seconds=seconds)

for name, module in list(sys.modules.items()):
    if name.startswith(("dataflow", "scheduler")) and getattr(module, "datetime", None) is right_datetime:
        module.datetime = Wrong
dataflow.cli.main()
"""


@dataclass
class Ledger:
    """What came of the ticks.

    Attributes:
        ticks: Those that were due, from the first to the last that ran.
        lost: Ids of the jobs that were not enqueued.
        doubled: Of those that were enqueued twice.
        strange: Of those that nothing was due for.
        missed: Ticks that the schedulers themselves call missed.
        kills: Schedulers killed.
        redis_kills: Times that Redis was killed.
        takeovers: Seconds from each kill of the leader until another led.
    """

    ticks: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    missed: int = 0
    kills: int = 0
    redis_kills: int = 0
    takeovers: list[float] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether each tick happened once."""
        return not (self.lost or self.doubled or self.strange or self.missed)

    def __str__(self) -> str:
        rows: list[tuple[str, object]] = [
            ("ticks", self.ticks),
            ("lost", len(self.lost)),
            ("doubled", len(self.doubled)),
            ("strange", len(self.strange)),
            ("missed", self.missed),
            ("schedulers killed", self.kills),
            ("Redis killed", self.redis_kills),
            ("longest takeover, s", round(max(self.takeovers, default=0), 2)),
        ]
        return "\n".join(f"{name:<22}{value!s:>10}" for name, value in rows)


class SchedulerProcess:
    """A ``dataflow scheduler``, whose clock may be wrong."""

    def __init__(self, folder: Path, url: str, name: str, lock_time: float, clock: float = 0.0) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        program = [sys.executable, str(folder / "wrong_clock.py"), str(clock)] if clock else [str(BIN / "dataflow")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program, "scheduler", "ticking:db", "--name", name, "--lock-time", str(lock_time)],
                cwd=folder,
                env=environment(REDIS_URL=url),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def output(self) -> str:
        return self.log.read_text()


class Ticking:
    """Schedulers on a Redis of their own, and what they are put through."""

    def __init__(self, folder: Path, server: RedisServer, lock_time: float = 1.0, seed: int = 1) -> None:
        (folder / "ticking.py").write_text(APP)
        (folder / "wrong_clock.py").write_text(WRONG_CLOCK)
        self._folder = folder
        self._server = server
        self._lock_time = lock_time
        self._chance = random.Random(seed)
        self._broker = Broker(server.url)
        self._store = ScheduleStore(self._broker, OWNER)
        self._processes = ExitStack()
        self._running: dict[str, SchedulerProcess] = {}
        self._sweeping: asyncio.Task[None]
        self.ledger = Ledger()

    async def __aenter__(self) -> Ticking:
        self._sweeping = asyncio.create_task(self._forget_jobs())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sweeping.cancel()
        self._processes.close()
        await self._broker.close()

    async def start(self, clock: float = 0.0) -> SchedulerProcess:
        """Start a scheduler; return when it leads."""
        name = f"s{len(list(self._folder.glob('s*.log')))}"
        process = SchedulerProcess(self._folder, self._server.url, name, self._lock_time, clock)
        self._processes.callback(process.kill)
        self._running[name] = process
        await self.led_by(name)
        return process

    async def led_by(self, *names: str) -> str:
        """Wait until one of these leads; which."""
        async with asyncio.timeout(30):
            while (leader := await self._leader()) not in names:
                await asyncio.sleep(0.02)
        return leader

    async def kill_leader(self) -> None:
        """Kill the one that leads, wait until another does, and start a new one, which takes the lead."""
        others = set(self._running)
        victim = await self.led_by(*others)
        others.remove(victim)
        self._running.pop(victim).kill()
        killed = time.monotonic()
        await self.led_by(*others)
        self.ledger.takeovers.append(time.monotonic() - killed)
        self.ledger.kills += 1

    async def kill_redis(self, away: float) -> None:
        """Kill Redis, which keeps its data, and start it again."""
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(self._chance.uniform(0, away))
        await asyncio.to_thread(self._server.start)
        self.ledger.redis_kills += 1

    async def ticked(self, seconds: float) -> None:
        """Return when a second's tick has run that is so much later than the last that had run before."""
        async with asyncio.timeout(seconds + 60):
            before = await self._last_due()
            while (await self._last_due()) < before + seconds:
                await asyncio.sleep(0.05)

    async def settle(self) -> Ledger:
        """Kill all schedulers, and compare what was enqueued with what was due."""
        for process in self._running.values():
            process.kill()
        entries = [entry for entry in await self._store.read_many(await self._store.names()) if entry]
        assert len(entries) == 3
        client = await self._broker.client()
        queued = Counter(item.decode() for item in await client.lrange(keys.queue(QUEUE), 0, -1))  # type: ignore[misc]
        expected: set[str] = set()
        for entry in entries:
            schedule = self._store.schedule_of(entry)
            last, since = entry.moment("last_due"), entry.moment("since")
            assert last is not None
            assert since is not None
            expected |= {tick_id(OWNER, entry.name, due) for due in _dues(schedule, since, last)}
            self.ledger.missed += entry.number("missed")
        self.ledger.ticks = len(expected)
        self.ledger.lost = sorted(expected - queued.keys())
        self.ledger.doubled = sorted(job for job, count in queued.items() if count > 1)
        self.ledger.strange = sorted(queued.keys() - expected)
        return self.ledger

    def logs(self) -> str:
        """What all schedulers said."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._folder.glob("s*.log")))

    async def _leader(self) -> str:
        client = await self._broker.client()
        with suppress(Exception):  # Redis may be away
            return (await client.get(keys.leader(OWNER)) or b"").decode()
        return ""

    async def _last_due(self) -> float:
        with suppress(Exception):
            moment = (await self._store.read("each-second")).moment("last_due")
            return moment.timestamp() if moment else 0.0
        return 0.0

    async def _forget_jobs(self) -> None:
        """Delete the hashes of queued jobs, so that a tick's second job is not held back by the first one's id."""
        while True:
            with suppress(redis.RedisError, OSError):
                client = await self._broker.client()
                for job in await client.lrange(keys.queue(QUEUE), -50, -1):  # type: ignore[misc]
                    await client.delete(keys.job(job.decode()))
            await asyncio.sleep(0.02)


def _dues(schedule: Schedule, since: datetime, last: datetime) -> list[datetime]:
    anchor = since.replace(microsecond=0)
    dues = []
    due = schedule.due_after(since, anchor)
    while due is not None and due <= last:
        dues.append(due)
        due = schedule.due_after(due, anchor)
    return dues


async def killed_leaders(ticking: Ticking, times: int, between: float = 1.0) -> Ledger:
    """Two schedulers, of which the leader is killed again and again."""
    await ticking.start()
    for _ in range(times):
        await ticking.start()
        await ticking.ticked(between)
        await ticking.kill_leader()
    await ticking.ticked(2)
    return await ticking.settle()


async def killed_redis(ticking: Ticking, times: int, between: float = 2.0) -> Ledger:
    """Two schedulers, whose Redis is killed again and again."""
    await ticking.start()
    await ticking.start()
    for _ in range(times):
        await ticking.ticked(between)
        await ticking.kill_redis(away=1.5)
    await ticking.ticked(2)
    return await ticking.settle()


async def wrong_clocks(ticking: Ticking, times: int, between: float = 1.0) -> Ledger:
    """Two schedulers with clocks 30 s apart, of which each leads in turn."""
    await ticking.start(clock=-15)
    for n in range(times):
        await ticking.start(clock=15 if n % 2 == 0 else -15)
        await ticking.ticked(between)
        await ticking.kill_leader()
        await ticking.ticked(between)
    await ticking.ticked(2)
    return await ticking.settle()


PARTS = {"leader killed": killed_leaders, "Redis killed": killed_redis, "clocks 30 s apart": wrong_clocks}


async def _run(times: int, between: float) -> bool:
    clean = True
    for name, part in PARTS.items():
        server = RedisServer(appendonly=True)
        try:
            server.start()
            with tempfile.TemporaryDirectory(prefix="dataflow-ticks-") as folder:
                async with Ticking(Path(folder), server) as ticking:
                    ledger = await part(ticking, times, between)
        finally:
            server.remove()
        print(f"\nschedules, {name}\n{ledger}", flush=True)
        clean = clean and ledger.is_clean
    return clean


def main() -> int:
    """The command line; exit code 1 where a tick was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="of each kind")
    parser.add_argument("--between", type=float, default=4.0, help="seconds of ticks between two")
    given = parser.parse_args()
    return 0 if asyncio.run(_run(given.kills, given.between)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
