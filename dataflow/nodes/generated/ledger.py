"""DatabaseLedger: the run ledger of one database, in its table ``dataflow_runs``.

==========  ==============================================================================
column      value
==========  ==============================================================================
run_id      the run
node_id     the node whose effect was committed together with this row
output      what the node returned, as ``RunRecord.pack`` wrote it; or the one row that its
            one statement returned: on PostgreSQL as JSON, empty where that was none, on
            SQLite the letter R and what ``pack`` made of ``{"row": [values]}``
created_at  Unix time, s
==========  ==============================================================================
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from dataflow.databases.interface import Arguments, Capabilities, Database, Dialect, Executor
from dataflow.errors import MissingTableError
from dataflow.nodes.ledger import Entry
from dataflow.queries.plan import sqlalchemy_dialect

TABLE = "dataflow_runs"

_MARKS = {
    Dialect.POSTGRESQL: ("$1", "$2", "$3", "$4"),
    Dialect.MYSQL: ("%s",) * 4,
    Dialect.SQLITE: ("?",) * 4,
}
#: Entries removed by one statement, at most.
_AT_ONCE = 500


class DatabaseLedger:
    """The run ledger of a database.

    Args:
        database: Where it is.
        may_create: Whether its table is created when it is first needed.

    Attributes:
        insert: The statement that adds an entry.
    """

    def __init__(self, database: Database, *, may_create: bool) -> None:
        self._database = database
        self._may_create = may_create
        self._ready = False
        one, two, three, four = _MARKS[database.dialect]
        self.insert = (
            f"INSERT INTO {TABLE} (run_id, node_id, output, created_at) VALUES ({one}, {two}, {three}, {four})"
        )
        self._find = f"SELECT output FROM {TABLE} WHERE run_id = {one} AND node_id = {two}"
        self._sweep = f"DELETE FROM {TABLE} WHERE created_at < {one}"

    async def prepare(self) -> None:
        """Make sure that the table is there.

        Raises:
            MissingTableError: It is missing and may not be created; the hint has its DDL.
        """
        if self._ready:
            return
        capabilities = await self._database.capabilities()
        if not await self._database.existing_columns([TABLE]):
            table = _table(capabilities)
            if not self._may_create:
                ddl = str(CreateTable(table).compile(dialect=sqlalchemy_dialect(self._database.dialect))).strip()
                raise MissingTableError(
                    f"There is no table '{TABLE}' in {self._database.masked_url}, which jobs with exactly-once effects "
                    "need, and none is created for this.",
                    hint=f"Enqueue with exactly_once=False, or create it:\n{ddl}",
                    tables=[TABLE],
                )
            await self._database.create_tables([table])
        self._ready = True

    async def find(self, entry: Entry) -> bytes | None:
        """The output of an entry; None where there is no such entry."""
        row = await self._database.fetch_one(self._find, entry)
        return None if row is None else bytes(row[0])

    async def write(self, transaction: Executor, entry: Entry, output: bytes) -> None:
        """Add an entry to a transaction.

        Raises:
            UniqueViolationError: It is there: another start of the run has committed the effect.
        """
        await transaction.execute(self.insert, self.values(entry, output))

    def values(self, entry: Entry, output: bytes) -> Arguments:
        """The values of ``insert``."""
        return (*entry, output, int(time.time()))

    def arguments(self, entry: Entry) -> Arguments:
        """The values that ``recorded`` adds to those of the statement."""
        return (*entry, int(time.time()))

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Remove entries."""
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            await self._database.execute(*_deletion(self._database.dialect, part))

    async def sweep(self, seconds: float) -> int:
        """Remove entries older than ``seconds``; returns how many."""
        return (await self._database.execute(self._sweep, (int(time.time() - seconds),))).rows


@lru_cache(maxsize=1024)
def recorded(sql: str, values: int) -> str:
    """PostgreSQL: a statement that returns at most one row, with a ledger entry of that row in the same statement.

    Args:
        sql: An INSERT, UPDATE or DELETE … RETURNING.
        values: How many values it takes; those of ``DatabaseLedger.arguments`` follow.
    """
    run, node, at = (f"${values + number}" for number in (1, 2, 3))
    row = "convert_to(coalesce((SELECT row_to_json(effect)::text FROM effect), ''), 'UTF8')"
    return (
        f"WITH effect AS ({sql}), entry AS (INSERT INTO {TABLE} (run_id, node_id, output, created_at) "
        f"VALUES ({run}, {node}, {row}, {at})) SELECT * FROM effect"
    )


def restored(table: str, columns: Sequence[str]) -> str:
    """PostgreSQL: the statement that makes a row of a table again of what ``recorded`` has kept of it."""
    quote = sqlalchemy_dialect(Dialect.POSTGRESQL).identifier_preparer.quote
    names = ", ".join(map(quote, columns))
    return f"SELECT {names} FROM json_populate_record(NULL::{quote(table)}, convert_from($1, 'UTF8')::json)"


def _deletion(dialect: Dialect, entries: Sequence[Entry]) -> tuple[str, Arguments]:
    if dialect is Dialect.POSTGRESQL:
        return f"DELETE FROM {TABLE} WHERE run_id = ANY ($1::text[])", [[entry.run for entry in entries]]
    if dialect is Dialect.SQLITE:
        marks = ", ".join("?" * len(entries))
        return f"DELETE FROM {TABLE} WHERE run_id IN ({marks})", [entry.run for entry in entries]
    # By the whole key: MySQL would lock the gaps between runs as well, and other runs' inserts would wait.
    pairs = ", ".join(["(%s, %s)"] * len(entries))
    return f"DELETE FROM {TABLE} WHERE (run_id, node_id) IN ({pairs})", [part for entry in entries for part in entry]


def _table(capabilities: Capabilities) -> sa.Table:
    # Ids are compared by code point, as they are in Python.
    text = sa.String(255, collation=capabilities.text_collation)
    return sa.Table(
        TABLE,
        sa.MetaData(),
        sa.Column("run_id", text, primary_key=True),
        sa.Column("node_id", text, primary_key=True),
        sa.Column("output", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
