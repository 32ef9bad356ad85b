"""One job runner on a private Redis: its producers, its worker processes, and what Redis says about its jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import redis

from benchmarks.peers.catalog import Peer
from benchmarks.peers.contract import Kind
from benchmarks.peers.venvs import ROOT

#: Seconds without the end of any job after which a run counts as stuck.
PATIENCE = 30.0
#: Seconds between two looks at the counter.
LOOK = 0.005
#: Share of the jobs that ends before the clock starts: the start of the workers and their first connections.
WARM_UP = 0.1
STOP_SECONDS = 15.0


class UnmeasuredError(Exception):
    """There is no figure, and why: jobs do not end, or do not do what they should."""


class JobBench:
    """A job runner that can be measured.

    Args:
        peer: Which.
        programs: Folder of its programs.
        redis_url: A Redis that belongs to the benchmark: it is emptied.
        database_url: The PostgreSQL of jobs that insert, or "".
        log: Where its workers write.
    """

    def __init__(self, peer: Peer, programs: Path, redis_url: str, database_url: str, log: Path) -> None:
        self.peer = peer
        self._programs = programs
        self._url = redis_url
        self._log = log
        self._redis = redis.Redis.from_url(redis_url)
        self._environment = {
            **os.environ,
            **peer.environment,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "BENCH_REDIS_URL": redis_url,
            "BENCH_DATABASE_URL": database_url,
        }

    def empty(self) -> None:
        """Remove all jobs."""
        self._redis.flushall()

    def produce(self, action: str, kind: Kind, count: int, size: int = 0) -> float:
        """Run a producer; the seconds that enqueuing took. See produce.py."""
        command = [self._programs / "python", "-m", "benchmarks.peers.produce", self.peer.module, action, kind]
        done = subprocess.run(
            [*command, str(count), str(size)],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UnmeasuredError(f"{self.peer.name}'s producer failed:\n{done.stderr}")
        return float(done.stdout or 0)

    def check(self, count: int = 50) -> None:
        """See whether its jobs run and end: some counters fall for jobs that failed as well.

        Raises:
            UnmeasuredError: They do not.
        """
        marks = self._log.with_suffix(".marks")
        marks.unlink(missing_ok=True)
        self.empty()
        self.produce("many", "nothing", count)
        with self.workers(1, BENCH_MARKS=str(marks)):
            self._wait(count, count)
        ran = marks.stat().st_size if marks.exists() else 0
        if ran != count:
            raise UnmeasuredError(f"{count} jobs of {self.peer.name} ended, and {ran} ran.\n{self._said()}")

    def drain(self, kind: Kind, count: int, *, size: int = 0, processes: int = 1) -> float:
        """Enqueue jobs, then start workers; the jobs that end per second."""
        self.empty()
        self.produce("many", kind, count, size)
        with self.workers(processes):
            first, already = self._wait(count, round(count * WARM_UP))
            last, _ = self._wait(count, count)
        if already == count:
            raise UnmeasuredError(f"{count} jobs of {self.peer.name} ended between two looks: too few to measure.")
        return (count - already) / (last - first)

    def memory(self, count: int) -> tuple[int, int]:
        """Bytes resident in a worker's processes after its first job, and after ``count`` more."""
        self.empty()
        with self.workers(1) as processes:
            self.produce("many", "nothing", 1)
            self._wait(1, 1)
            idle = _resident(processes)
            self.produce("many", "nothing", count)
            # Where ended jobs are not counted, those that wait are.
            total = count + 1 if self.peer.rises else count
            self._wait(total, total)
            return idle, _resident(processes)

    def waiting_bytes(self, count: int) -> float:
        """Bytes that Redis takes for each of ``count`` jobs without a payload that wait."""
        self.empty()
        self.produce("many", "nothing", 10)
        before = self._used_memory()
        self.produce("many", "nothing", count)
        return (self._used_memory() - before) / count

    @contextmanager
    def workers(self, processes: int, **variables: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Worker processes, with these variables in their environment, stopped at the end."""
        program, *arguments = (part.format(redis=self._url) for part in self.peer.worker)
        running: list[subprocess.Popen[bytes]] = []
        try:
            # A file: what reads a worker's output too late would hold it up.
            with self._log.open("wb") as log:
                for _ in range(processes):
                    running.append(
                        subprocess.Popen(
                            [self._programs / program, *arguments],
                            cwd=ROOT,
                            env={**self._environment, **variables},
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    )
            yield running
        finally:
            for process in running:
                _stop(process)

    def _wait(self, count: int, until: int) -> tuple[float, int]:
        """When so many of ``count`` jobs had ended, and how many had."""
        before, changed = -1, time.perf_counter()
        while True:
            answer = int(self._redis.execute_command(*self.peer.counter))
            now = time.perf_counter()
            ended = answer if self.peer.rises else count - answer
            if ended >= until:
                return now, ended
            if ended != before:
                before, changed = ended, now
            elif now - changed > PATIENCE:
                raise UnmeasuredError(f"{self.peer.name} ended {ended} of {count} jobs, then none.\n{self._said()}")
            time.sleep(LOOK)

    def _said(self) -> str:
        """The end of what its workers wrote."""
        return self._log.read_text(errors="replace")[-2_000:]

    def _used_memory(self) -> int:
        return int(self._redis.info("memory")["used_memory"])


def _resident(processes: list[subprocess.Popen[bytes]]) -> int:
    """Bytes resident in these processes and what they started."""
    roots = [psutil.Process(process.pid) for process in processes]
    return sum(found.memory_info().rss for root in roots for found in (root, *root.children(recursive=True)))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a worker and what it started: as its signal asks, else at once."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
