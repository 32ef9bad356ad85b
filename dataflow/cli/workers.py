"""``dataflow workers``: who serves the queues; and how to send them home."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.target import AppOption, JsonOption, Target, UrlOption, print_json
from dataflow.errors import InputError
from dataflow.jobs.control import insist_on_command
from dataflow.jobs.fleet import WorkerInfo, age, read_workers

app = typer.Typer(help="List the workers; drain them.")

#: Seconds between looks whether drained workers have ended.
_LOOK = 0.2


@app.callback(invoke_without_command=True)
def list_command(
    context: typer.Context, target: AppOption = None, url: UrlOption = None, json: JsonOption = False
) -> None:
    """List the workers: where they run, what they serve, how many jobs they hold and did, memory, loop lag.

    A worker that was killed shows as `lost` until another has given its jobs back, which takes seconds. RQ's own
    workers are listed, too.

    Example: dataflow workers --redis-url redis://localhost:6379/0
    """
    if context.invoked_subcommand is not None:
        return
    place = Target(target, url)
    workers = place.run(read_workers(place.broker))
    if json:
        print_json(workers)
        return
    columns = (
        "worker",
        "host",
        "queues",
        "state",
        "running",
        "held",
        "done",
        "failed",
        "memory",
        "lag",
        "lease",
        "age",
    )
    text.console().print(text.table(f"{len(workers)} worker(s)", columns, [_row(worker) for worker in workers]))


def _row(worker: WorkerInfo) -> tuple[str, ...]:
    vitals = worker.vitals
    return (
        escape(worker.name),
        escape(worker.host),
        escape(",".join(worker.queues)),
        text.status(worker.state) if worker.runner == "dataflow" else f"{worker.state} (rq)",
        f"{vitals['running']}/{vitals['concurrency']}" if vitals else "-",
        str(worker.held),
        str(worker.succeeded),
        str(worker.failed),
        text.size(vitals["rss"]) if vitals else "-",
        text.duration(vitals["loop_lag"]) if vitals else "-",
        text.duration(worker.lease_left) if worker.lease_left is not None else "-",
        text.duration(age(worker.birth)),
    )


@app.command()
def drain(
    names: Annotated[list[str] | None, typer.Argument(help="Names of workers.", metavar="WORKER…")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="All workers of DataFlow.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have ended.")] = False,
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Have workers finish what they run, however long it takes, and end. They claim no more jobs from now on.

    One that a supervisor started (--processes) is not replaced. SIGTERM still ends a drained worker after its grace.

    Example: dataflow workers drain --all --wait
    """
    if bool(names) == everybody:
        raise InputError("Give names of workers, or --all.")
    place = Target(target, url)

    async def work() -> list[str]:
        meant = set(names or ())
        if everybody:
            meant = {worker.name for worker in await read_workers(place.broker) if worker.runner == "dataflow"}
        for name in sorted(meant):
            await insist_on_command(place.broker, name, "drain")
        while wait and meant & {worker.name for worker in await read_workers(place.broker)}:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        return sorted(meant)

    for name in place.run(work()):
        typer.echo(f"{name}: {'ended' if wait else 'told to drain'}")
