"""What the tests of the Database seam share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from dataflow.databases.interface import Database, Dialect
from tests.conftest import database_of

#: Parameters of the fixture database_url: every driver.
DRIVERS = ["postgresql", "mysql+aiomysql", "mysql+asyncmy", "sqlite"]
#: Those with a server.
SERVER_DRIVERS = DRIVERS[:3]
MYSQL_DRIVERS = DRIVERS[1:3]


@pytest.fixture(params=DRIVERS, name="database_url")
def each_driver_url(request: pytest.FixtureRequest) -> str:
    """``database_url`` in the modules that import this: an empty database for each driver in turn."""
    return database_of(request)


METADATA = sa.MetaData()

TEAMS = sa.Table(
    "teams",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(50), nullable=False),
    sa.UniqueConstraint("name", name="uq_teams_name"),
)
PLAYERS = sa.Table(
    "players",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("name", sa.String(50), nullable=False, index=True),
    sa.Column("score", sa.Integer),
    sa.Column("team_id", sa.ForeignKey("teams.id", name="fk_players_team_id")),
    sa.CheckConstraint("score >= 0", name="ck_players_score"),
    sa.Index("ix_players_score_name", "score", "name"),
    sqlite_autoincrement=True,
)


def sql(database: Database, text: str) -> str:
    """A statement with ``?`` for its values, in the driver's style."""
    if database.dialect is Dialect.POSTGRESQL:
        numbers = itertools.count(1)
        return re.sub(r"\?", lambda _: f"${next(numbers)}", text)
    if database.dialect is Dialect.MYSQL:
        return text.replace("%", "%%").replace("?", "%s")
    return text


async def add_players(database: Database, count: int) -> None:
    rows = [(f"player {number}", number) for number in range(1, count + 1)]
    await database.execute_many(sql(database, "INSERT INTO players (name, score) VALUES (?, ?)"), rows)


async def count(database: Any, table: str = "players") -> int:
    row = await database.fetch_one(f"SELECT count(*) FROM {table}")
    assert row is not None
    return int(row[0])


#: A statement that would run for a minute.
SLOW = {
    Dialect.POSTGRESQL: "SELECT pg_sleep(60)",
    Dialect.MYSQL: "SELECT SLEEP(60)",
    Dialect.SQLITE: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
}

#: A column of each kind, a value as the driver takes it, and as it gives it back.
KINDS: dict[Dialect, Sequence[tuple[sa.types.TypeEngine[Any], Any, Any]]] = {
    Dialect.POSTGRESQL: [
        (sa.Text(), "O'Brien \\ %s %% \" ` $1 ? \n\té漢😀", ...),
        (sa.BigInteger(), -(2**63), ...),
        (sa.Double(), 0.1, ...),
        (sa.Boolean(), True, ...),
        (sa.Numeric(38, 10), Decimal("-12345678901234567890.0123456789"), ...),
        (sa.DateTime(timezone=True), datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC), ...),
        (sa.Date(), date(1, 1, 1), ...),
        (sa.Time(), time(23, 59, 59, 1), ...),
        (postgresql.UUID(as_uuid=True), UUID(int=7), ...),
        (sa.LargeBinary(), bytes(range(256)), ...),
        (postgresql.JSONB(), '{"a": [1, null, "b"]}', ...),
    ],
    Dialect.MYSQL: [
        (mysql.LONGTEXT(charset="utf8mb4"), "O'Brien \\ %s %% \" ` $1 ? \n\r\t\x1aé漢😀", ...),
        (sa.BigInteger(), -(2**63), ...),
        (sa.Double(), 0.1, ...),
        (sa.Boolean(), True, 1),
        (sa.Numeric(38, 10), Decimal("-12345678901234567890.0123456789"), ...),
        (mysql.DATETIME(fsp=6), datetime(2026, 2, 28, 23, 59, 59, 999999), ...),
        (sa.Date(), date(1000, 1, 1), ...),
        (mysql.CHAR(36), str(UUID(int=7)), ...),
        (mysql.LONGBLOB(), bytes(range(256)), ...),
        (mysql.JSON(), '{"a": [1, null, "b"]}', ...),
    ],
    Dialect.SQLITE: [
        (sa.Text(), "O'Brien \\ %s %% \" ` $1 ? \n\té漢😀", ...),
        (sa.Integer(), -(2**63), ...),
        (sa.REAL(), 0.1, ...),
        (sa.LargeBinary(), bytes(range(256)), ...),
    ],
}
