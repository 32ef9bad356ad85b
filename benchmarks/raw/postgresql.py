"""asyncpg: COPY, and arrays for the other bulk calls."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from benchmarks.raw.connections import Connections
from benchmarks.side import COLUMNS, LISTED_AGE, Rows, one_of, values


class RawPostgreSQL:
    """See RawSide."""

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
            return dict(await connection.fetchrow("SELECT * FROM bench_rows WHERE id = $1", one_of(number)))

    async def update(self, number: int) -> object:
        async with self.pool.take() as connection:
            return dict(
                await connection.fetchrow(
                    "UPDATE bench_rows SET age = $1, updated_at = $2 WHERE id = $3 RETURNING *",
                    number % 90,
                    datetime.now(UTC),
                    one_of(number),
                )
            )

    async def delete(self, number: int) -> object:
        async with self.pool.take() as connection:
            return await connection.execute("DELETE FROM bench_rows WHERE id = $1", number + 1)

    async def list_rows(self, number: int) -> object:
        async with self.pool.take() as connection:
            found = await connection.fetch(
                "SELECT * FROM bench_rows WHERE age >= $1 ORDER BY id DESC LIMIT 100", LISTED_AGE
            )
        return [dict(row) for row in found]

    async def bulk_create(self, rows: Rows) -> int:
        now = datetime.now(UTC)
        records = [(r["name"], r["email"], r["age"], r["score"], r["active"], now, now) for r in rows]
        async with self.pool.take() as connection:
            return _count(await connection.copy_records_to_table("bench_rows", records=records, columns=COLUMNS))

    async def bulk_upsert(self, rows: Rows) -> int:
        columns = [[row[name] for row in rows] for name in ("id", "name", "email", "age", "score", "active")]
        async with self.pool.take() as connection:
            found = await connection.fetch(
                "INSERT INTO bench_rows (id, name, email, age, score, active, created_at, updated_at)"
                " SELECT rows.*, $7::timestamptz, $7::timestamptz"
                " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::float8[], $6::bool[]) AS rows"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, age = excluded.age,"
                " score = excluded.score, active = excluded.active, updated_at = excluded.updated_at"
                " RETURNING (xmax = 0)",
                *columns, datetime.now(UTC),
            )  # fmt: skip
        return len(found)

    async def bulk_update(self, rows: Rows) -> int:
        async with self.pool.take() as connection:
            return _count(
                await connection.execute(
                    "UPDATE bench_rows SET age = v.age, updated_at = $3"
                    " FROM unnest($1::bigint[], $2::bigint[]) AS v(id, age) WHERE bench_rows.id = v.id",
                    [row["id"] for row in rows], [row["age"] for row in rows], datetime.now(UTC),
                )
            )  # fmt: skip

    async def update_where(self, age: int, score: float) -> int:
        async with self.pool.take() as connection:
            return _count(
                await connection.execute(
                    "UPDATE bench_rows SET score = $1, updated_at = $2 WHERE age >= $3", score, datetime.now(UTC), age
                )
            )

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        async with self.pool.take() as connection:
            return _count(await connection.execute("DELETE FROM bench_rows WHERE id = ANY($1::bigint[])", ids))

    async def empty(self) -> None:
        await self._run("TRUNCATE bench_rows")

    async def analyze(self) -> None:
        await self._run("ANALYZE bench_rows")

    async def _run(self, sql: str) -> None:
        async with self.pool.take() as connection:
            await connection.execute(sql)

    async def close(self) -> None:
        for connection in self.pool.all:
            await connection.close()


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
