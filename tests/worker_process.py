"""Real worker processes on an application with a database, for acceptance and fault tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflow.jobs import Broker, Job, JobQueue
from dataflow.workflows import Edge, Step, Workflow
from tests.acceptance.programs import BIN, environment

#: Written next to the worker: a node that holds the job up, then a row that is the job's effect.
APP = '''
import asyncio, os, time
from dataflow import BaseDataFlowNode, DataFlow

db = DataFlow()

@db.model
class Effect:
    job: str

@db.register_node
class Hold(BaseDataFlowNode):
    """Goes on when the file is there; `seconds` block a thread, as sync code does."""

    async def execute(self, input_data):
        while input_data.get("file") and not os.path.exists(input_data["file"]):
            await asyncio.sleep(0.01)
        return {}

@db.register_node
class Block(BaseDataFlowNode):
    def execute(self, input_data):
        time.sleep(input_data["seconds"])
        return {}
'''


class App:
    """The application in a folder of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.gate = folder / "go"
        (folder / "effects.py").write_text(APP)
        self.broker = Broker(redis_url)
        self.queue = JobQueue("default", self.broker)

    def workflow(self, job: str, first: Step | None = None) -> Workflow:
        """One that leaves a row which names the job."""
        first = first or Step("hold", "Hold", {})
        write = Step("write", "EffectCreateNode", {"job": job})
        return Workflow("effect", (first, write), (Edge(first.id, "result", "write", "input"),))

    def held(self, job: str) -> Workflow:
        """One that waits until the gate is open."""
        return self.workflow(job, Step("hold", "Hold", {"file": str(self.gate)}))

    def open_gate(self) -> None:
        self.gate.touch()

    async def effects(self) -> list[str]:
        """Names of jobs that have left a row, one per row."""
        import aiosqlite

        async with aiosqlite.connect(self.folder / "effects.db") as connection:
            rows = await connection.execute_fetchall("SELECT job FROM effects ORDER BY job")
        return [row[0] for row in rows]

    @contextmanager
    def worker(self, *options: str) -> Iterator[WorkerProcess]:
        """A running ``dataflow worker``; killed at the end if it still runs."""
        process = WorkerProcess(self, options)
        try:
            yield process
        finally:
            process.kill()


class WorkerProcess:
    """A ``dataflow worker``."""

    def __init__(self, app: App, options: tuple[str, ...]) -> None:
        self.log = app.folder / f"worker-{time.monotonic_ns()}.log"
        variables = {"DATABASE_URL": "sqlite:///effects.db", "REDIS_URL": app.redis_url}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BIN / "dataflow", "worker", "effects:db", *options],
                cwd=app.folder,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    async def ended(self, seconds: float) -> int:
        """Its exit code.

        Raises:
            AssertionError: It has not ended in time.
        """
        try:
            return await asyncio.to_thread(self.process.wait, seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s:\n{self.output()}") from None

    def output(self) -> str:
        return self.log.read_text()


async def node_runs(job: Job, node: str, seconds: float = 20.0) -> None:
    """Return when a node of the job runs."""
    async with asyncio.timeout(seconds):
        while (await job.progress_async())["nodes"].get(node, {}).get("state") != "running":
            await asyncio.sleep(0.02)
