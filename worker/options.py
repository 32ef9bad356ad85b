"""WorkerOptions: what a worker is told."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field

from dataflow.errors import ConfigurationError


def new_name() -> str:
    """A name that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker is told.

    Attributes:
        queues: Queues it serves, the first before the second, and so on.
        concurrency: Jobs that run at once.
        burst: End when the queues are empty and nothing runs.
        grace: Seconds that running jobs have to finish after a signal; then they go back to their queues.
        name: Its name in Redis; unique among workers.
        lease: Seconds without a sign of life after which other workers take over its jobs. It gives one each third.
        max_deliveries: Workers that may die with a job before the job fails.
        abandoned_after: Seconds without a sign of life after which RQ's own tools take a job for abandoned. Long, since
            our workers take it over within ``lease``, and a restarted machine finds its jobs.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = 50
    burst: bool = False
    grace: float = 8.0
    name: str = field(default_factory=new_name)
    lease: float = 15.0
    max_deliveries: int = 5
    abandoned_after: int = 3_600

    def __post_init__(self) -> None:
        if not self.queues or not all(self.queues):
            raise ConfigurationError("A worker needs at least one queue.", hint="--queues high,default")
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency is at least 1, got {self.concurrency}.")
        if self.grace < 0 or self.lease <= 0 or self.max_deliveries < 1:
            raise ConfigurationError("grace is from 0, lease above 0, max_deliveries at least 1.")

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between signs of life."""
        return self.lease / 3
