"""What workers count of the jobs that they run, and how Redis keeps it.

Each worker adds what it counted to one hash with every heartbeat, so totals outlive workers. A field holds one number
of one series, a queue and a workflow: ``NAME␟QUEUE␟WORKFLOW``, where NAME is one of ``NAMES``. The hash expires a week
after the last count.

In memory a series is a list of whole numbers, in the order of ``NAMES``:

    ┌──────────────┬────────────────────────────┬────────────┬────────────────────┬───────┐
    │ ends by kind │ runs by their time, a      │ sum of run │ runs by how long   │ their │
    │              │ number per bucket          │ times, µs  │ they were queued   │ sum   │
    └──────────────┴────────────────────────────┴────────────┴────────────────────┴───────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker

#: How a run ends: ``retry`` is a failure that is tried again. The others did not run to an end: ``back`` is a job given
#: back, ``defer`` one that waits for a dependency, ``outage`` one beneath which a dependency went away.
KINDS = ("done", "failed", "stopped", "retry", "back", "defer", "outage")
#: Kinds whose times say nothing about the job.
UNFINISHED = frozenset({"back", "defer", "outage"})
#: Upper bounds of the buckets of both histograms, in seconds; the last bucket has none.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_BUCKETS = len(BOUNDS) + 1
#: Where the parts of a series begin.
RUN = len(KINDS)
RUN_SUM = RUN + _BUCKETS
DELAY = RUN_SUM + 1
DELAY_SUM = DELAY + _BUCKETS
NAMES = (
    *KINDS,
    *(f"run_{i}" for i in range(_BUCKETS)),
    "run_us",
    *(f"delay_{i}" for i in range(_BUCKETS)),
    "delay_us",
)
_PLACES = {name: place for place, name in enumerate(NAMES)}

_SEPARATOR = "\x1f"

#: (queue, workflow) → its numbers.
Counts = Mapping[tuple[str, str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many runs took how long.

    Attributes:
        buckets: Runs per bucket of ``BOUNDS``, not cumulative; the last has no upper bound.
        sum: Seconds of all together.
    """

    buckets: Sequence[int]
    sum: float

    @property
    def count(self) -> int:
        """Runs of all buckets."""
        return sum(self.buckets)

    @property
    def cumulative(self) -> list[int]:
        """For each bucket, runs up to its upper bound."""
        return list(accumulate(self.buckets))

    def quantile(self, share: float) -> float | None:
        """Seconds that the given share of runs did not exceed, as exact as the buckets are; None without runs.

        Within a bucket runs are taken to be spread evenly; of those beyond the last bound, the bound is told.
        """
        wanted = share * self.count
        if not wanted:
            return None
        below = 0
        for place, number in enumerate(self.buckets[:-1]):
            if number and below + number >= wanted:
                lower = BOUNDS[place - 1] if place else 0.0
                return lower + (BOUNDS[place] - lower) * (wanted - below) / number
            below += number
        return BOUNDS[-1]


@dataclass(frozen=True, slots=True)
class Series:
    """What was counted of one queue and workflow, or of several together.

    Attributes:
        numbers: In the order of ``NAMES``.
    """

    numbers: Sequence[int] = field(default_factory=lambda: [0] * len(NAMES))

    def ends(self, kind: str) -> int:
        """Runs that ended so; see ``KINDS``."""
        return self.numbers[_PLACES[kind]]

    @property
    def run_time(self) -> Histogram:
        """How long runs took."""
        return Histogram(self.numbers[RUN:RUN_SUM], self.numbers[RUN_SUM] / 1e6)

    @property
    def queue_delay(self) -> Histogram:
        """How long jobs were queued before they ran, by the clocks of producer and worker."""
        return Histogram(self.numbers[DELAY:DELAY_SUM], self.numbers[DELAY_SUM] / 1e6)


def total(counts: Iterable[Sequence[int]]) -> Series:
    """Several series as one."""
    columns = list(zip(*counts, strict=True))
    return Series([sum(column) for column in columns]) if columns else Series()


def since(now: Counts, before: Counts) -> dict[tuple[str, str], list[int]]:
    """What was counted between two moments; series without any are left out."""
    empty = [0] * len(NAMES)
    found = {}
    for key, numbers in now.items():
        grown = [max(a - b, 0) for a, b in zip(numbers, before.get(key, empty), strict=True)]
        if any(grown):
            found[key] = grown
    return found


def field_name(name: str, queue: str, workflow: str) -> str:
    """The field that holds one number."""
    return _SEPARATOR.join((name, queue, workflow))


async def read_counts(broker: Broker) -> dict[tuple[str, str], list[int]]:
    """What all workers, dead and alive, have counted.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    client = await broker.client()
    async with broker.errors():
        fields: Any = await client.hgetall(keys.METRICS)
    counts: dict[tuple[str, str], list[int]] = {}
    for raw, value in fields.items():
        name, queue, workflow = raw.decode().split(_SEPARATOR, 2)
        place = _PLACES.get(name)
        if place is not None:  # a newer worker may count more than we know of
            counts.setdefault((queue, workflow), [0] * len(NAMES))[place] = int(value)
    return counts
