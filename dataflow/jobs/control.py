"""Telling workers what to do, and putting jobs that ended back into their queues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dataflow.errors import JobError
from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.jobs.scripts import Script
from dataflow.jobs.times import now_text

_REQUEUE = Script(Path(__file__).parent / "lua" / "requeue.lua")

#: Jobs requeued in one call.
CHUNK = 200


async def send_command(broker: Broker, worker: str, command: str, **arguments: str) -> bool:
    """Tell a worker something over RQ's channel of commands; whether it listens.

    Args:
        broker: Where the worker's queues live.
        worker: Its name.
        command: ``stop-job`` (with ``job_id``), ``shutdown`` (end after the grace period) or ``drain`` (end when what
            runs has finished).
        arguments: The command's own.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    message = msgspec.json.encode({"command": command, **arguments})
    async with broker.errors():
        return bool(await client.publish(keys.pubsub(worker), message))


async def insist_on_command(broker: Broker, worker: str, command: str, **arguments: str) -> None:
    """``send_command`` to a worker that must listen.

    Raises:
        JobError: No such worker listens.
        BrokerUnavailableError: The broker cannot be reached.
    """
    if not await send_command(broker, worker, command, **arguments):
        raise JobError(
            f"The worker {worker} does not listen.",
            hint="It has ended, or has lost its connection: see `dataflow workers`, and try again.",
        )


async def requeue(broker: Broker, job_ids: Sequence[str]) -> dict[str, str | None]:
    """Put jobs that failed, were stopped or canceled back into their queues; their retries are not renewed.

    Returns:
        For each id the status before: ``failed``, ``stopped`` or ``canceled`` where it was requeued, another where it
        was left alone, None where there is no such job.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    before: dict[str, str | None] = {}
    for start in range(0, len(job_ids), CHUNK):
        chunk = job_ids[start : start + CHUNK]
        answer = await broker.run(_REQUEUE, [now_text(), *chunk])
        before.update((job_id, status.decode() or None) for job_id, status in zip(chunk, answer, strict=True))
    return before


#: Statuses that ``requeue`` requeues.
REQUEUED = frozenset({"failed", "stopped", "canceled"})


async def requeue_failed(broker: Broker, queue: str) -> int:
    """Requeue all jobs of a queue that failed or were stopped until now; how many those were.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    registry = keys.registry("failed", queue)
    async with broker.errors():
        job_ids = [member.decode() async for member, _ in client.zscan_iter(registry, count=CHUNK)]
    before = await requeue(broker, list(dict.fromkeys(job_ids)))
    gone = [job_id for job_id, status in before.items() if status is None]
    if gone:
        async with broker.errors():
            await client.zrem(registry, *gone)
    return sum(status in REQUEUED for status in before.values())
