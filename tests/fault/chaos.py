"""The chaos monkey: thousands of jobs with dependencies, while workers and Redis are killed again and again.

``python -m tests.fault.chaos`` runs it in full (some minutes) and prints the ledger; a short form is in the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.errors import BrokerUnavailableError, DuplicateJobError
from dataflow.jobs import keys
from dataflow.workflows import Step, Workflow
from tests.fault.keyspace import running
from tests.fault.leak import measure_leak
from tests.servers import RedisServer
from tests.worker_process import App, WorkerProcess

#: Jobs of one graph: one first, three that depend on it, one that depends on these.
GRAPH = 5
#: Graphs that are enqueued in one call, and jobs that may wait before more are enqueued.
CHUNK, WAITING = 40, 1_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done. Ranges are seconds, from and to.

    Attributes:
        jobs: How many, rounded to whole graphs.
        workers: Processes at any time.
        nap: How long a job takes.
        worker_kill: Between two kills of a worker; another is started at once.
        redis_kill: Between two kills of Redis, which keeps its data (AOF, always synced).
        redis_away: How long it stays away.
        limit: Seconds after which the run is given up.
        seed: Of all chances.
    """

    jobs: int = 10_000
    workers: int = 3
    concurrency: int = 20
    lease: float = 3.0
    nap: tuple[float, float] = (0.0, 2.0)
    worker_kill: tuple[float, float] = (5.0, 20.0)
    redis_kill: tuple[float, float] = (20.0, 40.0)
    redis_away: tuple[float, float] = (0.0, 3.0)
    limit: float = 1_800.0
    seed: int = 1


