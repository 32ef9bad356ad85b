"""``make demo``: the whole way of the data, on any database.

1. The rows of five CSV files are enqueued, 5,000 to a job, and one job that depends on all of them.
2. Two worker processes run the jobs; the bars show what they have finished.
3. The last job's answers are shown, and compared with the source files. Exit code 1 if they differ.

``DATABASE_URL`` and ``REDIS_URL`` name the servers; without them it is a SQLite file and an embedded Valkey. In a
database of yours the demo touches only its own tables, ``nycflights_…``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dataflow import AsyncLocalRuntime, DataFlow, DataFlowError, Job, JobQueue
from examples.flights.facts import SourceFacts, source_facts
from examples.flights.report import carriers_grid, checks, tables_grid
from examples.flights.source import TABLES, BadRow, SourceError, Table, batches
from examples.flights.surroundings import Surroundings, WorkerError, Workers, forget_queue, surroundings, workers

APP = "examples.flights.app:db"
ROWS_PER_JOB = 5_000

#: Seconds after which Redis forgets the demo's jobs.
KEEP = 600

#: Seconds that results may take to arrive after the workers have ended.
LAST_RESULTS = 10

Result = TypeVar("Result")


class Import:
    """Enqueues the tables and follows their jobs.

    Args:
        queue: Where the jobs go.
        progress: Where the bars are.
        bad_rows: Takes the rows of the source files that could not be read.
    """

    def __init__(self, queue: JobQueue, progress: Progress, bad_rows: list[BadRow]) -> None:
        self._bad_rows = bad_rows
        self._queue = queue
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._jobs: dict[str, list[tuple[Job, int]]] = {}

    async def enqueue(self) -> Job:
        """Enqueue all tables; returns the summary job, which waits for them."""
        for table in TABLES:
            jobs = self._jobs[table.name] = []
            bar = self._bars[table.name] = self._progress.add_task(table.name, total=0, jobs="")
            for rows in batches(self._good_rows(table), ROWS_PER_JOB):
                job = await self._queue.enqueue_async(
                    f"import_{table.name}", {"batch": rows}, result_ttl=KEEP, failure_ttl=KEEP
                )
                jobs.append((job, len(rows)))
                total = sum(number for _, number in jobs)
                self._progress.update(bar, total=total, jobs=f"{len(jobs)} jobs")
        imports = [job for jobs in self._jobs.values() for job, _ in jobs]
        return await self._queue.enqueue_async("summary", depends_on=imports, result_ttl=KEEP, failure_ttl=KEEP)

    async def follow(self) -> None:
        """Advance the bars until every job has finished.

        Raises:
            JobFailedError: One failed.
        """
        # A queue's jobs start in order, so the first unfinished one is the one to wait for.
        for table in TABLES:
            for job, rows in self._jobs[table.name]:
                await job.wait_async()
                self._progress.advance(self._bars[table.name], rows)

    def _good_rows(self, table: Table) -> Iterator[dict[str, Any]]:
        for row in table.rows():
            if isinstance(row, BadRow):
                self._bad_rows.append(row)
            else:
                yield row


async def run(place: Surroundings, db: DataFlow, console: Console) -> bool:
    """Import, show, check; whether all numbers are equal."""
    await AsyncLocalRuntime().execute_workflow_async(db.workflows["clear"])
    # A queue of this run alone: jobs that an interrupted run left behind must not mix with it.
    queue = db.queue(f"flights-{uuid4().hex[:8]}")
    bad_rows: list[BadRow] = []
    started = time.perf_counter()
    try:
        results, expected = await _import(place, queue, bad_rows, console)
    finally:
        await asyncio.to_thread(forget_queue, place.redis_url, queue.name)
    elapsed = time.perf_counter() - started

    for row in bad_rows:
        console.print(f"[red]not imported[/red] {row}")
    found = checks(results, expected)
    console.print(carriers_grid(results))
    console.print(tables_grid(results, found))
    for check in found:
        if not check.passed:
            console.print(f"[red]differs[/red] {check.what}: {check.expected} expected, {check.actual} found")
    rows = sum(check.actual or 0 for check in found if check.what.endswith(": rows"))
    console.print(f"{rows:,.0f} rows in {elapsed:.1f} s, {rows / elapsed:,.0f} rows/s, {len(bad_rows)} bad rows")
    return all(check.passed for check in found)


async def _import(
    place: Surroundings, queue: JobQueue, bad_rows: list[BadRow], console: Console
) -> tuple[Mapping[str, Any], SourceFacts]:
    """Enqueue everything and have it worked off: the summary job's results, and what they should be."""
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows in {task.fields[jobs]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        work = Import(queue, progress, bad_rows)
        started = time.perf_counter()
        summary = await work.enqueue()
        console.print(f"Enqueued in {time.perf_counter() - started:.1f} s; starting two workers")
        async with workers(place, APP, queue.name) as group:
            # The files are counted anew while the workers work.
            expected = asyncio.create_task(asyncio.to_thread(source_facts, tuple(bad_rows)))
            await _while_working(work.follow(), group)
            results = await _while_working(summary.wait_async(), group)
            await group.ended()
    return results, await expected


async def _while_working(work: Coroutine[Any, Any, Result], group: Workers) -> Result:
    """The work's result, or the workers' last words if they end before it is there."""
    task, end = asyncio.create_task(work), asyncio.create_task(group.wait())
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        # What the workers finished last may still be on its way.
        return await asyncio.wait_for(task, LAST_RESULTS if end.done() else None)
    except TimeoutError:
        raise WorkerError(
            f"The workers ended (exit codes {end.result()}) before the work was done.\n{group.tail()}"
        ) from None
    finally:
        task.cancel()
        end.cancel()


async def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 0 if the database holds what the source files hold.
    """
    task = asyncio.current_task()
    assert task is not None
    # Ended like Ctrl-C, so that no worker or broker stays behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    console = Console()
    with surroundings() as place:
        os.environ.update(DATABASE_URL=place.database_url, REDIS_URL=place.redis_url)
        # The app reads its settings from the environment when it is imported.
        from examples.flights.app import db

        console.print(f"database {db.database.masked_url}\nbroker   {db.broker.masked_url}", highlight=False)
        try:
            equal = await run(place, db, console)
        except (DataFlowError, SourceError, WorkerError) as error:
            console.print(str(error), style="red", markup=False, highlight=False)
            return 1
        finally:
            await db.close_async()
    if equal:
        console.print("The database holds what the source files hold.", style="green")
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
