"""``dataflow jobs stats``: what all workers together did, and how they fare."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from dataflow.cli import text
from dataflow.cli.target import AppOption, JsonOption, Target, UrlOption, print_json
from dataflow.jobs.captures import CaptureInfo, read_captures
from dataflow.jobs.fleet import WorkerInfo, read_workers
from dataflow.jobs.listing import count_jobs, queue_names
from dataflow.jobs.metrics import KINDS, Counts, Histogram, Series, read_counts, since, total


def stats(
    interval: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Look twice, so many seconds apart, and tell what happened in between, with rates. Workers publish "
            "every 5 s, so give 10 or more.",
        ),
    ] = None,
    target: AppOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
) -> None:
    """Tell what all workers did: runs by outcome, run time and queue delay (p50, p99), queues, pools, breakers.

    Counts begin when the broker first saw a worker, and outlive workers; p50 and p99 are as exact as fixed buckets are.

    Example: dataflow jobs stats --interval 15
    """
    place = Target(target, url)

    async def work() -> tuple[Counts, float | None, dict[str, dict[str, int]], list[WorkerInfo], list[CaptureInfo]]:
        counts: Counts = await read_counts(place.broker)
        seconds = None
        if interval is not None:
            before, began = counts, time.monotonic()
            await asyncio.sleep(interval)
            counts, seconds = since(await read_counts(place.broker), before), time.monotonic() - began
        queues = await count_jobs(place.broker, await queue_names(place.broker))
        return counts, seconds, queues, await read_workers(place.broker), await read_captures(place.broker)

    told = _summary(*place.run(work()))
    if json:
        print_json(told)
    else:
        _print(told)


def _summary(
    counts: Counts,
    seconds: float | None,
    queues: dict[str, dict[str, int]],
    workers: list[WorkerInfo],
    captures: list[CaptureInfo],
) -> dict[str, Any]:
    alive = [worker.vitals for worker in workers if worker.vitals and worker.state != "lost"]
    return {
        "seconds": seconds,
        "total": _series(total(counts.values()), seconds),
        "series": [
            {"queue": queue, "workflow": workflow, **_series(Series(numbers), seconds)}
            for (queue, workflow), numbers in sorted(counts.items())
        ],
        "queues": queues,
        "workers": len(alive),
        "running": sum(one["running"] for one in alive),
        "slots": sum(one["concurrency"] for one in alive),
        "rss": sum(one["rss"] for one in alive),
        "loop_lag": max((one["loop_lag"] for one in alive), default=0.0),
        "pools": [one["pools"] for one in alive if one.get("pools")],
        "breakers": [one["breakers"] for one in alive if one.get("breakers")],
        "captures": [asdict(one) for one in captures],
    }


def _series(series: Series, seconds: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {kind: series.ends(kind) for kind in KINDS}
    told["run_time"] = _histogram(series.run_time)
    told["queue_delay"] = _histogram(series.queue_delay)
    told["per_second"] = None if seconds is None else series.run_time.count / seconds
    return told


def _histogram(histogram: Histogram) -> dict[str, float | None]:
    return {"p50": histogram.quantile(0.5), "p99": histogram.quantile(0.99), "sum": histogram.sum}


def _print(told: dict[str, Any]) -> None:
    console = text.console()
    seconds = told["seconds"]
    console.print(
        f"{told['workers']} worker(s), {told['running']} of {told['slots']} slots busy, {text.size(told['rss'])}, "
        f"worst loop lag {text.duration(told['loop_lag'])}"
    )
    columns = ("queue", "workflow", *KINDS, "run p50", "p99", "queued p50", "p99", *(("per s",) if seconds else ()))
    rows = [_row(escape(one["queue"]), escape(one["workflow"]), one) for one in told["series"]]
    if len(rows) > 1:
        rows.append(_row("[bold]all[/]", "", told["total"]))
    title = f"Runs within {seconds:.0f} s" if seconds else "Runs"
    console.print(text.table(title, columns, rows))
    kinds = list(next(iter(told["queues"].values()), {}))
    lines = [(escape(name), *map(str, by_status.values())) for name, by_status in told["queues"].items()]
    console.print(text.table("Jobs", ("queue", *kinds), lines))
    pools = [
        (escape(name), str(pool["checked_out"]), str(pool["total"]), str(pool["max_size"]), str(pool["waiting"]))
        for worker in told["pools"]
        for name, pool in worker.items()
    ]
    if pools:
        console.print(text.table("Pools, by worker", ("database", "in use", "open", "most", "waiting"), pools))
    if told["captures"]:
        console.print(captures_table(told["captures"]))
    for worker in told["breakers"]:
        for name, state in worker.items():
            console.print(f"breaker {escape(name)}: {escape(str(state))}")


def captures_table(captures: Sequence[Mapping[str, Any]]) -> Table:
    """How captures of change events fare, each as ``CaptureInfo`` in a dict."""
    rows = [
        (
            escape(one["instance"]),
            text.status(one["state"]),
            one["mechanism"] or "-",
            str(one["events"]),
            text.duration(one["lag"]),
            text.duration(one["silence"]),
            str(one["epoch"] or "-"),
        )
        for one in captures
    ]
    return text.table("Captures", ("instance", "state", "by", "events", "lag", "last sign", "epoch"), rows)


def _row(queue: str, workflow: str, one: dict[str, Any]) -> tuple[str, ...]:
    quantiles = [one[name][share] for name in ("run_time", "queue_delay") for share in ("p50", "p99")]
    rate = () if one["per_second"] is None else (f"{one['per_second']:.1f}",)
    return (queue, workflow, *(str(one[kind]) for kind in KINDS), *map(text.duration, quantiles), *rate)
