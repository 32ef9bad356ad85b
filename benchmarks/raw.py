"""The hand-written side: the same statements on the bare drivers, as an expert would write them.

Connections are kept open and handed out from a queue without any check, which is less work than a pool does.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiomysql
import aiosqlite
import asyncpg
from pymysql.constants import CLIENT

COLUMNS = ("name", "email", "age", "score", "active", "created_at", "updated_at")
ALL = ("id", *COLUMNS)
Row = tuple[Any, ...]


def values(number: int) -> dict[str, Any]:
    """The fields of benchmark row ``number``."""
    return {
        "name": f"name {number}",
        "email": f"user{number}@example.com",
        "age": number % 90,
        "score": number / 7,
        "active": number % 2 == 0,
    }


class Raw(Protocol):
    """What each driver is asked to do, on the table ``bench_rows``."""

    async def create(self, number: int) -> object: ...
    async def read(self, number: int) -> object: ...
    async def update(self, number: int) -> object: ...
    async def delete(self, number: int) -> object: ...
    async def list_rows(self, number: int) -> object: ...
    async def bulk_create(self, rows: Sequence[dict[str, Any]]) -> object: ...
    async def bulk_upsert(self, rows: Sequence[dict[str, Any]]) -> object: ...
    async def bulk_update(self, rows: Sequence[dict[str, Any]]) -> object: ...
    async def bulk_delete(self, ids: Sequence[int]) -> object: ...
    async def run(self, sql: str) -> None: ...
    async def close(self) -> None: ...


class Connections:
    """Open connections, handed out in turn."""

    def __init__(self, connections: list[Any]) -> None:
        self.all = connections
        self.free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for connection in connections:
            self.free.put_nowait(connection)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Any]:
        connection = await self.free.get()
        try:
            yield connection
        finally:
            self.free.put_nowait(connection)


class RawPostgreSQL:
    """asyncpg."""

    @classmethod
    async def open(cls, url: str, size: int) -> RawPostgreSQL:
        self = cls()
        self.pool = Connections([await asyncpg.connect(url) for _ in range(size)])
        return self

    async def create(self, number: int) -> object:
        row = values(number)
        now = datetime.now(UTC)
        async with self.pool.take() as connection:
            stored = await connection.fetchrow(
                "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
                row["name"], row["email"], row["age"], row["score"], row["active"], now, now,
            )  # fmt: skip
        return dict(stored)

    async def read(self, number: int) -> object:
        async with self.pool.take() as connection:
            return dict(await connection.fetchrow("SELECT * FROM bench_rows WHERE id = $1", number % 1000 + 1))

    async def update(self, number: int) -> object:
        async with self.pool.take() as connection:
            return dict(
                await connection.fetchrow(
                    "UPDATE bench_rows SET age = $1, updated_at = $2 WHERE id = $3 RETURNING *",
                    number % 90,
                    datetime.now(UTC),
                    number % 1000 + 1,
                )
            )

    async def delete(self, number: int) -> object:
        async with self.pool.take() as connection:
            return await connection.execute("DELETE FROM bench_rows WHERE id = $1", number)

    async def list_rows(self, number: int) -> object:
        async with self.pool.take() as connection:
            found = await connection.fetch("SELECT * FROM bench_rows WHERE age >= $1 ORDER BY id DESC LIMIT 100", 5)
        return [dict(row) for row in found]

    async def bulk_create(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC)
        records = [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows]
        async with self.pool.take() as connection:
            return await connection.copy_records_to_table("bench_rows", records=records, columns=COLUMNS)

    async def bulk_upsert(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC)
        moments = [now] * len(rows)
        columns = [[row[name] for row in rows] for name in ("id", "name", "email", "age", "score", "active")]
        async with self.pool.take() as connection:
            return await connection.fetch(
                "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
                " SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::bool[],"
                " $7::timestamptz[], $8::timestamptz[])"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, age = excluded.age,"
                " score = excluded.score, active = excluded.active, updated_at = excluded.updated_at"
                " RETURNING (xmax = 0)",
                *columns, moments, moments,
            )  # fmt: skip

    async def bulk_update(self, rows: Sequence[dict[str, Any]]) -> object:
        async with self.pool.take() as connection:
            return await connection.execute(
                "UPDATE bench_rows SET age = v.age, updated_at = $3"
                " FROM unnest($1::bigint[], $2::bigint[]) AS v(id, age) WHERE bench_rows.id = v.id",
                [row["id"] for row in rows], [row["age"] for row in rows], datetime.now(UTC),
            )  # fmt: skip

    async def bulk_delete(self, ids: Sequence[int]) -> object:
        async with self.pool.take() as connection:
            return await connection.execute("DELETE FROM bench_rows WHERE id = ANY($1::bigint[])", ids)

    async def run(self, sql: str) -> None:
        async with self.pool.take() as connection:
            await connection.execute(sql)

    async def close(self) -> None:
        for connection in self.pool.all:
            await connection.close()


class RawMySQL:
    """aiomysql, autocommit, FOUND_ROWS; multi-row VALUES for bulk."""

    @classmethod
    async def open(cls, url: str, size: int) -> RawMySQL:
        self = cls()
        parts = urlsplit(url)
        self.pool = Connections(
            [
                await aiomysql.connect(
                    host=parts.hostname or "127.0.0.1",
                    port=parts.port or 3306,
                    user=parts.username or "root",
                    password=parts.password or "",
                    db=parts.path.lstrip("/"),
                    autocommit=True,
                    client_flag=CLIENT.FOUND_ROWS,
                    charset="utf8mb4",
                )
                for _ in range(size)
            ]
        )
        return self

    async def _one(self, sql: str, args: Row) -> dict[str, Any]:
        async with self.pool.take() as connection:
            cursor = await connection.cursor()
            await cursor.execute(sql, args)
            row = await cursor.fetchone()
            await cursor.close()
        return dict(zip(ALL, row, strict=True))

    async def _execute(self, sql: str, args: Row) -> int:
        async with self.pool.take() as connection:
            cursor = await connection.cursor()
            count: int = await cursor.execute(sql, args)
            await cursor.close()
        return count

    async def create(self, number: int) -> object:
        row = values(number)
        now = datetime.now(UTC).replace(tzinfo=None)
        return await self._one(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " RETURNING id, name, email, age, score, active, created_at, updated_at",
            (row["name"], row["email"], row["age"], row["score"], row["active"], now, now),
        )

    async def read(self, number: int) -> object:
        return await self._one("SELECT * FROM bench_rows WHERE id = %s", (number % 1000 + 1,))

    async def update(self, number: int) -> object:
        """The row after the update, as an atomic whole: there is no UPDATE … RETURNING."""
        key = number % 1000 + 1
        async with self.pool.take() as connection:
            cursor = await connection.cursor()
            await connection.begin()
            await cursor.execute(
                "UPDATE bench_rows SET age = %s, updated_at = %s WHERE id = %s",
                (number % 90, datetime.now(UTC).replace(tzinfo=None), key),
            )
            await cursor.execute("SELECT * FROM bench_rows WHERE id = %s", (key,))
            row = await cursor.fetchone()
            await connection.commit()
            await cursor.close()
        return dict(zip(ALL, row, strict=True))

    async def delete(self, number: int) -> object:
        return await self._execute("DELETE FROM bench_rows WHERE id = %s", (number,))

    async def list_rows(self, number: int) -> object:
        async with self.pool.take() as connection:
            cursor = await connection.cursor()
            await cursor.execute("SELECT * FROM bench_rows WHERE age >= %s ORDER BY id DESC LIMIT 100", (5,))
            rows = await cursor.fetchall()
            await cursor.close()
        return [dict(zip(ALL, row, strict=True)) for row in rows]

    async def _many(self, sql: str, rows: Sequence[Row]) -> None:
        async with self.pool.take() as connection:
            cursor = await connection.cursor()
            await connection.begin()
            await cursor.executemany(sql, rows)
            await connection.commit()
            await cursor.close()

    async def bulk_create(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC).replace(tzinfo=None)
        return await self._many(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_upsert(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC).replace(tzinfo=None)
        return await self._many(
            "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE name = VALUES(name),"
            " email = VALUES(email), age = VALUES(age), score = VALUES(score), active = VALUES(active),"
            " updated_at = VALUES(updated_at)",
            [(r["id"], r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_update(self, rows: Sequence[dict[str, Any]]) -> object:
        text = json.dumps([[row["id"], row["age"]] for row in rows])
        return await self._execute(
            "UPDATE bench_rows JOIN JSON_TABLE(%s, '$[*]' COLUMNS(id BIGINT PATH '$[0]', age BIGINT PATH '$[1]')) AS v"
            " ON v.id = bench_rows.id SET bench_rows.age = v.age, updated_at = %s",
            (text, datetime.now(UTC).replace(tzinfo=None)),
        )

    async def bulk_delete(self, ids: Sequence[int]) -> object:
        return await self._execute(f"DELETE FROM bench_rows WHERE id IN ({','.join(map(str, ids))})", ())

    async def run(self, sql: str) -> None:
        await self._execute(sql, ())

    async def close(self) -> None:
        for connection in self.pool.all:
            connection.close()


class RawSQLite:
    """aiosqlite, one thread hop per call: one writer, readers beside it, WAL."""

    @classmethod
    async def open(cls, url: str, size: int) -> RawSQLite:
        self = cls()
        path = url.removeprefix("sqlite:///")

        async def connect() -> aiosqlite.Connection:
            connection = await aiosqlite.connect(path, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
                await connection.execute(f"PRAGMA {pragma}")
            return connection

        self.writer = Connections([await connect()])
        self.readers = Connections([await connect() for _ in range(size)])
        return self

    async def _call(self, pool: Connections, work: Callable[[sqlite3.Connection], Any]) -> Any:
        async with pool.take() as connection:
            return await connection._execute(work, connection._conn)

    async def _one(self, pool: Connections, sql: str, args: Row) -> dict[str, Any]:
        row = await self._call(pool, lambda c: c.execute(sql, args).fetchone())
        return dict(zip(ALL, row, strict=True))

    async def create(self, number: int) -> object:
        row = values(number)
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return await self._one(
            self.writer,
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (row["name"], row["email"], row["age"], row["score"], row["active"], now, now),
        )

    async def read(self, number: int) -> object:
        return await self._one(self.readers, "SELECT * FROM bench_rows WHERE id = ?", (number % 1000 + 1,))

    async def update(self, number: int) -> object:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return await self._one(
            self.writer,
            "UPDATE bench_rows SET age = ?, updated_at = ? WHERE id = ? RETURNING *",
            (number % 90, now, number % 1000 + 1),
        )

    async def delete(self, number: int) -> object:
        sql = "DELETE FROM bench_rows WHERE id = ?"
        return await self._call(self.writer, lambda c: c.execute(sql, (number,)).rowcount)

    async def list_rows(self, number: int) -> object:
        rows = await self._call(
            self.readers,
            lambda c: c.execute("SELECT * FROM bench_rows WHERE age >= ? ORDER BY id DESC LIMIT 100", (5,)).fetchall(),
        )
        return [dict(zip(ALL, row, strict=True)) for row in rows]

    async def _many(self, sql: str, rows: Sequence[Row]) -> object:
        def work(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            count = connection.executemany(sql, rows).rowcount
            connection.execute("COMMIT")
            return count

        return await self._call(self.writer, work)

    async def bulk_create(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return await self._many(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_upsert(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return await self._many(
            "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
            " email = excluded.email, age = excluded.age, score = excluded.score, active = excluded.active,"
            " updated_at = excluded.updated_at",
            [(r["id"], r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )

    async def bulk_update(self, rows: Sequence[dict[str, Any]]) -> object:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return await self._many(
            "UPDATE bench_rows SET age = ?, updated_at = ? WHERE id = ?", [(r["age"], now, r["id"]) for r in rows]
        )

    async def bulk_delete(self, ids: Sequence[int]) -> object:
        return await self._many("DELETE FROM bench_rows WHERE id = ?", [(key,) for key in ids])

    async def run(self, sql: str) -> None:
        await self._call(self.writer, lambda c: c.execute(sql).fetchall())

    async def close(self) -> None:
        for connection in (*self.writer.all, *self.readers.all):
            await connection.close()


__all__ = ["Raw", "RawMySQL", "RawPostgreSQL", "RawSQLite", "values"]
