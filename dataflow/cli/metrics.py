"""``dataflow metrics``: what Prometheus asks, for all workers together."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from dataflow.cli.target import AppOption, Target, UrlOption
from dataflow.jobs.exporter import Exporter
from dataflow.jobs.prometheus import fleet_text


def metrics(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 9100,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    target: AppOption = None,
    url: UrlOption = None,
) -> None:
    """Serve the metrics of all workers and queues to Prometheus, at /metrics, until Ctrl-C or SIGTERM.

    One of these is enough for a broker. `dataflow worker --metrics-port` serves those of one worker alone instead.

    Example: dataflow metrics --port 9100
    """
    place = Target(target, url)

    async def work() -> None:
        exporter = Exporter(lambda: fleet_text(place.broker), host, port)
        taken = await exporter.start()
        typer.echo(f"Serving http://{host}:{taken}/metrics for {place.broker.masked_url}.", err=True)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        try:
            await ended.wait()
        finally:
            await exporter.stop()

    place.run(work())
