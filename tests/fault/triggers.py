"""Rows, their events and what those start, while everything in between is killed: what became of each.

Three write to a table; `dataflow capture`, `dataflow scheduler` and `dataflow worker` make one row of effects of each
change. Processes are killed at random moments, Redis (append-only file) and the database server killed and started.

``python -m tests.fault.triggers`` does so for minutes on each database and prints the ledgers (part of ``make chaos``);
short forms are in the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from dataflow.databases import open_database
from dataflow.errors import DatabaseError
from tests.acceptance.programs import BIN, environment
from tests.integration.databases import sql
from tests.integration.events.lines import folded
from tests.integration.events.test_binlog_source import LOGGED
from tests.servers import MariaDBServer, PostgreSQLServer, RedisServer, Server

#: Results are not kept, so that a second job of an event would not be held back by the id of the first.
APP = """
from dataflow import DataFlow, WorkflowBuilder

db = DataFlow(name="shop")

@db.model
class Item:
    __dataflow__ = {"timestamps": False}
    name: str
    count: int

@db.model
class Effect:
    __dataflow__ = {"timestamps": False, "events": False}
    event: str

@db.on(Item, inputs={"keep": {"event": "id"}}, queue="effects", result_ttl=0, retry=50)
@db.workflow
def note():
    workflow = WorkflowBuilder("note")
    workflow.add_node("EffectCreateNode", "keep", {"event": ""})
    return workflow
