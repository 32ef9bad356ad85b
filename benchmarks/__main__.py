"""`python -m benchmarks`: nodes beside the raw drivers and SQLAlchemy Core, on private servers."""

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
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Comparison
from benchmarks.suite import FULL, POOL, QUICK, Suite
from dataflow.loop_thread import new_event_loop
from tests.servers import MariaDBServer, PostgreSQLServer

console = Console(width=None if sys.stdout.isatty() else 120)

_SERVERS = {"postgresql": PostgreSQLServer, "mysql": MariaDBServer}


def main(
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
    table = Table("what", "raw/s", "Core/s", "ours/s", "Core/raw", "ours/raw", "budget", title=title, box=box.MARKDOWN)
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column.header == "what" else "right"
    for row in rows:
        rates = [f"{rate:,.0f}" for rate in row.rates.values()]
        ours = f"{row.ratios['ours']:.0%}" if row.met else f"[bold red]missed {row.ratios['ours']:.0%}[/]"
        table.add_row(row.what, *rates, f"{row.ratios['Core']:.0%}", ours, f"{row.budget:.0%}")
    return table


if __name__ == "__main__":
    typer.run(main)
