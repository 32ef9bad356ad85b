"""Metrics as text that Prometheus reads (its exposition format 0.0.4).

Labels name queues, workflows, databases and breakers, never jobs, workers or hosts, whose number grows without end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dataflow.jobs.broker import Broker
from dataflow.jobs.captures import CaptureInfo, read_captures
from dataflow.jobs.fleet import read_workers
from dataflow.jobs.listing import count_jobs, queue_names
from dataflow.jobs.metrics import BOUNDS, KINDS, Counts, Histogram, Series, read_counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[str, Mapping[str, str], float]


async def fleet_text(broker: Broker) -> str:
    """The metrics of all workers together, of the queues, and of the captures of change events.

    Raises:
        BrokerUnavailableError: The broker cannot be reached.
    """
    counts = await read_counts(broker)
    workers = await read_workers(broker)
    queues = await count_jobs(broker, await queue_names(broker))
    text = render(counts, [worker.vitals for worker in workers if worker.vitals], queues)
    return text + "".join(f"{line}\n" for line in _captures(await read_captures(broker)))


def render(
    counts: Counts, vitals: Sequence[Mapping[str, Any]], queues: Mapping[str, Mapping[str, int]] | None = None
) -> str:
    """Metrics as text.

    Args:
        counts: What was counted of jobs.
        vitals: How each worker process fares.
        queues: Queue → status → jobs.
    """
    series = {key: Series(numbers) for key, numbers in sorted(counts.items())}
    lines = [
        *_family(
            "dataflow_jobs_total",
            "counter",
            "Runs by how they ended: done, failed, stopped, retry (failed, tried again), back (given back unfinished), "
            "defer (waits for a dependency), outage (a dependency went away).",
            (
                ("", {"queue": queue, "workflow": workflow, "outcome": kind}, one.ends(kind))
                for (queue, workflow), one in series.items()
                for kind in KINDS
            ),
        ),
        *_family(
            "dataflow_job_run_seconds",
            "histogram",
            "How long runs took.",
            _histograms({key: one.run_time for key, one in series.items()}),
        ),
        *_family(
            "dataflow_job_queue_delay_seconds",
            "histogram",
            "How long jobs were queued before they ran.",
            _histograms({key: one.queue_delay for key, one in series.items()}),
        ),
        *_vitals(vitals),
    ]
    if queues is not None:
        samples = [
            ("", {"queue": queue, "status": status}, float(number))
            for queue, by_status in queues.items()
            for status, number in by_status.items()
        ]
        lines += _family("dataflow_queue_jobs", "gauge", "Jobs in Redis, by queue and status.", samples)
    return "\n".join(lines) + "\n"


def _vitals(vitals: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    def added(name: str) -> list[_Sample]:
        return [("", {}, sum(one[name] for one in vitals))]

    lag = max((one["loop_lag"] for one in vitals), default=0.0)
    yield from _family("dataflow_workers", "gauge", "Worker processes.", [("", {}, len(vitals))])
    yield from _family("dataflow_running_jobs", "gauge", "Jobs that run.", added("running"))
    yield from _family("dataflow_waiting_jobs", "gauge", "Jobs that were claimed ahead.", added("waiting"))
    yield from _family("dataflow_job_slots", "gauge", "Jobs that may run at once.", added("concurrency"))
    yield from _family("dataflow_resident_bytes", "gauge", "Memory of the worker processes.", added("rss"))
    yield from _family(
        "dataflow_loop_lag_seconds", "gauge", "Worst delay of an event loop in the last ten seconds.", [("", {}, lag)]
    )
    connections: Counter[tuple[str, str]] = Counter()
    waiting: Counter[str] = Counter()
    breakers: Counter[tuple[str, str]] = Counter()
    for one in vitals:
        for database, pool in one.get("pools", {}).items():
            connections[database, "in_use"] += pool["checked_out"]
            connections[database, "idle"] += pool["total"] - pool["checked_out"]
            waiting[database] += pool["waiting"]
        for breaker, state in one.get("breakers", {}).items():
            breakers[breaker, state["state"] if isinstance(state, Mapping) else str(state)] += 1
    yield from _family(
        "dataflow_pool_connections",
        "gauge",
        "Open connections to databases.",
        (("", {"database": database, "state": state}, n) for (database, state), n in sorted(connections.items())),
    )
    yield from _family(
        "dataflow_pool_waiting",
        "gauge",
        "Callers that wait for a connection.",
        (("", {"database": database}, n) for database, n in sorted(waiting.items())),
    )
    yield from _family(
        "dataflow_breakers",
        "gauge",
        "Worker processes whose circuit breaker is in a state.",
        (("", {"breaker": breaker, "state": state}, n) for (breaker, state), n in sorted(breakers.items())),
    )


def _captures(captures: Sequence[CaptureInfo]) -> Iterator[str]:
    def family(name: str, kind: str, text: str, values: Iterable[float | None]) -> Iterator[str]:
        samples = [
            ("", {"instance": one.instance}, value)
            for one, value in zip(captures, values, strict=True)
            if value is not None
        ]
        yield from _family(f"dataflow_capture_{name}", kind, text, samples)

    running = (int(one.state == "running") for one in captures)
    yield from family("running", "gauge", "Whether changes are captured: 1, or 0.", running)
    yield from family("events_total", "counter", "Change events published.", (one.events for one in captures))
    yield from family(
        "lag_seconds", "gauge", "From the last event's commit to its publication.", (one.lag for one in captures)
    )
    silences = (one.silence for one in captures)
    yield from family("silence_seconds", "gauge", "Since the database could be read.", silences)
    yield from family("epoch", "gauge", "Grows when changes may have been lost.", (one.epoch for one in captures))


def _histograms(histograms: Mapping[tuple[str, str], Histogram]) -> Iterator[_Sample]:
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    for (queue, workflow), histogram in histograms.items():
        labels = {"queue": queue, "workflow": workflow}
        for bound, number in zip(bounds, histogram.cumulative, strict=True):
            yield "_bucket", {**labels, "le": bound}, number
        yield "_sum", labels, histogram.sum
        yield "_count", labels, histogram.count


def _family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in samples:
        told = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"{name}{suffix}{{{told}}} {value!r}" if told else f"{name}{suffix} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