"""


class KeepingPostgreSQL(PostgreSQLServer):
    """One that a killed process costs no commit: what capture or a worker were told must stay."""

    _settings = (*PostgreSQLServer._settings, "synchronous_commit=on")


class LoggingMariaDB(MariaDBServer):
    """One with a binary log, of which the same is true."""

    def __init__(self) -> None:
        super().__init__(LOGGED)


STREAM = "rq:dataflow:events:shop:items"
COMMANDS = {
    "capture": ("capture", "shop:db"),
    "scheduler": ("scheduler", "shop:db", "--lock-time", "0.5"),
    "worker": (
        "worker", "shop:db", "--queues", "effects", "--lease", "1", "--grace", "0", "--max-deliveries", "1000",
        "--max-outages", "100000",
    ),
}  # fmt: skip


@dataclass
class Ledger:
    """What came of the changes.

    Attributes:
        events: Those in the stream; they add up to the rows of the table.
        lost: Events without an effect.
        doubled: Events with several.
        kills: By what was killed.
    """

    events: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        """Whether each event had its effect once."""
        return not (self.lost or self.doubled)

    def __str__(self) -> str:
        rows = {"events": self.events, "lost": len(self.lost), "doubled": len(self.doubled)}
        rows |= {f"{name} killed": count for name, count in sorted(self.kills.items())}
        return "\n".join(f"{name:<22}{value:>10}" for name, value in rows.items())


class Chain:
    """A database, capture, Redis, a scheduler and a worker, and what they are put through.

    Args:
        folder: For the application, logs and SQLite's file.
        server: The database's; None for SQLite.
        broker: Redis, append-only.
    """

    def __init__(self, folder: Path, server: Server | None, broker: RedisServer) -> None:
        (folder / "shop.py").write_text(APP)
        self._folder = folder
        self._server = server
        self._broker = broker
        self._url = f"sqlite:///{folder / 'shop.db'}" if server is None else server.url
        self.database = open_database(self._url)
        self._client = redis.Redis.from_url(broker.url)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._writing = asyncio.Event()
        self.ledger = Ledger()

    async def __aenter__(self) -> Chain:
        self.start("capture")
        await self._until(lambda: self._client.hexists("rq:dataflow:capture:shop", "incarnation"))
        self.start("scheduler")
        self.start("worker")
        await self._until(lambda: self._client.exists("rq:dataflow:trigger:shop:note"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._client.close()
        await self.database.close()

    def start(self, name: str) -> None:
        """Start one of the processes."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [BIN / "dataflow", *COMMANDS[name]],
                cwd=self._folder,
                env=environment(DATABASE_URL=self._url, REDIS_URL=self._broker.url, DATAFLOW_BREAKER_TIMEOUT="0.5"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def run(self, victims: list[str]) -> Ledger:
        """Write, kill these at random moments, and compare."""
        self._writing.set()
        writers = [asyncio.create_task(self._write(writer)) for writer in (1, 2, 3)]
        for victim in victims:
            # From one effect to the next kill: the chain works again each time.
            before = await self._count()
            async with asyncio.timeout(60):
                while await self._count() < before + random.randint(5, 30):
                    await asyncio.sleep(0.02)
            await self._kill(victim)
        self._writing.clear()
        await asyncio.gather(*writers)
        return await self._settle()

    async def _kill(self, victim: str) -> None:
        self.ledger.kills[victim] += 1
        if victim in COMMANDS:
            self._processes[victim].kill()
            self._processes[victim].wait()
            if victim == "capture":  # the dead process's lock would be waited for; a test need not
                self._client.delete("rq:dataflow:capture-lock:shop")
            self.start(victim)
            return
        server = self._broker if victim == "redis" else self._server
        assert server is not None
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def _write(self, writer: int) -> None:
        insert = sql(self.database, "INSERT INTO items (id, name, count) VALUES (?, 'n', 0)")
        update = sql(self.database, "UPDATE items SET count = count + 1 WHERE id = ?")
        delete = sql(self.database, "DELETE FROM items WHERE id = ?")
        own = 1_000_000 * writer
        while self._writing.is_set():
            own += 1
            # A commit that a killed server did not answer is done or not; the table tells.
            with suppress(DatabaseError):
                async with self.database.transaction() as transaction:
                    await transaction.execute(insert, (own,))
                    await transaction.execute(update, (own,))
                    if own % 3 == 0:
                        await transaction.execute(delete, (own - 1,))
            await asyncio.sleep(random.random() * 0.12)

    async def _count(self) -> int:
        with suppress(DatabaseError):
            (row,) = await self.database.fetch_all("SELECT count(*) FROM effects")
            return int(row[0])
        return 0

    async def _settle(self) -> Ledger:
        """Wait until nothing more comes, and compare."""
        await self.database.execute(sql(self.database, "INSERT INTO items (id, name, count) VALUES (1, 'last', 0)"))
        await self._until(lambda: b'"last"' in self._client.xrevrange(STREAM, count=1)[0][1][b"event"])
        entries = self._client.xrange(STREAM)
        events = [json.loads(fields[b"event"]) for _, fields in entries]
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while await self._count() < len(events):
                    await asyncio.sleep(0.02)
        await self._until(self._is_idle)
        rows = await self.database.fetch_all("SELECT id, name, count FROM items")
        assert folded(events) == {row[0]: {"id": row[0], "name": row[1], "count": row[2]} for row in rows}
        effects = Counter(str(row[0]) for row in await self.database.fetch_all("SELECT event FROM effects"))
        ids = [event["id"] for event in events]
        assert len(set(ids)) == len(ids)
        self.ledger.events = len(ids)
        self.ledger.lost = sorted(set(ids) - effects.keys())
        self.ledger.doubled = sorted(event for event, count in effects.items() if count > 1 or event not in ids)
        return self.ledger

    def _is_idle(self) -> bool:
        """Whether the trigger has done all events, and no job of one is left."""
        (last, _), *_ = self._client.xrevrange(STREAM, count=1)
        place = self._client.hget("rq:dataflow:event-cursors:shop:items", "trigger:note")
        return place == last and not any(
            self._client.exists(f"rq:{key}") for key in ("queue:effects", "wip:effects", "scheduled:effects")
        )

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(60):
            while True:
                with suppress(redis.RedisError, IndexError):
                    if condition():
                        return
                await asyncio.sleep(0.02)

    def logs(self) -> str:
        """What all processes said."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-5_000:]}" for path in sorted(self._folder.glob("*.log")))


#: Database → its server.
SERVERS: dict[str, type[Server] | None] = {"sqlite": None, "postgresql": KeepingPostgreSQL, "mysql": LoggingMariaDB}


def victims_of(kind: str, kills: int) -> list[str]:
    """Each of what can be killed about equally often, in any order."""
    known = [*COMMANDS, "redis", *(["database"] if kind != "sqlite" else [])]
    return random.sample((known * kills)[:kills], kills)


async def _run(kills: int) -> bool:
    clean = True
    for kind, server_class in SERVERS.items():
        broker = RedisServer(appendonly=True)
        server = None if server_class is None else server_class()
        with tempfile.TemporaryDirectory(prefix="dataflow-triggers-") as folder:
            try:
                broker.start()
                if server is not None:
                    server.start()
                async with Chain(Path(folder), server, broker) as chain:
                    ledger = await chain.run(victims_of(kind, kills))
                    print(f"\ntriggers, {kind}\n{ledger}", flush=True)
                    if not ledger.is_clean:
                        print(chain.logs())
                    clean = clean and ledger.is_clean
            finally:
                broker.remove()
                if server is not None:
                    server.remove()
    return clean


def main() -> int:
    """The command line; exit code 1 where an event was lost or had two effects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="on each database")
    return 0 if asyncio.run(_run(parser.parse_args().kills)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
