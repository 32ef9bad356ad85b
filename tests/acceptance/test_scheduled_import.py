"""examples/scheduled_import with real worker processes that are killed (SIGKILL) in the middle of an import, again and
again: in the end the table is what the files say, each row was written once, and each bad row was recorded once.
"""

from __future__ import annotations

import asyncio
import csv
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dataflow import DataFlow
from dataflow.databases.interface import Dialect
from dataflow.jobs import Broker, Job, JobQueue
from dataflow.workflows import Step, Workflow
from examples.scheduled_import.models import BadRow, FoundFile, ImportedFile, Product
from tests.acceptance.programs import BIN, ROOT, environment

KILLS = 4
FIRST, SECOND, AGAIN = 45_000, 15_000, 5_000
#: Every so many rows one is bad: its price is no price, or it lacks a cell.
BAD_EVERY = 1_500

#: What notes every write of a product, whoever does it.
TRIGGERS = {
    Dialect.SQLITE: [
        "CREATE TABLE writes (sku TEXT)",
        *(
            f"CREATE TRIGGER writes_{when} AFTER {when} ON import_products "
            "BEGIN INSERT INTO writes VALUES (new.sku); END"
            for when in ("INSERT", "UPDATE")
        ),
    ],
    Dialect.MYSQL: [
        "CREATE TABLE writes (sku VARCHAR(40))",
        *(
            f"CREATE TRIGGER writes_{when} AFTER {when} ON import_products "
            "FOR EACH ROW INSERT INTO writes VALUES (new.sku)"
            for when in ("INSERT", "UPDATE")
        ),
    ],
    Dialect.POSTGRESQL: [
        "CREATE TABLE writes (sku TEXT)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO writes VALUES (new.sku); RETURN NULL; END'",
        "CREATE TRIGGER writes AFTER INSERT OR UPDATE ON import_products FOR EACH ROW EXECUTE FUNCTION note()",
    ],
}


