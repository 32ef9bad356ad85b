"""`python -m benchmarks`: the node rows of the design's budgets, raw driver beside node, on private servers."""

from __future__ import annotations

import asyncio
import platform
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Comparison
from benchmarks.nodes import compare_nodes
from dataflow.loop_thread import new_event_loop
from tests.servers import MariaDBServer, PostgreSQLServer

console = Console()

_SERVERS = {"postgresql": PostgreSQLServer, "mysql": MariaDBServer}


def main(
    databases: Annotated[str, typer.Option(help="Which, comma-separated.")] = "postgresql,mysql,sqlite",
    quick: Annotated[bool, typer.Option(help="Fewer calls: a look, not a measurement.")] = False,
) -> None:
    """Print raw calls per second, ours, and the ratio beside the design's budget."""
    for dialect in databases.split(","):
        with ExitStack() as stack:
            url = _server(dialect, stack)
            title = f"{dialect}, Python {platform.python_version()}, rates per second, median of rounds"
            rows: list[Comparison] = []

            def report(row: Comparison, rows: list[Comparison] = rows) -> None:
                rows.append(row)
                console.print(f"  {row.what}: {row.ratio:.0%}", style="dim")

            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(compare_nodes(dialect, url, report, quick=quick))
            console.print(_table(title, rows))


def _server(dialect: str, stack: ExitStack) -> str:
    if dialect in _SERVERS:
        server = _SERVERS[dialect]()
        stack.callback(server.remove)
        server.start()
        return server.url
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return f"sqlite:///{Path(folder) / 'bench.db'}"


def _table(title: str, rows: list[Comparison]) -> Table:
    table = Table("what", "raw/s", "ours/s", "ratio", "budget", "met", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        met = {None: "", True: "yes", False: "NO"}[row.met]
        budget = "" if row.budget is None else f"{row.budget:.0%}"
        table.add_row(row.what, f"{row.raw:,.0f}", f"{row.ours:,.0f}", f"{row.ratio:.0%}", budget, met)
    return table


if __name__ == "__main__":
    typer.run(main)
