"""The command ``dataflow worker``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from dataflow.app import DataFlow
from dataflow.cli.loading import load_apps
from dataflow.cli.processes import broker_of, log_at
from dataflow.jobs.broker import Broker
from dataflow.jobs.exporter import Exporter
from dataflow.jobs.packing import PayloadLimits
from dataflow.jobs.requests import DEFAULT_TIMEOUT
from dataflow.jobs.signatures import SigningKeys
from dataflow.loop_thread import new_event_loop
from scheduler.scheduler import Scheduler
from worker.admission import Admission
from worker.options import WorkerOptions, new_name
from worker.supervisor import Supervisor, same_command, watch_supervisor
from worker.worker import Worker, work

logger = logging.getLogger("dataflow.worker")

#: Threads for nodes that block (PythonCodeNode, sync ``execute``).
_THREADS = "dataflow-node"


def worker(
    app: Annotated[str, typer.Argument(help="The application, as module:attribute, such as app:db.", metavar="APP")],
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            "-q",
            help="Queues to serve, in order of priority: high,default. low:5 runs at most 5 jobs of low at once.",
        ),
    ] = "default",
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", "-c", min=1, help="Jobs that run at once. They share the pool (DATAFLOW_POOL_SIZE)."
        ),
    ] = 50,
    prefetch: Annotated[
        int,
        typer.Option(
            min=0,
            help="Jobs to claim beyond those that run. They wait in this worker, out of reach of others: for many "
            "short jobs only.",
        ),
    ] = 0,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", min=1, help="Worker processes; each has its own slots and pools. One per core is best."
        ),
    ] = 1,
    burst: Annotated[
        bool, typer.Option("--burst", "-b", help="End when the queues are empty and nothing runs.")
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds that running jobs have to finish after SIGTERM; then they go back to their queues unharmed. "
            "Keep it below what your supervisor waits before it kills (docker stop: 10).",
        ),
    ] = 8.0,
    name: Annotated[
        str | None, typer.Option(help="Its name in Redis; must be unique. By default host-pid-random.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The broker: redis://host:6379/0. By default the app's, from REDIS_URL.")
    ] = None,
    lease: Annotated[
        float,
        typer.Option(min=0.3, help="Seconds of silence after which other workers take over this worker's jobs."),
    ] = 15.0,
    default_timeout: Annotated[
        int,
        typer.Option(help="Seconds that a job may run where neither it nor its queue says; -1 for no limit."),
    ] = DEFAULT_TIMEOUT,
    per_database: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Jobs of one database that run at once, so that a slow one leaves room for others; 0 for no limit. By "
            "default three quarters of the concurrency where APP names several instances, else no limit.",
        ),
    ] = None,
    max_outages: Annotated[
        int,
        typer.Option(min=0, help="Times that a database may go away beneath a job without the job spending a retry."),
    ] = 5,
    max_deliveries: Annotated[
        int, typer.Option(min=1, help="Workers that may die with a job before it fails: it may be what kills them.")
    ] = 3,
    max_stall: Annotated[
        float,
        typer.Option(min=1, help="Seconds that code may block the event loop before the worker counts as dead."),
    ] = 300.0,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run PythonCodeNodes: Python code that arrives with jobs.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Serve this worker's metrics to Prometheus at /metrics; with --processes each takes the next port. "
            "`dataflow metrics` serves those of all workers together.",
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address to serve metrics at; 0.0.0.0 for all.")] = "127.0.0.1",
    supervised: Annotated[bool, typer.Option(hidden=True, help="End when stdin does.")] = False,
    require_signature: Annotated[
        bool | None,
        typer.Option(
            help="Refuse jobs that are not signed. By default: where the app has signing_keys. Signatures that are "
            "there are verified wherever there are keys."
        ),
    ] = None,
    with_scheduler: Annotated[
        bool, typer.Option("--with-scheduler", help="Also do what `dataflow scheduler` does, in this process.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run jobs: workflows that an app enqueued, on the databases that it declared.

    APP is imported as uvicorn does: the current directory is importable. Any number of workers may serve the same
    queues; when one dies, the others run its jobs. Ctrl-C or SIGTERM ends it in good order, a second one at once.

    Example: dataflow worker app:db --queues high,default --concurrency 100
    """
    log_at(log_level)
    served, limits = _queues(queues)
    options = WorkerOptions(
        queues=served,
        limits=limits,
        prefetch=prefetch,
        concurrency=concurrency,
        burst=burst,
        grace=grace,
        lease=lease,
        default_timeout=default_timeout,
        per_database=per_database,
        max_outages=max_outages,
        max_deliveries=max_deliveries,
        max_stall=max_stall,
        name=name or new_name(),
    )
    if processes > 1:
        sys.exit(_supervise(options.name, processes, metrics_port))
    apps = load_apps(app)
    broker = broker_of(apps, url)
    instance = Worker(apps, broker, options, allow_code=allow_code, admission=_admission(apps, require_signature))
    exporter = None
    if metrics_port is not None:
        exporter = Exporter(instance.metrics_text, metrics_host, metrics_port)
    scheduler = Scheduler(apps, broker) if with_scheduler else None
    sys.exit(_run(instance, apps, broker, app, exporter, scheduler, supervised=supervised))


