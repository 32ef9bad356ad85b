"""A small application without a database, for tests of queues and workers: nodes that echo, fail, block and count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer

from dataflow.jobs import Broker
from dataflow.nodes.interface import Node, NodeSpec, Parameter, RunContext
from dataflow.resilience import CircuitBreaker
from dataflow.workflows import Edge, Step, Workflow


class EchoNode(Node):
    """Returns its inputs."""

    spec = NodeSpec("EchoNode", "Echo.", open_parameters=True, open_outputs=True)

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        return dict(inputs)


class FailNode(Node):
    """Fails, until it has been run more than ``times`` times in this job."""

    spec = NodeSpec(
        "FailNode", "Fail.", (Parameter("times", int, default=1_000), Parameter("message", str, default="x"))
    )

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        self.runs[context.run_id] = self.runs.get(context.run_id, 0) + 1
        if self.runs[context.run_id] <= bound["times"]:
            raise ValueError(bound["message"])
        return {"runs": self.runs[context.run_id]}


class GateNode(Node):
    """Tells that it was reached, and waits for its gate to open."""

    spec = NodeSpec("GateNode", "Wait.", open_parameters=True, open_outputs=True)

    def __init__(self) -> None:
        self.reached: asyncio.Queue[str] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.cancelled: list[str] = []

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        self.reached.put_nowait(context.run_id)
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.append(context.run_id)
            raise
        return {"run_id": context.run_id}


class ToyApp:
    """What a worker needs of a DataFlow instance."""

    name = "toy"
    environment: tuple[str, ...] = ()
    breakers: Mapping[str, CircuitBreaker] = {}

    def __init__(self) -> None:
        self.echo, self.fail, self.gate = EchoNode(), FailNode(), GateNode()
        self.nodes: dict[str, Node] = {node.spec.type: node for node in (self.echo, self.fail, self.gate)}
        self.workflows: dict[str, Workflow] = {"hello": chain("echo", name="hello")}


def chain(*kinds: str, name: str = "toy", **params: Any) -> Workflow:
    """Nodes one after the other; the first is ``n0`` and gets ``params``."""
    types = {"echo": "EchoNode", "fail": "FailNode", "gate": "GateNode"}
    steps = tuple(Step(f"n{i}", types[kind], params if i == 0 else {}) for i, kind in enumerate(kinds))
    edges = tuple(Edge(f"n{i - 1}", "result", f"n{i}", "before") for i in range(1, len(kinds)))
    return Workflow(name, steps, edges)


class PatientFakeRedis(FakeAsyncRedis):
    """fakeredis, whose blocking calls return at once with redis-py 8, so here they look again and again."""

    async def blmove(self, source: str, *_: object, timeout: float = 0.1) -> bytes | None:
        return await _look(lambda: self.lindex(source, 0), timeout)

    async def xread(self, streams: dict[str, str], count: int | None = None, block: int = 0) -> Any:
        look = super().xread
        return await _look(lambda: look(streams, count), block / 1000)


async def _look(look: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await look()) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return found or None


def fake_broker() -> Broker:
    """A broker without a server."""
    server = FakeServer()
    return Broker("redis://fake/0", connect=lambda *_: PatientFakeRedis(server=server))


def ids(jobs: Sequence[Any]) -> list[str]:
    return [job.id for job in jobs]
