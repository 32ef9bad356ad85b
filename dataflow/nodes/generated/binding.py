"""ModelBinding: a model on a database; what its generated nodes share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import sqlalchemy as sa

from dataflow.databases.interface import Database, Executor, Transaction
from dataflow.models import ModelSpec
from dataflow.nodes.interface import RunContext
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.plan import PlanCache


class ModelBinding:
    """A model on a database.

    Attributes:
        spec: The model.
        table: Its table, for compiling statements.
        database: Where it lives.
        codec: How its rows travel.
        plans: Its compiled statements.
        warned_of_timestamps: The user has been told that managed timestamps are left out.
    """

    __slots__ = ("_prepare", "_ready", "codec", "database", "plans", "spec", "table", "warned_of_timestamps")

    def __init__(
        self, spec: ModelSpec, table: sa.Table, database: Database, prepare: Callable[[], Awaitable[None]]
    ) -> None:
        self.spec = spec
        self.table = table
        self.database = database
        self.codec = ModelCodec(spec, database.dialect)
        self.plans = PlanCache()
        self.warned_of_timestamps = False
        self._prepare = prepare
        self._ready = False

    async def executor(self, context: RunContext) -> Executor:
        """What runs this node's statements, once the table is there.

        Raises:
            MissingTableError: The table does not exist, and this instance may not create it.
            DatabaseUnavailableError: The database cannot be reached.
        """
        if not self._ready:
            await self._prepare()
            self._ready = True
        return self.database

    @asynccontextmanager
    async def transaction(self, context: RunContext) -> AsyncIterator[Transaction]:
        """One transaction for several statements of this node, once the table is there; raises as ``executor`` does."""
        await self.executor(context)
        async with self.database.transaction() as transaction:
            yield transaction
