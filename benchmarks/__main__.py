"""Nodes beside raw drivers and SQLAlchemy Core, jobs beside other job runners, schedules, change events.

Each on private servers.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import sqlalchemy
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import events as event_bench
from benchmarks import schedules as schedule_bench
from benchmarks.jobs import chosen, measure_jobs
from benchmarks.measure import Comparison
from benchmarks.peers import suite as job_suite
from benchmarks.suite import FULL, POOL, QUICK, Suite
from benchmarks.tables import against_budget, table
from dataflow.loop_thread import new_event_loop
from tests.servers import MariaDBServer, PostgreSQLServer

console = Console(width=None if sys.stdout.isatty() else 160)
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)

_SERVERS = {"postgresql": PostgreSQLServer, "mysql": MariaDBServer}


@app.command()
def nodes(
    databases: Annotated[str, typer.Option(help="Which, comma-separated.")] = "postgresql,mysql,sqlite",
    quick: Annotated[bool, typer.Option(help="Fewer calls: a look, not a measurement.")] = False,
    only: Annotated[str, typer.Option(help="Part of the names of the rows to measure.")] = "",
) -> None:
    """Print rates of the raw driver, SQLAlchemy Core and ours, and our ratio to raw beside the design's budget."""
    console.print(
        f"Python {platform.python_version()}, {_event_loop()}, SQLAlchemy {sqlalchemy.__version__}, {POOL} connections"
        " per side. Rates are calls or rows per second, medians of rounds; ratios are to raw."
    )
    for dialect in databases.split(","):
        with ExitStack() as stack:
            url = _server(dialect, stack)
            rows: list[Comparison] = []

            def report(row: Comparison, rows: list[Comparison] = rows) -> None:
                rows.append(row)
                console.print(f"  {row.what}: {row.ratios['ours']:.0%}", style="dim")

            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(Suite(dialect, url, QUICK if quick else FULL, only, report).run())
            console.print(_table(dialect, rows))


@app.command()
def jobs(
    peers: Annotated[
        str, typer.Option(help="Which, comma-separated: ours,rq,arq,saq,streaq,dramatiq. Default: all.")
    ] = "",
    quick: Annotated[bool, typer.Option(help="Few jobs, one round: a look, not a measurement.")] = False,
    only: Annotated[str, typer.Option(help="Part of the names of the rows to measure.")] = "",
    here: Annotated[
        bool,
        typer.Option(help="Use this Python's own packages, for those that it has, instead of a virtualenv for each."),
    ] = False,
) -> None:
    """Print how job runners compare on Redis: jobs per second, enqueuing, memory; and our figures beside the budgets.

    Each gets a virtualenv below .venv-peers, which is kept for the next time.
    """
    try:
        which = chosen(peers)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--peers") from None
    measure_jobs(console, job_suite.QUICK if quick else job_suite.FULL, which, only, here=here)


@app.command()
def schedules(
    quick: Annotated[bool, typer.Option(help="Few ticks: a look, not a measurement.")] = False,
) -> None:
    """Print how late jobs of schedules start, and what ten thousand schedules cost while none is due."""
    console.print(schedule_bench.measure_schedules(schedule_bench.QUICK if quick else schedule_bench.FULL))


@app.command()
def events(
    databases: Annotated[str, typer.Option(help="Which, comma-separated.")] = "postgresql,mysql,sqlite",
    quick: Annotated[bool, typer.Option(help="Few changes, one round: a look, not a measurement.")] = False,
    here: Annotated[
        bool, typer.Option(help="Use this Python's own packages for peers, instead of a virtualenv for each.")
    ] = False,
) -> None:
    """Print how long a commit takes to become an event and to start a job, and how fast a backlog is captured, beside
    other libraries that read the same log.
    """
    size = event_bench.QUICK if quick else event_bench.FULL
    event_bench.measure_events(console, databases.split(","), size, here=here)


def _event_loop() -> str:
    try:
        return f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        return "asyncio's own event loop (uvloop is not installed)"


def _server(dialect: str, stack: ExitStack) -> str:
    if dialect in _SERVERS:
        server = _SERVERS[dialect]()
        stack.callback(server.remove)
        server.start()
        return server.url
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return f"sqlite:///{Path(folder) / 'bench.db'}"


def _table(title: str, rows: list[Comparison]) -> Table:
    return table(
        title,
        ("what", "raw/s", "Core/s", "ours/s", "Core/raw", "ours/raw", "budget"),
        (
            [
                row.what,
                *(f"{rate:,.0f}" for rate in row.rates.values()),
                f"{row.ratios['Core']:.0%}",
                against_budget(f"{row.ratios['ours']:.0%}", met=row.met),
                f"{row.budget:.0%}",
            ]
            for row in rows
        ),
    )


if __name__ == "__main__":
    app()
