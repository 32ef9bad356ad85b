"""Recorder: a Database that tells what would be done in another one, and changes nothing there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Capabilities, Database, Executor, PoolMetrics, Transaction
from dataflow.databases.sessions import Runner
from dataflow.errors import DatabaseError
from dataflow.queries.planner import explained, plan_lines

#: Statements that only read. Others are never run; what is not known for sure counts among them.
_READ = re.compile(
    r"\s*(?:(?:SELECT|VALUES)\b(?!.*\b(?:nextval|setval)\b)|WITH\b(?!.*\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b))",
    re.IGNORECASE | re.DOTALL,
)
#: Statements that a database can explain.
_EXPLAINABLE = re.compile(r"\s*(?:SELECT|VALUES|WITH|INSERT|REPLACE|UPDATE|DELETE)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ExplainedStatement:
    """A statement that a node sends.

    Attributes:
        sql: Its text, with the driver's placeholders.
        binds: The values that are sent with it; of several rows, those of the first.
        rows: For how many rows it is sent at once.
        plan: The database's plan of it, as lines; none where it has none, as for COPY.
        ran: It only reads, and was run.
    """

    sql: str
    binds: tuple[Any, ...]
    rows: int
    plan: tuple[str, ...]
    ran: bool


class RecordingEnded(BaseException):
    """A write was reached. It is no Exception, so that a node does not take it for an error of the database."""


class Recorder(Runner):
    """Records the statements that are sent to a database: reads are explained and run; the first write is explained
    only, and raises RecordingEnded.

    Args:
        database: Where they would go.

    Attributes:
        statements: Those recorded so far, in order.
    """

    def __init__(self, database: Database) -> None:
        self.dialect = database.dialect
        self.masked_url = database.masked_url
        self.guard = database.guard
        self.statements: list[ExplainedStatement] = []
        self._database = database

    async def _run(self, name: str, *args: Any) -> Any:
        return await self.record(self._database, name, args)

    async def record(self, executor: Executor, name: str, args: tuple[Any, ...]) -> Any:
        """Record a call of an executor's method, and make it if it only reads.

        Raises:
            RecordingEnded: It does not.
        """
        if name == "copy_rows":
            table, columns, rows = args
            sql, reads = f"COPY {table} ({', '.join(columns)})", False
        else:
            sql, given = args
            reads = name != "execute_many" and _READ.match(sql) is not None
            rows = given if name == "execute_many" else [given]
        binds = tuple(rows[0]) if rows else ()
        plan: tuple[str, ...] = ()
        if _EXPLAINABLE.match(sql):
            plan = plan_lines(await executor.fetch_all(explained(sql, self.dialect), binds), self.dialect)
        self.statements.append(ExplainedStatement(sql, binds, len(rows), plan, ran=reads))
        if not reads:
            raise RecordingEnded
        return await getattr(executor, name)(*args)

    @asynccontextmanager
    async def transaction(self, settings: Mapping[str, str] | None = None) -> AsyncIterator[Transaction]:
        ended = None
        async with self._database.transaction(settings) as transaction:
            try:
                yield _RecordingTransaction(self, transaction)
            except RecordingEnded as end:
                # Nothing was written, so there is nothing to undo; the connection goes back as after any transaction.
                ended = end
        if ended is not None:
            raise ended

    async def capabilities(self) -> Capabilities:
        return await self._database.capabilities()

    async def existing_columns(self, tables: Sequence[str]) -> dict[str, set[str]]:
        return await self._database.existing_columns(tables)

    async def create_tables(self, tables: Sequence[sa.Table]) -> list[str]:
        raise DatabaseError("Explaining creates no tables.", hint="Call db.create_tables() first.")

    def pool_metrics(self) -> PoolMetrics:
        return self._database.pool_metrics()

    async def close(self) -> None:
        """Nothing to do: the connections belong to the database."""


class _RecordingTransaction(Runner):
    def __init__(self, recorder: Recorder, transaction: Transaction) -> None:
        self._recorder = recorder
        self._transaction = transaction

    async def _run(self, name: str, *args: Any) -> Any:
        return await self._recorder.record(self._transaction, name, args)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        return self._transaction.savepoint()
