"""What code that runs in a node may ask of its surroundings."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from dataflow.nodes.interface import RunContext


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """The job that a run belongs to.

    Attributes:
        id: Its id, which is the run's id too.
        queue: Name of its queue.
        ordering_key: Its ordering key, if it has one.
        retries_left: Times it will be tried again if this try fails.
        schedule: Name of the schedule that it is of, if it is of one.
        due: The tick that it is of: when that was due, however late it runs.
    """

    id: str
    queue: str
    ordering_key: str | None
    retries_left: int
    schedule: str | None = None
    due: datetime | None = None


running_job: ContextVar[CurrentJob | None] = ContextVar("dataflow_running_job", default=None)
running_node: ContextVar[RunContext | None] = ContextVar("dataflow_running_node", default=None)


def current_job() -> CurrentJob | None:
    """The job whose code is running here, in its task or thread; None outside of a worker.

    Example:
        >>> @db.actor
        ... def charge(order: int) -> str:
        ...     return gateway.charge(order, idempotency_key=current_job().id)
    """
    return running_job.get()


def current_run() -> RunContext | None:
    """The run and node whose actor is running here: ``run_id``, ``node_id``, ``tenant_id``; None outside of a run."""
    return running_node.get()
