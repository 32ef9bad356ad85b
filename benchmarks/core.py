"""SQLAlchemy Core on its async engine, used as its documentation says and as fast as that goes.

Statements are built once. Single calls run on an engine in AUTOCOMMIT that also skips the pool's rollback, so that no
BEGIN, COMMIT or ROLLBACK goes to the server. Bulk calls run in one transaction; of Core's several forms of each,
the one that measured fastest on the database is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.raw.mysql import driver
from benchmarks.raw.sqlite import PRAGMAS
from benchmarks.side import COLUMNS, LISTED_AGE, Rows, one_of, values

_MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")

TABLE = sa.Table(
    "bench_rows",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("email", sa.Text(), nullable=False),
    sa.Column("age", sa.BigInteger(), nullable=False),
    sa.Column("score", sa.Double(), nullable=False),
    sa.Column("active", sa.Boolean(), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("updated_at", _MOMENT, nullable=False),
)
_BY_KEY = TABLE.c.id == sa.bindparam("key")
#: Ids in the list of one statement: SQLite takes 32,766 values.
LISTED_IDS = 10_000
_UPSERTED = [name for name in COLUMNS if name != "created_at"]


def _with_on_conflict(insert: Any) -> Any:
    return insert.on_conflict_do_update(index_elements=["id"], set_={name: insert.excluded[name] for name in _UPSERTED})


def _with_on_duplicate_key(insert: Any) -> Any:
    return insert.on_duplicate_key_update({name: insert.inserted[name] for name in _UPSERTED})


class Core:
    """See Side. Subclasses choose what differs between databases.

    Args:
        reads: Engine of single calls that read.
        writes: Engine of single calls that write.
        bulk: Engine of calls in a transaction.
    """

    upsert: Any
    select_row = sa.select(TABLE).where(_BY_KEY)
    select_rows = sa.select(TABLE).where(TABLE.c.age >= sa.bindparam("least")).order_by(TABLE.c.id.desc()).limit(100)
    insert_row = sa.insert(TABLE).returning(*TABLE.c)
    delete_row = sa.delete(TABLE).where(_BY_KEY)
    delete_listed = sa.delete(TABLE).where(TABLE.c.id.in_(sa.bindparam("ids", expanding=True)))
    update_age = sa.update(TABLE).where(_BY_KEY).values(age=sa.bindparam("new"), updated_at=sa.bindparam("now"))
    update_score = (
        sa.update(TABLE)
        .where(TABLE.c.age >= sa.bindparam("least"))
        .values(score=sa.bindparam("new"), updated_at=sa.bindparam("now"))
    )
    update_row = update_age.returning(*TABLE.c)

    def __init__(self, reads: AsyncEngine, writes: AsyncEngine, bulk: AsyncEngine) -> None:
        self.reads, self.writes, self.bulk = reads, writes, bulk

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def create(self, number: int) -> object:
        now = self.now()
        return await self._one(self.writes, self.insert_row, {**values(number), "created_at": now, "updated_at": now})

    async def read(self, number: int) -> object:
        return await self._one(self.reads, self.select_row, {"key": one_of(number)})

    async def update(self, number: int) -> object:
        return await self._one(
            self.writes, self.update_row, {"key": one_of(number), "new": number % 90, "now": self.now()}
        )

    async def delete(self, number: int) -> object:
        async with self.writes.connect() as connection:
            return (await connection.execute(self.delete_row, {"key": number + 1})).rowcount

    async def list_rows(self, number: int) -> object:
        async with self.reads.connect() as connection:
            found = await connection.execute(self.select_rows, {"least": LISTED_AGE})
            return [dict(row) for row in found.mappings()]

    async def bulk_create(self, rows: Rows) -> int:
        now = self.now()
        return await self._many(
            sa.insert(TABLE), [{**row, "created_at": now, "updated_at": now} for row in rows], len(rows)
        )

    async def bulk_upsert(self, rows: Rows) -> int:
        now = self.now()
        return await self._many(self.upsert, [{**row, "created_at": now, "updated_at": now} for row in rows], len(rows))

    async def bulk_update(self, rows: Rows) -> int:
        now = self.now()
        return await self._many(
            self.update_age, [{"key": row["id"], "new": row["age"], "now": now} for row in rows], len(rows)
        )

    async def update_where(self, age: int, score: float) -> int:
        async with self.bulk.begin() as connection:
            given = {"least": age, "new": score, "now": self.now()}
            return (await connection.execute(self.update_score, given)).rowcount

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        async with self.bulk.begin() as connection:
            return sum(
                [
                    (await connection.execute(self.delete_listed, {"ids": ids[start : start + LISTED_IDS]})).rowcount
                    for start in range(0, len(ids), LISTED_IDS)
                ]
            )

    async def close(self) -> None:
        for engine in {self.reads, self.writes, self.bulk}:
            await engine.dispose()

    async def _one(self, engine: AsyncEngine, statement: Any, given: dict[str, Any]) -> dict[str, Any]:
        async with engine.connect() as connection:
            return dict((await connection.execute(statement, given)).mappings().one())

    async def _many(self, statement: Any, given: list[dict[str, Any]], count: int) -> int:
        async with self.bulk.begin() as connection:
            await connection.execute(statement, given)
        return count


class CorePostgreSQL(Core):
    """Upserts through executemany, which asyncpg pipelines; deletes by an array."""

    upsert = _with_on_conflict(postgresql.insert(TABLE))
    delete_array = sa.delete(TABLE).where(
        TABLE.c.id == sa.any_(sa.bindparam("ids", type_=postgresql.ARRAY(sa.BigInteger())))
    )

    @classmethod
    async def open(cls, url: str, size: int) -> Core:
        singles, bulk = _engines(url.replace("postgresql://", "postgresql+asyncpg://"), size)
        return cls(singles, singles, bulk)

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        async with self.bulk.begin() as connection:
            return (await connection.execute(self.delete_array, {"ids": ids})).rowcount


class CoreMySQL(Core):
    """Upserts through executemany, which the driver turns into multi-row VALUES."""

    upsert = _with_on_duplicate_key(mysql.insert(TABLE))

    @classmethod
    async def open(cls, url: str, size: int) -> Core:
        singles, bulk = _engines(url.replace("mysql://", f"mysql+{driver.__name__}://") + "?charset=utf8mb4", size)
        return cls(singles, singles, bulk)

    def now(self) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None)

    async def update(self, number: int) -> object:
        key = one_of(number)
        async with self.bulk.begin() as connection:
            await connection.execute(self.update_age, {"key": key, "new": number % 90, "now": self.now()})
            return dict((await connection.execute(self.select_row, {"key": key})).mappings().one())


class CoreSQLite(Core):
    """One writer, readers beside it."""

    upsert = _with_on_conflict(sqlite.insert(TABLE))

    @classmethod
    async def open(cls, url: str, size: int) -> Core:
        url = url.replace("sqlite://", "sqlite+aiosqlite://")
        (reads, _), (writes, bulk) = _engines(url, size), _engines(url, 1)
        for engine in (reads, writes, bulk):
            sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
        return cls(reads, writes, bulk)

    def now(self) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None)


def _engines(url: str, size: int) -> tuple[AsyncEngine, AsyncEngine]:
    """One for single calls, one for transactions."""
    singles = create_async_engine(
        url, pool_size=size, max_overflow=0, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
    )
    return singles, create_async_engine(url, pool_size=size, max_overflow=0)


def _set_pragmas(connection: Any, _: object) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
