"""Tally: counts what jobs of this worker did, cheaply, and hands it to the heartbeat."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime

from dataflow.jobs.metrics import BOUNDS, DELAY, DELAY_SUM, KINDS, NAMES, RUN, RUN_SUM, UNFINISHED, field_name, since
from dataflow.jobs.scripts import Argument
from worker.outcome import Outcome

#: Series that one worker keeps; further workflows are counted as ``other``, so that made-up names cannot fill the
#: memory of whoever reads them.
MOST_SERIES = 200
OTHER = "other"
#: Seconds that a delay counts at most: three years.
LONGEST = 1e8

_PLACES = {kind: place for place, kind in enumerate(KINDS)}


class Tally:
    """Numbers of jobs by queue and workflow, since the worker started.

    What was not yet published is handed out in numbered batches. A batch stays the same until it is confirmed, so one
    whose reply was lost can be sent again, and is counted once.

    ``observe`` may be called in one thread while another hands out and confirms batches, without a lock: numbers only
    grow, and what a batch takes is taken off by its own numbers, so what it did not see goes with the next.
    """

    def __init__(self) -> None:
        #: (queue, workflow) → numbers in the order of ``NAMES``.
        self.counts: dict[tuple[str, str], list[int]] = {}
        self._published: dict[tuple[str, str], list[int]] = {}
        self._batch: dict[tuple[str, str], list[int]] = {}
        self._number = 0
        self._minute = b""
        self._minute_began = 0.0

    def observe(self, outcome: Outcome) -> None:
        """A run has ended, and Redis knows."""
        delivery = outcome.delivery
        row = self.counts.get((delivery.queue, delivery.workflow))
        if row is None:
            row = self._new_row(delivery.queue, delivery.workflow)
        kind = outcome.kind
        row[_PLACES[kind]] += 1
        if kind in UNFINISHED:
            return
        seconds = outcome.ended - delivery.started
        row[RUN + bisect_left(BOUNDS, seconds)] += 1
        row[RUN_SUM] += int(seconds * 1e6)
        queued = delivery.options.get("enqueued_at")
        if queued is not None:
            # Clocks of producer and worker may differ, and anybody may have written the time.
            delay = min(max(0.0, delivery.started - self._moment(queued, delivery.started)), LONGEST)
            row[DELAY + bisect_left(BOUNDS, delay)] += 1
            row[DELAY_SUM] += int(delay * 1e6)

    def _new_row(self, queue: str, workflow: str) -> list[int]:
        if len(self.counts) >= MOST_SERIES:
            workflow = OTHER
        return self.counts.setdefault((queue, workflow), [0] * len(NAMES))

    def _moment(self, text: bytes, default: float) -> float:
        """Unix time of a text such as ``2026-01-31T12:30:59.123456Z``; ``default`` where it is none. All but its
        seconds is read once a minute.
        """
        try:
            if text[:17] != self._minute:
                self._minute_began = datetime.fromisoformat(f"{text[:17].decode()}00+00:00").timestamp()
                self._minute = text[:17]
            return self._minute_began + float(text[17:-1])
        except ValueError:
            return default

    @property
    def is_under_way(self) -> bool:
        """Whether a batch was handed out and is not confirmed."""
        return bool(self._batch)

    def batch(self) -> list[Argument]:
        """The number of the batch, how many numbers grew, then the field and growth of each."""
        if not self._batch:
            # A copy of the dict: a new series may come meanwhile.
            self._batch = since(self.counts.copy(), self._published)
            self._number += 1
        grown: list[Argument] = []
        for (queue, workflow), numbers in self._batch.items():
            for name, number in zip(NAMES, numbers, strict=True):
                if number:
                    grown += (field_name(name, queue, workflow), number)
        return [self._number, len(grown) // 2, *grown]

    def confirm(self, number: int) -> None:
        """The batch of that number was published."""
        if number != self._number:
            return
        for key, numbers in self._batch.items():
            known = self._published.setdefault(key, [0] * len(NAMES))
            self._published[key] = [a + b for a, b in zip(known, numbers, strict=True)]
        self._batch = {}