class Shop:
    """The folder, the database as the tests see it, and the queue."""

    def __init__(self, folder: Path, db: DataFlow, url: str, broker: Broker, redis_url: str) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.db = db
        self.queue = JobQueue("imports", broker)
        self.log = folder / "worker.log"
        self.environment = environment(
            DATABASE_URL=url,
            REDIS_URL=redis_url,
            IMPORT_FOLDER=str(self.folder),
            IMPORT_SETTLE="0",
            IMPORT_BATCH="500",
        )

    async def tick(self) -> Job:
        workflow = Workflow("import_files", (Step("import_files", "import_files", {}),))
        return await self.queue.enqueue_async(workflow, timeout=600, ordering_key="scheduled-import")

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that finds its own jobs again at once when it is started anew."""
        command = [BIN / "dataflow", "worker", "examples.scheduled_import.app:db", "--queues", "imports"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, "--name", "importer", *options],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    async def finished(self, job: Job) -> Any:
        """What a job returned, with a worker that lives."""
        with self.worker():
            await job.wait_async(60)
        return (await job.refresh_async()).result

    async def rows(self, model: str, *fields: str) -> list[tuple[Any, ...]]:
        rows = self.db.stream(model, sort="id", fields=list(fields), page_size=10_000)
        return [tuple(row[name] for name in fields) async for row in rows]

    async def records(self) -> int:
        """Records that are accounted for."""
        return sum(good + bad for good, bad in await self.rows("ImportedFile", "rows", "bad"))

    async def writes(self) -> int:
        """Writes of rows that were committed."""
        row = await self.db.database.fetch_one("SELECT count(*) FROM writes")
        assert row is not None
        return int(row[0])

    async def reaches(self, count: int, of: Callable[[], Awaitable[int]], worker: subprocess.Popen[bytes]) -> None:
        async with asyncio.timeout(60):
            while await of() < count:
                assert worker.poll() is None, self.log.read_text()
                await asyncio.sleep(0.005)


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    broker = Broker(redis_url)
    await (await broker.client()).flushdb()
    async with DataFlow(database_url) as db:
        for model in (Product, FoundFile, ImportedFile, BadRow):
            db.model(model)
        await db.create_tables_async()
        for statement in TRIGGERS[db.database.dialect]:
            await db.database.execute(statement)
        yield Shop(tmp_path, db, database_url, broker, redis_url)
    await broker.close()


def write_files(folder: Path) -> tuple[dict[str, tuple[str, Decimal, int]], Counter[str], list[tuple[int, int]]]:
    """Two files, of which the second corrects some rows of the first: what must be in the table, how often each row was
    written, and ``(file, line)`` of bad rows.
    """
    products: dict[str, tuple[str, Decimal, int]] = {}
    writes: Counter[str] = Counter()
    bad = []
    for file, numbers in ((1, range(FIRST)), (2, range(FIRST - AGAIN, FIRST - AGAIN + SECOND))):
        line = 2
        with (folder / f"products-{file}.csv").open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["sku", "name", "price", "stock"])
            for number in numbers:
                sku, stock = f"P{number:06}", number * file
                name = f"Nail {number}" if number % 7 else f'Nail\n"{number}"'
                if number % BAD_EVERY == 77:
                    writer.writerow([sku, name, "cheap", stock] if number % 2 else [sku, name, "1.00"])
                    bad.append((file, line))
                else:
                    price = Decimal(number % 1_000) / 100
                    writer.writerow([sku, name, price, stock])
                    products[sku] = (name, price, stock)
                    writes[sku] += 1
                line += 1 + name.count("\n")
    return products, writes, bad


@pytest.mark.timeout(240)
async def test_killed_again_and_again_every_row_is_written_once(shop: Shop) -> None:
    products, writes, bad = write_files(shop.folder)
    everything = FIRST + SECOND
    for kill in range(1, KILLS + 1):
        # The schedule does not wait either; and a job that three workers died with is given up.
        await shop.tick()
        with shop.worker() as worker:
            # If rows and place were committed one after the other, this would hit the moment between them: whichever
            # came first, it is the first sight of one of them that kills.
            seen = shop.writes if kill % 2 else shop.records
            await shop.reaches(everything * kill // (KILLS + 1), seen, worker)
            worker.kill()
            worker.wait()
        assert await shop.records() < everything, "the kill came too late to prove anything"
    with shop.worker("--burst") as worker:
        assert await asyncio.to_thread(worker.wait, 60) == 0

    assert {sku: rest for sku, *rest in await shop.rows("Product", "sku", "name", "price", "stock")} == {
        sku: list(values) for sku, values in products.items()
    }
    noted = await shop.db.database.fetch_all("SELECT sku, count(*) FROM writes GROUP BY sku")
    assert Counter(dict(map(tuple, noted))) == writes
    number = {found: int(name[-5]) for found, name in await shop.rows("ImportedFile", "id", "name")}
    assert [(number[found], line) for found, line in await shop.rows("BadRow", "file_id", "line")] == bad
    files = await shop.rows("ImportedFile", "name", "state", "rows", "bad", "offset", "size")
    of = [sum(file == which for file, _ in bad) for which in (1, 2)]
    sizes = [path.stat().st_size for path in sorted(shop.folder.iterdir())]
    assert files == [
        ("products-1.csv", "done", FIRST - of[0], of[0], sizes[0], sizes[0]),
        ("products-2.csv", "done", SECOND - of[1], of[1], sizes[1], sizes[1]),
    ]

    (shop.folder / "copy.csv").write_bytes((shop.folder / "products-1.csv").read_bytes())
    assert await shop.finished(await shop.tick()) == {"files": [], "rows": 0, "bad": 0}
    assert await shop.writes() == sum(writes.values())


async def test_the_job_tells_how_far_it_is_and_returns_what_came_of_each_file(shop: Shop) -> None:
    _, _, bad = write_files(shop.folder)
    total = sum(path.stat().st_size for path in shop.folder.iterdir())
    job = await shop.tick()
    with shop.worker():
        told = [event async for event in job.events_async(60) if event.done is not None]
    assert {event.total for event in told} == {total}
    assert [event.done for event in told] == sorted(event.done for event in told if event.done is not None)
    assert any("products-1.csv: " in event.note and 0 < (event.done or 0) < total for event in told)
    assert told[-1].done == total
    result = (await job.refresh_async()).result
    assert (result["rows"], result["bad"]) == (FIRST + SECOND - len(bad), len(bad))
