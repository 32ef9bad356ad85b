"""Heartbeat: proves that this worker lives, and learns which of its jobs are no longer its own."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
from importlib.metadata import version

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from worker.deliveries import Deliveries, Reason
from worker.link import Link, load_script, pause
from worker.options import WorkerOptions
from worker.service import Service

logger = logging.getLogger("dataflow.worker")

_HEARTBEAT = load_script("heartbeat")
_FAREWELL = load_script("farewell")

#: Seconds that RQ's tools show a worker without a sign of life.
HASH_KEPT = 480


class Heartbeat(Service):
    """Renews the worker's lease and the executions of its jobs, and registers it for RQ's tools.

    Args:
        link: The connection.
        options: The worker's.
        deliveries: Those held.
    """

    def __init__(self, link: Link, options: WorkerOptions, deliveries: Deliveries) -> None:
        super().__init__()
        self._link = link
        self._options = options
        self._deliveries = deliveries
        self._identity: list[Argument] = _identity(options)

    async def start(self) -> None:
        await self._beat()
        await super().start()

    async def run(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(self._options.heartbeat_interval if attempt == 0 else 0)
            try:
                await self._beat()
                attempt = 0
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1

    async def _beat(self) -> None:
        options = self._options
        held = list(self._deliveries)
        fields = [*self._identity, "state", "busy" if held else "idle"]
        arguments: list[Argument] = [
            options.name, now_text(), options.lease, HASH_KEPT, options.abandoned_after,
            len(options.queues), *options.queues, len(fields), *fields,
        ]  # fmt: skip
        for delivery in held:
            arguments += (delivery.job_id, delivery.execution_id, delivery.queue)
        for member in await self._link.call(_HEARTBEAT, arguments):
            lost = self._deliveries.get(member.decode())
            if lost is not None and lost.is_running:
                logger.warning("Job %s is no longer this worker's; it is interrupted.", lost.job_id)
                lost.interrupt(Reason.LOST)

    async def farewell(self) -> None:
        """Unregister the worker, which runs nothing any more."""
        await self._link.call(_FAREWELL, [self._options.name, now_text(), *self._options.queues])


def _identity(options: WorkerOptions) -> list[Argument]:
    """What RQ's tools show of a worker."""
    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = ""
    return [
        "birth", now_text(),
        "queues", ",".join(options.queues),
        "pid", os.getpid(),
        "hostname", host,
        "ip_address", address,
        "version", version("dataflow-jobs"),
        "python_version", platform.python_version(),
        "x_runner", "dataflow",
    ]  # fmt: skip