def _queues(text: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names in their order, and the limits of those that have one: ``high,low:5``."""
    names, limits = [], {}
    for part in text.split(","):
        name, _, limit = part.strip().rpartition(":")
        if name and limit.isdecimal():
            limits[name] = int(limit)
        else:
            name = part.strip()
        names.append(name)
    return tuple(names), limits


def _supervise(name: str, processes: int, metrics_port: int | None) -> int:
    """Run this command in several processes; the exit code."""

    def command(place: int, number: int) -> list[str]:
        # A name is used once: by its lease the others learn that a process died.
        options = ["--processes", "1", "--supervised", "--name", f"{name}-{number}"]
        if metrics_port:
            options += ["--metrics-port", str(metrics_port + place)]
        return same_command(options)

    return asyncio.run(Supervisor(command, processes).run())


def _admission(apps: Sequence[DataFlow], require_signature: bool | None) -> Admission:
    """What jobs must prove, by the settings of all apps: the keys of each, the narrowest limits."""
    limits = [app.settings.payload_limits() for app in apps]
    return Admission(
        SigningKeys.joined([keys for app in apps if (keys := app.settings.signatures()) is not None]),
        require_signature=require_signature,
        limits=PayloadLimits(min(item.stored for item in limits), min(item.unpacked for item in limits)),
    )


def _run(
    instance: Worker,
    apps: Sequence[DataFlow],
    broker: Broker,
    target: str,
    exporter: Exporter | None,
    scheduler: Scheduler | None,
    *,
    supervised: bool,
) -> int:
    """Run a worker to its end; the exit code."""
    threads = ThreadPoolExecutor(thread_name_prefix=_THREADS)
    began = time.monotonic()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        counts = runner.run(_main(instance, apps, broker, target, threads, exporter, scheduler, supervised=supervised))
        seconds = time.monotonic() - began
        ended = sum(counts[kind] for kind in ("done", "failed", "stopped"))
        logger.info(
            "Ended after %.1f s: %d done, %d failed, %d stopped, %d tried again, %d deferred, %d given back "
            "(%.0f jobs/s).",
            seconds, counts["done"], counts["failed"], counts["stopped"], counts["retry"],
            counts["defer"] + counts["outage"], counts["back"],
            ended / seconds,
        )  # fmt: skip
        threads.shutdown(wait=False, cancel_futures=True)
        if _is_blocked():
            # Their jobs were given back; Python would wait for these threads for as long as they please.
            logging.shutdown()
            os._exit(0)
    return 0


async def _main(
    instance: Worker,
    apps: Sequence[DataFlow],
    broker: Broker,
    target: str,
    threads: ThreadPoolExecutor,
    exporter: Exporter | None,
    scheduler: Scheduler | None,
    *,
    supervised: bool,
) -> Mapping[str, int]:
    asyncio.get_running_loop().set_default_executor(threads)
    options = instance.options
    logger.info(
        "Worker %s serves %s: queues %s at %s, %d jobs at once%s.",
        options.name, target, ", ".join(options.queues), broker.masked_url, options.concurrency,
        ", until they are empty" if options.burst else "",
    )  # fmt: skip
    pipe = await watch_supervisor(instance.stop) if supervised else None
    try:
        if exporter is not None:
            logger.info("Metrics at port %d.", await exporter.start())
        return await (work(instance) if scheduler is None else _work_and_schedule(instance, scheduler))
    finally:
        if exporter is not None:
            await exporter.stop()
        if pipe is not None:
            pipe.close()
        for app in apps:
            await app.close_async()
        await broker.close()


async def _work_and_schedule(instance: Worker, scheduler: Scheduler) -> Mapping[str, int]:
    """Run a worker, and a scheduler as long as it; where the scheduler fails, the worker ends in good order."""
    scheduling = asyncio.create_task(scheduler.run())
    scheduling.add_done_callback(lambda _: instance.stop())
    try:
        return await work(instance)
    finally:
        scheduler.stop()
        await scheduling


def _is_blocked() -> bool:
    """Whether code in a thread goes on though its job was interrupted."""
    deadline = time.monotonic() + 0.5
    busy = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
    for thread in busy:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in busy)
