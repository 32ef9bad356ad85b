"""The command ``dataflow scheduler``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated

import typer

from dataflow.app import DataFlow
from dataflow.cli.loading import load_apps
from dataflow.cli.processes import broker_of, log_at
from dataflow.jobs.broker import Broker
from dataflow.loop_thread import new_event_loop
from scheduler.scheduler import LOCK_TIME, Scheduler, schedule

logger = logging.getLogger("dataflow.scheduler")


def scheduler(
    app: Annotated[str, typer.Argument(help="The application, as module:attribute, such as app:db.", metavar="APP")],
    url: Annotated[
        str | None, typer.Option(help="The broker: redis://host:6379/0. By default the app's, from REDIS_URL.")
    ] = None,
    lock_time: Annotated[
        float,
        typer.Option(
            min=0.3,
            help="Seconds of silence after which another scheduler takes the lead. Below the grace of schedules.",
        ),
    ] = LOCK_TIME,
    name: Annotated[
        str | None, typer.Option(help="Its name in Redis; must be unique. By default host-pid-random.")
    ] = None,
    with_capture: Annotated[
        bool, typer.Option("--with-capture", help="Also do what `dataflow capture` does, in this process.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug (each tick), info, warning or error.")] = "info",
) -> None:
    """Start workflows and actors because it is time, or because something changed: enqueue the jobs of schedules and
    triggers for workers to run.

    Schedules are declared in the app with @db.schedule(cron="0 2 * * *"), triggers with @db.on(Order, "update"); both
    can be added at run time: db.schedules.add(), db.triggers.add(). Triggers need `dataflow capture`, or --with-capture
    here. When a scheduler starts, those of the code are brought into Redis, and those that the code lost
    are retired. It also moves delayed, retried and repeating jobs of all queues to their queues, RQ's too, so that RQ's
    own scheduler is not needed.

    Start two or more, on different machines: one leads, and another takes over when it dies; no tick is lost or
    doubled. The one that starts last leads, so that new code does. All clocks are the broker's. Ctrl-C or SIGTERM ends
    it.

    A small app needs no process of its own for this: dataflow worker app:db --with-scheduler

    Example: dataflow scheduler app:db
    """
    log_at(log_level)
    apps = load_apps(app)
    broker = broker_of(apps, url)
    instance = Scheduler(apps, broker, name=name, lock_time=lock_time)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_main(instance, apps, broker, app, with_capture=with_capture))
    logger.info("Ended.")


async def _main(
    instance: Scheduler, apps: Sequence[DataFlow], broker: Broker, target: str, *, with_capture: bool
) -> None:
    logger.info("Scheduler %s serves %s at %s.", instance.name, target, broker.masked_url)
    try:
        await (_schedule_and_capture(instance, apps) if with_capture else schedule(instance))
    finally:
        for app in apps:
            await app.close_async()
        await broker.close()


async def _schedule_and_capture(instance: Scheduler, apps: Sequence[DataFlow]) -> None:
    """Run a scheduler, and the capture of its instances as long as it; where that fails, so does this."""
    from dataflow.events.service import CaptureService

    captures = [CaptureService(app) for app in apps]
    try:
        for capture in captures:
            await capture.start()
            assert capture.task is not None
            capture.task.add_done_callback(lambda _: instance.stop())
        await schedule(instance)
        for capture in captures:
            if capture.task is not None and capture.task.done():
                capture.task.result()
    finally:
        for capture in captures:
            await capture.stop()
