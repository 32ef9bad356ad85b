"""Jobs beside other job runners: the servers, the virtualenvs and the table."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.peers.bench import JobBench, UnmeasuredError
from benchmarks.peers.catalog import PEERS, Peer
from benchmarks.peers.suite import INSERTS, JobRow, JobSize, JobSuite
from benchmarks.peers.venvs import NotInstalledError, programs
from benchmarks.tables import against_budget, machine_load, table
from tests.servers import BinaryNotFoundError, PostgreSQLServer, RedisServer


def measure_jobs(console: Console, size: JobSize, peers: Sequence[Peer], only: str, *, here: bool) -> None:
    """Measure these job runners on private servers, and print the table."""
    console.print(f"{machine_load()}. Figures are medians of {size.rounds} round(s), all taking turns.")
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.remove)
        server.start()
        database_url = _database(stack, console) if only in INSERTS else ""
        benches: dict[str, JobBench] = {}
        for peer in peers:
            log = server.folder / f"{peer.module}.log"
            try:
                folder, version = programs(peer, here=here)
                bench = JobBench(peer, folder, server.url, database_url, log)
                bench.check()
            except (NotInstalledError, UnmeasuredError) as error:
                missing[peer.name] = str(error)
                continue
            console.print(f"  {peer.name}: {peer.library} {version}", style="dim")
            benches[peer.name] = bench
        rows: list[JobRow] = []

        def report(row: JobRow) -> None:
            rows.append(row)
            console.print(f"  {row.what}: {', '.join(f'{name} {row.text(name)}' for name in row.figures)}", style="dim")

        def warn(text: str) -> None:
            console.print(f"  {escape(text)}", style="red")

        JobSuite(benches, database_url, size, only, report, warn).run()
    console.print(_table([peer.name for peer in peers], rows, missing))
    for name, why in missing.items():
        console.print(f"{name} is missing: {escape(why)}")
    console.print(f"At the end: {machine_load()}.")


def chosen(names: str) -> list[Peer]:
    """The job runners of these names, comma-separated; all where it is empty.

    Raises:
        ValueError: There is none of that name.
    """
    known = {peer.name.lower(): peer for peer in PEERS}
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()] or list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return [known[name] for name in wanted]


def _database(stack: ExitStack, console: Console) -> str:
    try:
        server = PostgreSQLServer()
    except BinaryNotFoundError as error:
        console.print(f"  No jobs that insert: {error}", style="red")
        return ""
    stack.callback(server.remove)
    server.start()
    return server.url


def _table(names: Sequence[str], rows: Sequence[JobRow], missing: dict[str, str]) -> Table:
    header = [
        "what",
        *(f"{name} (missing)" if name in missing else name for name in names),
        "ours/best",
        "budget",
    ]
    return table(
        "Jobs",
        header,
        (
            [
                row.what,
                *(row.text(name) for name in names),
                "-" if row.ratio is None else f"{row.ratio:.2f}",
                against_budget(str(row.budget or ""), met=row.met),
            ]
            for row in rows
        ),
    )
