"""``dataflow capture``: changes of rows become events."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.markup import escape

from dataflow.cli import text
from dataflow.cli.loading import load_apps
from dataflow.cli.processes import log_at
from dataflow.cli.target import print_json
from dataflow.errors import ConfigurationError
from dataflow.loop_thread import new_event_loop

if TYPE_CHECKING:
    from dataflow.app import DataFlow
    from dataflow.events.service import CaptureService

T = TypeVar("T")


def capture(
    app: Annotated[str, typer.Argument(help="The application, as module:attribute, such as app:db.", metavar="APP")],
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Say which mechanisms the database allows, and the SQL that mends what is weaker."
        ),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Tell how the capture fares: is it running, how far is it, its snapshots.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove from the database what capture made there. Streams stay.")
    ] = False,
    snapshot: Annotated[
        list[str] | None,
        typer.Option(
            "--snapshot",
            help="Ask the capture that runs, or the next, for all rows of this model as events.",
            metavar="MODEL",
        ),
    ] = None,
    mechanism: Annotated[
        str | None, typer.Option(help="pgoutput, binlog or outbox. By default the best that the database allows.")
    ] = None,
    max_age: Annotated[float, typer.Option(min=0.01, help="Hours that events are kept.")] = 168.0,
    max_length: Annotated[int, typer.Option(min=1, help="Events that each stream holds.")] = 1_000_000,
    json: Annotated[bool, typer.Option("--json", help="With --status: answer in JSON, for programs.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Publish every committed change of a row to a Redis Stream, until Ctrl-C or SIGTERM.

    Each table has a stream rq:dataflow:events:INSTANCE:TABLE; redis-cli XRANGE shows what is in it. Any number of these
    processes may run; one works, the others take over when it dies.

    Example: dataflow capture app:db --probe
    """
    from dataflow.events.service import CaptureService
    from dataflow.events.trimming import Trimmer

    log_at(log_level)
    apps = load_apps(app)
    trimmer = Trimmer(max_age=max_age * 3600, max_length=max_length)
    services = [CaptureService(item, mechanism=mechanism, trimmer=trimmer) for item in apps]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        if probe:
            works = runner.run(_closing(apps, _probe(services)))
            sys.exit(0 if works else 1)
        elif status:
            running = runner.run(_closing(apps, _status(apps, json=json)))
            sys.exit(0 if running else 1)
        elif remove:
            runner.run(_closing(apps, _remove(services)))
        elif snapshot:
            runner.run(_closing(apps, _snapshots(services, snapshot)))
        else:
            runner.run(_closing(apps, _run(services)))


async def _closing(apps: Sequence[DataFlow], work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    finally:
        for app in apps:
            await app.close_async()


async def _probe(services: Sequence[CaptureService]) -> bool:
    """Print what each mechanism would give; whether each instance has one that can be used."""
    from dataflow.events.service import findings_text

    complete = True
    for service in services:
        found = await service.probe()
        best = next((item for item in found if item.usable), None)
        complete = complete and best is not None
        by = "cannot be captured" if best is None else f"are captured by {best.source.mechanism}"
        typer.echo(f"Changes of {service.site.owner} in {service.site.database.masked_url} {by}.")
        for line in (*findings_text(found), *await service.probe_redis()):
            typer.echo(f"  {line}")
    return complete


async def _status(apps: Sequence[DataFlow], *, json: bool) -> bool:
    """Print how each capture fares; whether all are running."""
    from dataflow.cli.stats import captures_table
    from dataflow.jobs.captures import read_captures

    found = [one for app in apps for one in await read_captures(app.broker, [app.name])]
    if json:
        print_json([asdict(one) for one in found])
    else:
        console = text.console()
        console.print(captures_table([asdict(one) for one in found]))
        for one in found:
            if one.reason:
                console.print(f"{one.instance} is in epoch {one.epoch}: {escape(one.reason)}")
            for table, snapshot in one.snapshots.items():
                console.print(f"Snapshot of {escape(table)}: {snapshot['state']}, {snapshot.get('rows', 0)} rows.")
    return all(one.state == "running" for one in found)


async def _remove(services: Sequence[CaptureService]) -> None:
    for service in services:
        await service.remove()
        typer.echo(f"Nothing of capture is left in {service.site.database.masked_url}.")


async def _snapshots(services: Sequence[CaptureService], models: Sequence[str]) -> None:
    if len(services) > 1:
        raise ConfigurationError("--snapshot needs one instance.", hint="Name it: app:databases.orders.")
    for model in models:
        await services[0].request_snapshot(model)
        typer.echo(f"The rows of {model} come as events of op r, as soon as a capture runs.")


async def _run(services: Sequence[CaptureService]) -> None:
    """Capture until a signal comes, or one of them fails."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(ended.wait())]
    try:
        for service in services:
            await service.start()
            assert service.task is not None
            waits.append(service.task)
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waits[0].cancel()
        for service in services:
            await service.stop()
