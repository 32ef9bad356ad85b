"""One insert, as a function of a user of arq, SAQ or streaq is best written: SQLAlchemy Core, asyncpg and a pool.

The statement is built once, and is a transaction by itself: neither BEGIN and COMMIT nor the pool's ROLLBACK cost a
round trip. What it stores and returns is what our create node does.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.peers.contract import DATABASE_URL, POOL

_TABLE = sa.table(
    "bench_orders",
    *(sa.column(name, kind) for name, kind in (("id", sa.BigInteger), ("customer", sa.Text), ("total", sa.Double))),
    *(sa.column(name, sa.DateTime(timezone=True)) for name in ("created_at", "updated_at")),
)
_INSERT = sa.insert(_TABLE).returning(*_TABLE.c)


def engine() -> AsyncEngine:
    """The engine of a worker process."""
    return create_async_engine(
        DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://"),
        pool_size=POOL,
        max_overflow=0,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
    )


async def insert_order(database: AsyncEngine, text: str) -> int:
    """Insert a row; its id."""
    now = datetime.now(UTC)
    async with database.connect() as connection:
        row = (
            await connection.execute(_INSERT, {"customer": text, "total": 9.5, "created_at": now, "updated_at": now})
        ).one()
    return int(row.id)
