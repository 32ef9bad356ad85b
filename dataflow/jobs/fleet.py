"""The workers that serve a broker, as they tell of themselves with their heartbeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.times import parse_time


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker.

    Attributes:
        name: Its name.
        host: Its machine.
        pid: Its process there.
        queues: Queues it serves, in order.
        state: ``idle``, ``busy``, or ``lost`` where its lease has run out and others take over its jobs.
        runner: ``dataflow``, or ``rq`` for RQ's own workers, which tell less.
        version: Of its runner.
        birth: When it began.
        last_heartbeat: When it gave its last sign of life.
        lease_left: Seconds that its lease lasts; None for RQ's own.
        held: Jobs that it has claimed.
        succeeded: Jobs that finished.
        failed: Runs that failed.
        working_time: Seconds that it ran jobs, all together.
        vitals: ``running``, ``waiting``, ``concurrency``, ``loop_lag`` (s), ``rss`` (bytes), ``pools``, …: the worker's
            ``Vitals.read()``; empty for RQ's own.
    """

    name: str
    host: str
    pid: int | None
    queues: Sequence[str]
    state: str
    runner: str
    version: str
    birth: datetime | None
    last_heartbeat: datetime | None
    lease_left: float | None
    held: int
    succeeded: int
    failed: int
    working_time: float
    vitals: Mapping[str, Any]


async def read_workers(broker: Broker) -> list[WorkerInfo]:
    """The workers that are registered, by name. One that was killed stays for some seconds, as ``lost``.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    async with broker.errors():
        members: Iterable[bytes] = await client.smembers(keys.WORKERS)  # type: ignore[assignment]
        names = sorted(member.decode().removeprefix(keys.worker("")) for member in members)
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for name in names:
                pipeline.hgetall(keys.worker(name))
                pipeline.scard(keys.worker_executions(name))
                pipeline.zscore(keys.LEASES, name)
            (seconds, micros), *rows = await pipeline.execute()
    now = seconds + micros / 1e6
    found = zip(names, rows[::3], rows[1::3], rows[2::3], strict=True)
    return [_worker(name, fields, held, lease, now) for name, fields, held, lease in found if fields]


def _worker(name: str, raw: Mapping[bytes, bytes], held: int, lease: float | None, now: float) -> WorkerInfo:
    fields = {key.decode(): value for key, value in raw.items()}

    def text(field: str) -> str:
        return fields.get(field, b"").decode()

    left = None if lease is None else lease - now
    return WorkerInfo(
        name=name,
        host=text("hostname"),
        pid=int(text("pid")) if text("pid") else None,
        queues=[queue for queue in text("queues").split(",") if queue],
        state="lost" if left is not None and left < 0 else text("state"),
        runner=text("x_runner") or "rq",
        version=text("version"),
        birth=parse_time(fields.get("birth")),
        last_heartbeat=parse_time(fields.get("last_heartbeat")),
        lease_left=left,
        held=held,
        succeeded=int(text("successful_job_count") or 0),
        failed=int(text("failed_job_count") or 0),
        working_time=float(text("total_working_time") or 0),
        vitals=msgspec.json.decode(fields["x_vitals"]) if fields.get("x_vitals") else {},
    )


def age(moment: datetime | None) -> float | None:
    """Seconds since then."""
    return None if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())
