"""The job rows of the design's budgets, all job runners taking turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

import asyncpg

from benchmarks.measure import rotated
from benchmarks.peers.bench import JobBench, UnmeasuredError
from benchmarks.peers.contract import Kind

OURS = "ours"
#: Ours where a job that is started again repeats its effects, as it does with the others.
REPEATABLE = "ours, repeatable"
#: What the labels of the rows begin with that need PostgreSQL.
INSERTS = "one-insert jobs/s"


class JobSize(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: Turns of each job runner in each row.
        jobs: Jobs that workers run in a turn, times the share of their library (catalog.py).
        large: The same with payloads of 100 KB.
        inserts: The same where each inserts a row.
        enqueued: Jobs that a producer enqueues in a turn.
        worn: Jobs after which a worker's memory is read.
        waiting: Jobs whose memory in Redis is read.
    """

    rounds: int
    jobs: int
    large: int
    inserts: int
    enqueued: int
    worn: int
    waiting: int


FULL = JobSize(rounds=3, jobs=5_000, large=1_000, inserts=3_000, enqueued=5_000, worn=20_000, waiting=10_000)
QUICK = JobSize(rounds=1, jobs=500, large=500, inserts=500, enqueued=500, worn=500, waiting=1_000)


@dataclass(frozen=True, slots=True)
class Budget:
    """What the design asks of ours.

    Attributes:
        least: The figure itself, at least.
        times: As many times that of each of ``beside``, at least.
        beside: Names of job runners.
    """

    least: float = 0.0
    times: float = 0.0
    beside: tuple[str, ...] = ()

    def met(self, figures: Mapping[str, float]) -> bool:
        """Whether these figures keep it, as far as those that it names were measured."""
        ours = figures[OURS]
        others = [figures[name] for name in self.beside if name in figures]
        return ours >= max(self.least, *(self.times * other for other in others), 0.0)

    def __str__(self) -> str:
        parts = [f"{self.least:,.0f}"] if self.least else []
        if self.beside:
            parts.append(f"{self.times:g} × {', '.join(self.beside)}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class JobRow:
    """One row of the table.

    Attributes:
        what: Label.
        figures: By job runner, without those that lack it or failed.
        budget: What the design asks for.
        small: Whether less is better.
    """

    what: str
    figures: Mapping[str, float]
    budget: Budget | None = None
    small: bool = False

    def text(self, name: str) -> str:
        """The figure of a job runner as it is printed."""
        figure = self.figures.get(name)
        return "-" if figure is None else f"{figure:,.0f}"

    @property
    def ratio(self) -> float | None:
        """Ours to the best of the others."""
        others = [figure for name, figure in self.figures.items() if name != OURS]
        if not others or OURS not in self.figures:
            return None
        return self.figures[OURS] / (min(others) if self.small else max(others))

    @property
    def met(self) -> bool | None:
        """Whether the budget was kept; None where there is none to keep."""
        return self.budget.met(self.figures) if self.budget and OURS in self.figures else None


Measure = Callable[[JobBench], float]


class JobSuite:
    """The rows.

    Args:
        benches: The job runners by name, in the table's order.
        database_url: PostgreSQL for the jobs that insert; "" leaves their rows out.
        size: How much is measured.
        only: Part of the labels of the rows to measure; empty for all.
        report: Told each row as it is known.
        warn: Told why a figure is missing.
    """

    def __init__(
        self,
        benches: Mapping[str, JobBench],
        database_url: str,
        size: JobSize,
        only: str,
        report: Callable[[JobRow], None],
        warn: Callable[[str], None],
    ) -> None:
        self._benches, self._database_url, self._size, self._only = benches, database_url, size, only
        self._report, self._warn = report, warn

    def run(self) -> None:
        """Measure all rows."""
        size = self._size
        self._row(
            "no-op jobs/s, 1 worker process", self._draining(size.jobs), Budget(8_000, 4, ("arq", "SAQ", "streaq"))
        )
        self._row("no-op jobs/s, 2 worker processes", self._draining(2 * size.jobs, processes=2))
        for kilobytes, count in ((1, size.jobs), (10, size.jobs // 2), (100, size.large)):
            self._row(f"jobs/s, payloads of {kilobytes} KB", self._draining(count, size=kilobytes * 1_000))
        self._inserts()
        count = size.enqueued
        one = Budget(times=1.5, beside=("RQ",))
        self._row("enqueue one at a time, per second", partial(_enqueuing, "one", count), one)
        self._row("the same from synchronous code", partial(_enqueuing, "one-sync", count), one, needs="synchronous")
        self._row("enqueue many, per second", partial(_enqueuing, "many", count), Budget(10_000))
        self._memory()

    def _draining(self, count: int, **options: int) -> Measure:
        return lambda bench: bench.drain("nothing", max(10, round(count * bench.peer.jobs)), **options)

    def _row(self, what: str, measure: Measure, budget: Budget | None = None, *, needs: str = "") -> None:
        if self._only in what:
            sides = {
                name: partial(measure, bench)
                for name, bench in self._benches.items()
                if not needs or getattr(bench.peer, needs)
            }
            self._report(JobRow(what, self._rounds(sides), budget=budget))

    def _inserts(self) -> None:
        if not self._database_url or self._only not in INSERTS:
            return
        sides = {
            name: partial(self._inserting, bench, "insert")
            for name, bench in self._benches.items()
            if bench.peer.inserts
        }
        if OURS in sides:
            self._benches[OURS].produce("tables", "insert", 0)
            sides[REPEATABLE] = partial(self._inserting, self._benches[OURS], "insert_repeatable")
        figures = self._rounds(sides)
        repeatable = figures.pop(REPEATABLE, None)
        self._report(JobRow(f"{INSERTS}, ours exactly once", figures, budget=Budget(times=2, beside=("arq",))))
        if repeatable is not None:
            self._report(JobRow(f"{INSERTS}, ours at least once", {**figures, OURS: repeatable}))

    def _inserting(self, bench: JobBench, kind: Kind) -> float:
        count = self._size.inserts
        asyncio.run(_query(self._database_url, "TRUNCATE bench_orders"))
        rate = bench.drain(kind, count)
        stored = asyncio.run(_query(self._database_url, "SELECT count(*) FROM bench_orders"))
        if stored != count:
            raise UnmeasuredError(f"{count} jobs of {bench.peer.name} inserted {stored} rows.")
        return rate

    def _memory(self) -> None:
        count = self._size.worn
        idle, worn = "MB of a worker after its first job", f"MB of a worker after {count:,} jobs"
        waiting = "bytes in Redis per waiting job"
        if self._only in idle or self._only in worn:
            idle_at: dict[str, float] = {}
            worn_at: dict[str, float] = {}
            for name, bench in self._benches.items():
                try:
                    before, after = bench.memory(count)
                except UnmeasuredError as error:
                    self._warn(str(error))
                else:
                    idle_at[name], worn_at[name] = before / 1e6, after / 1e6
            self._report(JobRow(idle, idle_at, small=True))
            self._report(JobRow(worn, worn_at, small=True))
        if self._only in waiting:
            sides = {name: partial(bench.waiting_bytes, self._size.waiting) for name, bench in self._benches.items()}
            self._report(JobRow(waiting, self._rounds(sides, 1), small=True))

    def _rounds(self, sides: Mapping[str, Callable[[], float]], rounds: int | None = None) -> dict[str, float]:
        """The median of each side's turns, without sides that failed."""
        found: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds or self._size.rounds):
            for name in rotated(list(found), turn):
                try:
                    found[name].append(sides[name]())
                except UnmeasuredError as error:
                    self._warn(str(error))
                    del found[name]
        return {name: median(figures) for name, figures in found.items()}


def _enqueuing(action: str, count: int, bench: JobBench) -> float:
    bench.empty()
    return count / bench.produce(action, "nothing", count)


async def _query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()
