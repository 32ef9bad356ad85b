"""aiosqlite, one thread hop per call: one writer, readers beside it, WAL; executemany for bulk calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aiosqlite

from benchmarks.raw.connections import Connections
from benchmarks.side import ALL, LISTED_AGE, Rows, one_of, values

PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON")


class RawSQLite:
    """See RawSide."""

    @classmethod
    async def open(cls, url: str, size: int) -> RawSQLite:
        self = cls()
        path = url.removeprefix("sqlite:///")

        async def connect() -> aiosqlite.Connection:
            connection = await aiosqlite.connect(path, isolation_level=None)
            for pragma in PRAGMAS:
                await connection.execute(f"PRAGMA {pragma}")
            return connection

        self.writer = Connections([await connect()])
        self.readers = Connections([await connect() for _ in range(size)])
        return self

    async def create(self, number: int) -> object:
        row = values(number)
        now = _now()
        return await self._one(
            self.writer,
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (row["name"], row["email"], row["age"], row["score"], row["active"], now, now),
        )

    async def read(self, number: int) -> object:
        return await self._one(self.readers, "SELECT * FROM bench_rows WHERE id = ?", (one_of(number),))

    async def update(self, number: int) -> object:
        return await self._one(
            self.writer,
            "UPDATE bench_rows SET age = ?, updated_at = ? WHERE id = ? RETURNING *",
            (number % 90, _now(), one_of(number)),
        )

    async def delete(self, number: int) -> object:
        return await self._execute("DELETE FROM bench_rows WHERE id = ?", (number + 1,))

    async def list_rows(self, number: int) -> object:
        sql = "SELECT * FROM bench_rows WHERE age >= ? ORDER BY id DESC LIMIT 100"
        rows = await self._call(self.readers, lambda c: c.execute(sql, (LISTED_AGE,)).fetchall())
        return [dict(zip(ALL, row, strict=True)) for row in rows]

    async def bulk_create(self, rows: Rows) -> int:
        now = _now()
        return await self._many(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_upsert(self, rows: Rows) -> int:
        now = _now()
        return await self._many(
            "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
            " email = excluded.email, age = excluded.age, score = excluded.score, active = excluded.active,"
            " updated_at = excluded.updated_at",
            [(r["id"], r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_update(self, rows: Rows) -> int:
        now = _now()
        return await self._many(
            "UPDATE bench_rows SET age = ?, updated_at = ? WHERE id = ?", [(r["age"], now, r["id"]) for r in rows]
        )

    async def update_where(self, age: int, score: float) -> int:
        return await self._execute(
            "UPDATE bench_rows SET score = ?, updated_at = ? WHERE age >= ?", (score, _now(), age)
        )

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        return await self._many("DELETE FROM bench_rows WHERE id = ?", [(key,) for key in ids])

    async def empty(self) -> None:
        await self._execute("DELETE FROM bench_rows", ())

    async def analyze(self) -> None:
        """Its plans here do not depend on statistics."""

    async def close(self) -> None:
        for connection in (*self.writer.all, *self.readers.all):
            await connection.close()

    async def _call(self, pool: Connections, work: Callable[[sqlite3.Connection], Any]) -> Any:
        async with pool.take() as connection:
            return await connection._execute(work, connection._conn)

    async def _one(self, pool: Connections, sql: str, args: tuple[Any, ...]) -> dict[str, Any]:
        row = await self._call(pool, lambda c: c.execute(sql, args).fetchone())
        return dict(zip(ALL, row, strict=True))

    async def _execute(self, sql: str, args: tuple[Any, ...]) -> int:
        count: int = await self._call(self.writer, lambda c: c.execute(sql, args).rowcount)
        return count

    async def _many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            count = connection.executemany(sql, rows).rowcount
            connection.execute("COMMIT")
            return count

        count: int = await self._call(self.writer, work)
        return count


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
