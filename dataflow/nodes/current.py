"""What code that runs in a node may ask of its surroundings."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from dataflow.errors import InputError, TenantError
from dataflow.nodes.interface import RunContext
from dataflow.tenants import checked_tenant

#: Takes what a node says of its progress: node id, done, total, note.
Report = Callable[[str, float, float | None, str], None]

#: Characters of a note that are kept.
NOTE_CHARACTERS = 200


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
    schedule: str | None
    due: datetime | None
    _report: Report = field(repr=False, compare=False)

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the node is whose code is running here: ``job.progress()`` and ``dataflow jobs watch`` show it.

        It may be called as often as one likes, from threads too: it keeps the last word, and at most ten times a second
        that is written. Nodes of a workflow that the job's code runs by itself are no nodes of the job: nobody is told.

        Args:
            done: How much is done, in a unit of yours.
            total: Of how much, in the same unit; None where that is not known.
            note: A few words to go with it; 200 characters are kept.

        Raises:
            InputError: It is called from code that no node runs, or with what is no finite number.
        """
        run = running_node.get()
        if run is None:
            raise InputError(
                "progress() tells of a node, and none is running here.", hint="Call it in an actor or a custom node."
            )
        # It is written elsewhere, where an error would hit others: names of files may be no UTF-8.
        words = note[:NOTE_CHARACTERS].encode(errors="replace").decode() if note else ""
        numbers = _number(done), None if total is None else _number(total)
        if run.run_id == self.id:
            self._report(run.node_id, *numbers, words)


def _number(value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"progress() takes finite numbers, got {value!r}.")
    return number


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
    """The run and node whose code is running here: ``run_id``, ``node_id``, ``tenant_id``; None outside of a run."""
    return running_node.get()


def tenant_of_run(tenant_id: str | None) -> str | None:
    """The tenant that is meant: the given one, else that of the run whose code is running here.

    Raises:
        TenantError: The run is for another one.
        TypeMismatchError: The given one cannot be a tenant's name.
    """
    run = running_node.get()
    own = None if run is None else run.tenant_id
    if tenant_id is None:
        return own
    if own not in (None, checked_tenant(tenant_id)):
        raise TenantError("The run is for another tenant than tenant_id.", hint="Leave tenant_id out.")
    return tenant_id
