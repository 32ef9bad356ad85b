"""The driver that ours uses too, asyncmy or else aiomysql: autocommit, FOUND_ROWS; multi-row VALUES, JSON_TABLE and
lists of ids for bulk calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from pymysql.constants import CLIENT

from benchmarks.raw.connections import Connections
from benchmarks.side import ALL, LISTED_AGE, Rows, one_of, values

try:
    import asyncmy as driver
except ImportError:
    import aiomysql as driver


class RawMySQL:
    """See RawSide."""

    @classmethod
    async def open(cls, url: str, size: int) -> RawMySQL:
        self = cls()
        parts = urlsplit(url)
        self.pool = Connections(
            [
                await driver.connect(
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

    async def create(self, number: int) -> object:
        row = values(number)
        now = _now()
        return await self._one(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " RETURNING id, name, email, age, score, active, created_at, updated_at",
            (row["name"], row["email"], row["age"], row["score"], row["active"], now, now),
        )

    async def read(self, number: int) -> object:
        return await self._one("SELECT * FROM bench_rows WHERE id = %s", (one_of(number),))

    async def update(self, number: int) -> object:
        """The row after the update, as an atomic whole: there is no UPDATE … RETURNING."""
        key = one_of(number)
        async with self.pool.take() as connection, connection.cursor() as cursor:
            await connection.begin()
            await cursor.execute(
                "UPDATE bench_rows SET age = %s, updated_at = %s WHERE id = %s", (number % 90, _now(), key)
            )
            await cursor.execute("SELECT * FROM bench_rows WHERE id = %s", (key,))
            row = await cursor.fetchone()
            await connection.commit()
        return dict(zip(ALL, row, strict=True))

    async def delete(self, number: int) -> object:
        return await self._execute("DELETE FROM bench_rows WHERE id = %s", (number + 1,))

    async def list_rows(self, number: int) -> object:
        async with self.pool.take() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT * FROM bench_rows WHERE age >= %s ORDER BY id DESC LIMIT 100", (LISTED_AGE,))
            rows = await cursor.fetchall()
        return [dict(zip(ALL, row, strict=True)) for row in rows]

    async def bulk_create(self, rows: Rows) -> int:
        now = _now()
        await self._many(
            "INSERT INTO bench_rows (name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )
        return len(rows)

    async def bulk_upsert(self, rows: Rows) -> int:
        now = _now()
        await self._many(
            "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE name = VALUES(name),"
            " email = VALUES(email), age = VALUES(age), score = VALUES(score), active = VALUES(active),"
            " updated_at = VALUES(updated_at)",
            [(r["id"], r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows],
        )
        return len(rows)

    async def bulk_update(self, rows: Rows) -> int:
        text = json.dumps([[row["id"], row["age"]] for row in rows])
        return await self._execute(
            "UPDATE bench_rows JOIN JSON_TABLE(%s, '$[*]' COLUMNS(id BIGINT PATH '$[0]', age BIGINT PATH '$[1]')) AS v"
            " ON v.id = bench_rows.id SET bench_rows.age = v.age, updated_at = %s",
            (text, _now()),
        )

    async def update_where(self, age: int, score: float) -> int:
        return await self._execute(
            "UPDATE bench_rows SET score = %s, updated_at = %s WHERE age >= %s", (score, _now(), age)
        )

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        return await self._execute(f"DELETE FROM bench_rows WHERE id IN ({','.join(map(str, ids))})", ())

    async def empty(self) -> None:
        await self._execute("TRUNCATE bench_rows", ())

    async def analyze(self) -> None:
        """InnoDB keeps them up to date by itself."""

    async def close(self) -> None:
        for connection in self.pool.all:
            connection.close()

    async def _one(self, sql: str, args: tuple[Any, ...]) -> dict[str, Any]:
        async with self.pool.take() as connection, connection.cursor() as cursor:
            await cursor.execute(sql, args)
            row = await cursor.fetchone()
        return dict(zip(ALL, row, strict=True))

    async def _execute(self, sql: str, args: tuple[Any, ...]) -> int:
        async with self.pool.take() as connection, connection.cursor() as cursor:
            count: int = await cursor.execute(sql, args)
        return count

    async def _many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        async with self.pool.take() as connection, connection.cursor() as cursor:
            await connection.begin()
            await cursor.executemany(sql, rows)
            await connection.commit()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
