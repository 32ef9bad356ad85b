"""Real worker processes on an application with a database, for acceptance and fault tests."""

from __future__ import annotations

import asyncio
import itertools
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

#: Written next to the worker: nodes that hold the job up or do harm, and rows that are the job's effects.
APP = '''
import asyncio, os, pathlib, signal, time
from dataflow import BaseDataFlowNode, DataFlow, Field

db = DataFlow()

@db.model
class Effect:
    job: str

@db.model
class Once:
    """An effect that a second run does not repeat."""

    job: str = Field(unique=True)

@db.register_node
class Hold(BaseDataFlowNode):
    """Goes on when the file is there."""

    async def execute(self, input_data):
        while input_data.get("file") and not os.path.exists(input_data["file"]):
            await asyncio.sleep(0.01)
        return {}

@db.register_node
class Block(BaseDataFlowNode):
    """Blocks a thread, as sync code does: for some seconds, and until the file is there."""

    def execute(self, input_data):
        time.sleep(input_data["seconds"])
        while "file" in input_data and not os.path.exists(input_data["file"]):
            time.sleep(0.01)
        return {}

@db.register_node
class Nap(BaseDataFlowNode):
    async def execute(self, input_data):
        await asyncio.sleep(input_data["seconds"])
        return {}

@db.register_node
class Stall(BaseDataFlowNode):
    """Blocks the event loop, as code that should be in a thread does."""

    async def execute(self, input_data):
        pathlib.Path(input_data["reached"]).touch()
        time.sleep(input_data["seconds"])
        return {}

@db.register_node
class Trace(BaseDataFlowNode):
    """Leaves a line each time that it runs, whatever was recorded of earlier runs."""

    async def execute(self, input_data):
        with open("trace", "a") as file:
            file.write(input_data["job"] + "\\n")
        return {}

@db.register_node
class Die(BaseDataFlowNode):
    """Kills its process: each time, or where a file is named only while that does not exist."""

    async def execute(self, input_data):
        once = input_data.get("once")
        if once is None or not os.path.exists(once):
            if once is not None:
                pathlib.Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {}
'''


class App:
    """The application in a folder of its own."""

    def __init__(
        self, folder: Path, redis_url: str, *, database_url: str = "sqlite:///effects.db", source: str = APP
    ) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.database_url = database_url
        self.gate = folder / "go"
        (folder / "effects.py").write_text(source)
        self.broker = Broker(redis_url)
        self.queue = JobQueue("default", self.broker)

    def workflow(self, job: str, first: Step | None = None) -> Workflow:
        """One that leaves a row which names the job."""
        first = first or Step("hold", "Hold", {})
        write = Step("write", "EffectCreateNode", {"job": job})
        return Workflow("effect", (first, write), (Edge(first.id, "result", "write", "input"),))

    def chain(self, *steps: Step) -> Workflow:
        """Steps one after the other."""
        edges = tuple(Edge(first.id, "result", then.id, "input") for first, then in itertools.pairwise(steps))
        return Workflow("chain", steps, edges)

    def held(self, job: str) -> Workflow:
        """One that waits until the gate is open."""
        return self.workflow(job, Step("hold", "Hold", {"file": str(self.gate)}))

    def open_gate(self) -> None:
        self.gate.touch()

    def traces(self) -> list[str]:
        """Names of jobs whose Trace ran, one per run."""
        return (self.folder / "trace").read_text().split()

    async def effects(self, table: str = "effects", by: str = "job") -> list[str]:
        """Names of jobs that have left a row, one per row."""
        import sqlite3

        import aiosqlite

        async with aiosqlite.connect(self.folder / "effects.db") as connection:
            try:
                rows = await connection.execute_fetchall(f"SELECT job FROM {table} ORDER BY {by}")
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []  # tables are made with the first row
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
        variables = {"DATABASE_URL": app.database_url, "REDIS_URL": app.redis_url}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BIN / "dataflow", "worker", "effects:db", *options],
                cwd=app.folder,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def said(self, words: str, seconds: float = 20.0) -> None:
        """Return when its log has these words."""
        async with asyncio.timeout(seconds):
            while words not in self.output():
                await asyncio.sleep(0.02)

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
