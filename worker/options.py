"""WorkerOptions: what a worker is told."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from dataflow.errors import ConfigurationError
from dataflow.jobs.requests import DEFAULT_TIMEOUT


def new_name() -> str:
    """A name that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker is told.

    Attributes:
        queues: Queues it serves, the first before the second, and so on.
        concurrency: Jobs that run at once.
        limits: Jobs of a queue that may run at once, by its name; other queues may fill the worker.
        prefetch: Jobs claimed beyond those that run. They count as started and wait in the worker, so with many short
            jobs none waits for Redis; other workers cannot take them meanwhile, and the first queue is served later.
        burst: End when the queues are empty and nothing runs.
        grace: Seconds that running jobs have to finish after a signal; then they go back to their queues.
        name: Its name in Redis; unique among workers.
        lease: Seconds without a sign of life after which other workers take over its jobs. It gives one each third.
        max_stall: Seconds that the event loop may be blocked before the worker gives no more signs of life, as dead.
        max_deliveries: Workers that may die with a job before the job fails.
        max_outages: Times that a database may go away beneath a job, and the job waits for it without spending a retry.
        default_timeout: Seconds that a job may run where neither it nor its queue says; -1 for no limit.
        per_database: Jobs of one database that run at once; 0 for no limit. Default three quarters of ``concurrency``
            where several instances are served, so that a slow database leaves room for the others; else no limit.
        abandoned_after: Seconds without a sign of life after which RQ's own tools take a job for abandoned. Long, since
            our workers take it over within ``lease``, and a restarted machine finds its jobs.
        effects_kept: Seconds that entries of the run ledger are kept for jobs that may be started again: those that
            failed, or whose worker died. A job started again after that repeats its effects.
    """

    queues: tuple[str, ...] = ("default",)
    concurrency: int = 50
    limits: Mapping[str, int] = field(default_factory=dict)
    prefetch: int = 0
    burst: bool = False
    grace: float = 8.0
    name: str = field(default_factory=new_name)
    lease: float = 15.0
    max_stall: float = 300.0
    max_deliveries: int = 3
    max_outages: int = 5
    default_timeout: int = DEFAULT_TIMEOUT
    per_database: int | None = None
    abandoned_after: int = 3_600
    effects_kept: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        if not self.queues or not all(self.queues):
            raise ConfigurationError("A worker needs at least one queue.", hint="--queues high,default")
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency is at least 1, got {self.concurrency}.")
        if not self.effects_kept > 0:
            raise ConfigurationError(f"effects_kept is above 0, got {self.effects_kept}.")
        if self.prefetch < 0:
            raise ConfigurationError(f"prefetch is from 0, got {self.prefetch}.")
        if not all(limit >= 1 for limit in self.limits.values()):
            raise ConfigurationError("The limit of a queue is at least 1.", hint="--queues high,low:5")
        if not self.limits.keys() <= set(self.queues):
            raise ConfigurationError(f"Limits name queues that are not served: {set(self.limits) - set(self.queues)}.")
        if self.grace < 0 or self.lease <= 0 or self.max_stall <= 0 or self.max_deliveries < 1:
            raise ConfigurationError("grace is from 0, lease and max_stall above 0, max_deliveries at least 1.")
        if self.max_outages < 0 or (self.per_database or 0) < 0:
            raise ConfigurationError("max_outages and per_database are at least 0.")
        if self.default_timeout != -1 and self.default_timeout < 1:
            raise ConfigurationError("default_timeout is a number of seconds from 1, or -1 for no limit.")

    def database_limit(self, instances: int) -> int | None:
        """Jobs of one database that run at once, where so many instances are served; None for no limit."""
        if self.per_database is not None:
            return self.per_database or None
        return max(1, self.concurrency * 3 // 4) if instances > 1 else None

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between signs of life."""
        return self.lease / 3
