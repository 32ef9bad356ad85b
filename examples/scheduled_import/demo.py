"""``make import-demo``: files appear in a folder, are imported by a worker that is killed meanwhile, and not again.

1. Three files of products are written, with some bad rows, one of them a copy of another under a second name.
2. A schedule starts the import, in a worker that is its scheduler, too. In the middle of it, the worker is killed
   (SIGKILL), and another one goes on.
3. What came of each file and the bad rows are shown, and the table is compared with the files. Exit code 1 where
   it differs.
4. The next tick of the schedule finds nothing to do.

``DATABASE_URL`` and ``REDIS_URL`` name the servers; without them it is a SQLite file and an embedded Valkey. In a
database of yours the demo touches only its own tables, ``import_…``, and empties them first; in a Redis of yours it
leaves nothing behind but its jobs, which expire.
"""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from dataflow import DataFlow, DataFlowError, Job
from dataflow.errors import JobNotFoundError, ScheduleNotFoundError
from examples.flights.surroundings import Surroundings, WorkerError, surroundings

ROWS = 100_000
CORRECTED = 20_000
#: Every so many rows one is bad.
BAD_EVERY = 9_999
#: Of the bytes, how much is imported when the worker is killed.
KILL_AT = 0.4
#: Seconds that a job may take.
LIMIT = 120.0
#: Seconds between looks whether the schedule has ticked.
LOOK = 0.05
SCHEDULE = "import_files"

Products = dict[str, tuple[str, Decimal, int]]


def write_files(folder: Path) -> tuple[Products, int]:
    """Write the files; what the table must hold afterwards, and how many bad rows there are."""
    products: Products = {}
    bad = 0
    for name, numbers in (("1-all.csv", range(ROWS)), ("2-changes.csv", range(ROWS - CORRECTED, ROWS))):
        with (folder / name).open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["sku", "name", "price", "stock"])
            for number in numbers:
                price, stock = Decimal(number % 5_000) / 100, number % 70 + int(name[0])
                row = (f"P{number:06}", f"Product {number}", price, stock)
                if number % BAD_EVERY == BAD_EVERY - 1:
                    writer.writerow([*row[:2], "on request", stock] if bad % 2 else row[:3])
                    bad += 1
                else:
                    writer.writerow(row)
                    products[row[0]] = (row[1], price, stock)
    (folder / "3-all-again.csv").write_bytes((folder / "1-all.csv").read_bytes())
    return products, bad


@asynccontextmanager
async def worker(place: Surroundings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker of the app that is its scheduler, too, killed at the end of the block. Under its name it finds its jobs
    again at once.
    """
    command = [str(Path(sys.executable).with_name("dataflow")), "worker", "examples.scheduled_import.app:db"]
    with (place.folder / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, "--queues", "imports", "--with-scheduler", "--name", f"import-demo-{os.getpid()}",
            stdout=log, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_job(db: DataFlow, before: Job | None = None) -> Job:
    """The job of a tick of the schedule, other than the one before it."""
    async with asyncio.timeout(LIMIT):
        while True:
            with suppress(ScheduleNotFoundError):  # the scheduler starts
                found = (await db.schedules.get_async(SCHEDULE)).last_job
                if found is not None and (before is None or found != before.id):
                    return db.job(found)
            await asyncio.sleep(LOOK)


async def forget_schedule(db: DataFlow) -> None:
    """Take the schedule out of Redis: the code declares it, so nothing else would."""
    store = db.schedules.store()
    while (entry := await store.read(SCHEDULE)) and not await store.remove(entry):
        pass  # it has just ticked


async def end(db: DataFlow) -> None:
    """Leave nothing to the workers of others: neither a job that was interrupted nor the schedule."""
    with suppress(ScheduleNotFoundError, JobNotFoundError):
        if job := (await db.schedules.get_async(SCHEDULE)).last_job:
            await db.job(job).cancel_async()
    await forget_schedule(db)


async def follow(db: DataFlow, place: Surroundings, console: Console) -> Job:
    """Show how far the schedule's first job is until it ends; its first worker is killed on the way."""
    job: Job | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("waiting", total=None)
        for kill_at in (KILL_AT, None):
            async with worker(place):
                job = job or await next_job(db)
                async with aclosing(job.events_async(LIMIT)) as events:
                    async for event in events:
                        if event.done is None:
                            continue
                        progress.update(bar, completed=event.done, total=event.total, description=event.note)
                        if kill_at is not None and event.total and event.done >= kill_at * event.total:
                            progress.console.print(f"[yellow]kill -9[/yellow] at {event.note}; another worker goes on")
                            break
    assert job is not None
    return job


async def rows(db: DataFlow, model: str, *fields: str) -> list[tuple[Any, ...]]:
    """Some fields of all rows of a model."""
    return [tuple(row[name] for name in fields) async for row in db.stream(model, sort="id", fields=list(fields))]


async def run(place: Surroundings, db: DataFlow, folder: Path, console: Console) -> bool:
    """Import, show, compare; whether the table holds what the files hold."""
    async with db.transaction() as transaction:
        for model in ("BadRow", "ImportedFile", "FoundFile", "Product"):
            await transaction.run(f"{model}BulkDeleteNode", {"filter": {}, "confirmed": True})
    await forget_schedule(db)
    expected, bad = write_files(folder)
    job = await follow(db, place, console)
    await job.wait_async(LIMIT)

    files = Grid("file", "state", "rows", "bad", title="Imported", title_justify="left")
    for name, state, good, wrong in await rows(db, "ImportedFile", "name", "state", "rows", "bad"):
        files.add_row(name, state, f"{good:,}", f"{wrong:,}")
    console.print(files)
    reasons = Grid("line", "begins", "reason", title="Bad rows", title_justify="left")
    found = await rows(db, "BadRow", "line", "text", "reason")
    for line, text, reason in found[:5]:
        reasons.add_row(f"{line:,}", text, reason)
    console.print(reasons)

    products = {sku: tuple(rest) for sku, *rest in await rows(db, "Product", "sku", "name", "price", "stock")}
    async with worker(place):
        again = await next_job(db, job)
        await again.wait_async(LIMIT)
    nothing = (await again.refresh_async()).result == {"files": [], "rows": 0, "bad": 0}
    console.print(f"{len(products):,} products, {len(found)} bad rows; the next tick found nothing to do: {nothing}")
    return products == expected and len(found) == bad and nothing


async def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 0 if the table holds what the files hold.
    """
    task = asyncio.current_task()
    assert task is not None
    # Ended like Ctrl-C, so that no worker or broker stays behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    console = Console()
    with surroundings() as place:
        folder = place.folder / "inbox"
        folder.mkdir()
        os.environ.update(
            DATABASE_URL=place.database_url,
            REDIS_URL=place.redis_url,
            IMPORT_FOLDER=str(folder),
            IMPORT_SETTLE="0",
            IMPORT_EVERY="1",
        )
        # The app reads its settings from the environment when it is imported.
        from examples.scheduled_import.app import db

        console.print(f"database {db.database.masked_url}\nbroker   {db.broker.masked_url}", highlight=False)
        try:
            equal = await run(place, db, folder, console)
        except (DataFlowError, WorkerError, TimeoutError) as error:
            console.print(str(error), style="red", markup=False, highlight=False)
            log = place.folder / "worker.log"
            console.print(log.read_text()[-2_000:] if log.exists() else "", markup=False, highlight=False)
            return 1
        finally:
            await end(db)
            await db.close_async()
    console.print(
        "The table holds what the files hold." if equal else "The table differs from the files.",
        style="green" if equal else "red",
    )
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
