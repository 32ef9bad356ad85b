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
from dataflow.errors import ConfigurationError
from dataflow.jobs.broker import Broker
from dataflow.loop_thread import new_event_loop
from worker.loading import load_apps
from worker.options import WorkerOptions, new_name
from worker.worker import Worker, work

logger = logging.getLogger("dataflow.worker")

#: Threads for nodes that block (PythonCodeNode, sync ``execute``).
_THREADS = "dataflow-node"


def worker(
    app: Annotated[str, typer.Argument(help="The application, as module:attribute, such as app:db.", metavar="APP")],
    queues: Annotated[
        str, typer.Option("--queues", "-q", help="Queues to serve, in order of priority: high,default.")
    ] = "default",
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", "-c", min=1, help="Jobs that run at once. They share the pool (DATAFLOW_POOL_SIZE)."
        ),
    ] = 50,
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
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run PythonCodeNodes: Python code that arrives with jobs.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run jobs: workflows that an app enqueued, on the databases that it declared.

    APP is imported as uvicorn does: the current directory is importable. Any number of workers may serve the same
    queues; when one dies, the others run its jobs. Ctrl-C or SIGTERM ends it in good order, a second one at once.

    Example: dataflow worker app:db --queues high,default --concurrency 100
    """
    _log(log_level)
    options = WorkerOptions(
        queues=tuple(part.strip() for part in queues.split(",")),
        concurrency=concurrency,
        burst=burst,
        grace=grace,
        lease=lease,
        name=name or new_name(),
    )
    apps = load_apps(app)
    broker = Broker(url or _broker_url(apps))
    sys.exit(_run(Worker(apps, broker, options, allow_code=allow_code), apps, broker, app))


def _broker_url(apps: Sequence[DataFlow]) -> str:
    urls = {app.settings.redis_url for app in apps if app.settings.redis_url}
    if len(urls) == 1:
        return urls.pop()
    raise ConfigurationError(
        "The instances name different brokers." if urls else "No broker is named.",
        hint="Set REDIS_URL=redis://host:6379/0, or give --url. A producer without one starts an embedded server and "
        "logs its URL.",
    )


def _run(instance: Worker, apps: Sequence[DataFlow], broker: Broker, target: str) -> int:
    """Run a worker to its end; the exit code."""
    threads = ThreadPoolExecutor(thread_name_prefix=_THREADS)
    began = time.monotonic()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        counts = runner.run(_main(instance, apps, broker, target, threads))
        seconds = time.monotonic() - began
        ended = sum(counts[kind] for kind in ("done", "failed", "stopped"))
        logger.info(
            "Ended after %.1f s: %d done, %d failed, %d stopped, %d tried again, %d given back (%.0f jobs/s).",
            seconds, counts["done"], counts["failed"], counts["stopped"], counts["retry"], counts["back"],
            ended / seconds,
        )  # fmt: skip
        threads.shutdown(wait=False, cancel_futures=True)
        if _is_blocked():
            # Their jobs were given back; Python would wait for these threads for as long as they please.
            logging.shutdown()
            os._exit(0)
    return 0


async def _main(
    instance: Worker, apps: Sequence[DataFlow], broker: Broker, target: str, threads: ThreadPoolExecutor
) -> Mapping[str, int]:
    asyncio.get_running_loop().set_default_executor(threads)
    options = instance.options
    logger.info(
        "Worker %s serves %s: queues %s at %s, %d jobs at once%s.",
        options.name, target, ", ".join(options.queues), broker.masked_url, options.concurrency,
        ", until they are empty" if options.burst else "",
    )  # fmt: skip
    try:
        return await work(instance)
    finally:
        for app in apps:
            await app.close_async()
        await broker.close()


def _is_blocked() -> bool:
    """Whether code in a thread goes on though its job was interrupted."""
    deadline = time.monotonic() + 0.5
    busy = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
    for thread in busy:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in busy)


def _log(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigurationError(f"The log level {level!r} is unknown.", hint="debug, info, warning or error.")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dataflow").setLevel(number)