@dataclass
class Ledger:
    """What came of it.

    Attributes:
        enqueued: Jobs.
        effects: Jobs that left their effect: a row that names the job.
        lost: Ids of jobs without one.
        doubled: Ids of jobs with more than one.
        unfinished: Job id → status, of those that Redis does not call finished.
        ended_twice: Ids of jobs whose end was recorded more than once.
        reruns: Runs beyond one per job: what killed workers had begun.
        early: Ids of jobs that left an effect before a job that they depend on.
        leftovers: Keys of executions, when nothing ran any more.
        worker_kills: Workers killed.
        redis_kills: Times that Redis was killed.
        seconds: From the first job to the last.
    """

    enqueued: int = 0
    effects: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)
    ended_twice: list[str] = field(default_factory=list)
    reruns: int = 0
    early: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    worker_kills: int = 0
    redis_kills: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost and nothing happened twice."""
        return not (self.lost or self.doubled or self.unfinished or self.ended_twice or self.early or self.leftovers)

    def __str__(self) -> str:
        rows: list[tuple[str, object]] = [
            ("enqueued", self.enqueued),
            ("effects", self.effects),
            ("lost", len(self.lost)),
            ("doubled effects", len(self.doubled)),
            ("not finished", dict(Counter(self.unfinished.values())) or 0),
            ("ends recorded twice", len(self.ended_twice)),
            ("before a dependency", len(self.early)),
            ("executions left over", len(self.leftovers)),
            ("re-runs", self.reruns),
            ("workers killed", self.worker_kills),
            ("Redis killed", self.redis_kills),
            ("seconds", round(self.seconds, 1)),
        ]
        return "\n".join(f"{name:<22}{value!s:>10}" for name, value in rows)


class Chaos:
    """One run of a plan, in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, server: RedisServer) -> None:
        self._plan = plan
        self._server = server
        self._app = App(folder, server.url)
        self._chance = random.Random(plan.seed)
        self._parents: dict[str, list[str]] = {}
        self._over = asyncio.Event()
        self.ledger = Ledger()

    async def run(self) -> Ledger:
        """Do it.

        Raises:
            TimeoutError: Not all jobs have left an effect within the limit; the ledger says which.
        """
        began = time.monotonic()
        with ExitStack() as processes:
            workers = [self._worker(processes) for _ in range(self._plan.workers)]
            monkeys = [
                asyncio.create_task(self._kill_workers(workers, processes)),
                asyncio.create_task(self._kill_redis()),
            ]
            with suppress(TimeoutError):
                async with asyncio.timeout(self._plan.limit):
                    await self._enqueue()
                    await self._until_all_effects()
            self._over.set()
            await asyncio.gather(*monkeys)
            with suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while running(self._server.url):
                        await asyncio.sleep(0.1)
            self.ledger.seconds = time.monotonic() - began
            await self._balance()
        await self._app.broker.close()
        return self.ledger

    def _worker(self, processes: ExitStack) -> WorkerProcess:
        plan = self._plan
        # Deaths here are nobody's fault, so no job is to be blamed for its worker's.
        options = ("--lease", str(plan.lease), "--concurrency", str(plan.concurrency), "--max-deliveries", "100")
        return processes.enter_context(self._app.worker(*options))

    async def _pause(self, seconds: tuple[float, float]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._chance.uniform(*seconds))

    async def _kill_workers(self, workers: list[WorkerProcess], processes: ExitStack) -> None:
        while True:
            await self._pause(self._plan.worker_kill)
            if self._over.is_set():
                return
            victim = self._chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim] = self._worker(processes)
            self.ledger.worker_kills += 1

    async def _kill_redis(self) -> None:
        while True:
            await self._pause(self._plan.redis_kill)
            if self._over.is_set():
                return
            await asyncio.to_thread(self._server.kill)
            await self._pause(self._plan.redis_away)
            await asyncio.to_thread(self._server.start)
            self.ledger.redis_kills += 1

    def _workflow(self, job: str) -> Workflow:
        return self._app.chain(
            Step("run", "Trace", {"job": job}),
            Step("nap", "Nap", {"seconds": self._chance.uniform(*self._plan.nap)}),
            # A plain insert: only the run ledger keeps a second run from leaving a second row.
            Step("effect", "EffectCreateNode", {"job": job}),
        )

    def _graph(self, number: int) -> list[dict[str, Any]]:
        first, *middle, last = (f"job-{number:05}-{part}" for part in range(GRAPH))
        self._parents |= {first: [], **{job: [first] for job in middle}, last: middle}
        return [
            {
                "workflow": self._workflow(job),
                "job_id": job,
                "unique": True,
                "depends_on": self._parents[job] or None,
                "result_ttl": 7_200,
            }
            for job in (first, *middle, last)
        ]

    async def _enqueue(self) -> None:
        graphs = self._plan.jobs // GRAPH
        for start in range(0, graphs, CHUNK):
            requests = [request for n in range(start, min(graphs, start + CHUNK)) for request in self._graph(n)]
            while True:
                try:
                    if await self._app.queue.count_async() < WAITING:
                        await self._app.queue.enqueue_many_async(requests)
                        break
                except DuplicateJobError:
                    break  # a call whose reply was lost had enqueued them
                except BrokerUnavailableError:
                    pass
                await asyncio.sleep(0.2)
        self.ledger.enqueued = len(self._parents)

    async def _until_all_effects(self) -> None:
        while len(set(await self._app.effects())) < len(self._parents):
            await asyncio.sleep(0.5)

    async def _balance(self) -> None:
        ledger = self.ledger
        effects = Counter(await self._app.effects())
        ledger.effects = len(effects)
        ledger.lost = [job for job in self._parents if job not in effects]
        ledger.doubled = [job for job, count in effects.items() if count > 1]
        runs = self._app.traces()
        ledger.reruns = len(runs) - len(set(runs))
        order = {job: place for place, job in enumerate(await self._app.effects(by="id"))}
        ledger.early = [
            job
            for job, parents in self._parents.items()
            if any(order.get(parent, 0) > order.get(job, 0) for parent in parents)
        ]
        ledger.leftovers = sorted(running(self._server.url))
        client = await self._app.broker.client()
        for job in self._parents:
            status = await client.hget(keys.job(job), "status")
            if status != b"finished":
                ledger.unfinished[job] = (status or b"gone").decode()
            if await client.xlen(keys.results(job)) > 1:
                ledger.ended_twice.append(job)


async def run(plan: Plan) -> Ledger:
    """Run a plan on a Redis of its own."""
    server = RedisServer(appendonly=True)
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="dataflow-chaos-") as folder:
            return await Chaos(plan, Path(folder), server).run()
    finally:
        server.remove()


async def _leak(jobs: int) -> bool:
    server = RedisServer()
    try:
        server.start()
        with tempfile.TemporaryDirectory(prefix="dataflow-leak-") as folder:
            app = App(Path(folder), server.url)
            leak = await measure_leak(app, jobs)
            await app.broker.close()
    finally:
        server.remove()
    print(f"{jobs:,} jobs: resident MB of the worker after each tenth: {', '.join(map(str, leak.sizes))}")
    print(f"keys left that never expire: {len(leak.lasting)}")
    return not leak.lasting


def main() -> int:
    """The command line; exit code 1 where something was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=Plan.jobs)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--leak-jobs", type=int, default=100_000, help="jobs of the second part; 0 leaves it out")
    given = parser.parse_args()
    plan = Plan(jobs=given.jobs, workers=given.workers, seed=given.seed)
    ledger = asyncio.run(run(plan))
    print(ledger)
    clean = ledger.is_clean
    if given.leak_jobs:
        clean = asyncio.run(_leak(given.leak_jobs)) and clean
    return 0 if clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
