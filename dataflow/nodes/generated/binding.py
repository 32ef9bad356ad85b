"""ModelBinding: a model on a database; what its generated nodes share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import cast

import sqlalchemy as sa

from dataflow.databases.interface import Database, Dialect, Executor, Transaction
from dataflow.models import ModelSpec
from dataflow.models.tables import TENANT_SETTING
from dataflow.nodes.generated.access import Access, TransactionAccess
from dataflow.nodes.generated.ledger import DatabaseLedger
from dataflow.nodes.generated.walls import Wall
from dataflow.nodes.interface import RunContext
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.cursor import CursorSigner
from dataflow.queries.model import FindModel, ModelRows

Prepare = Callable[[], Awaitable[None]]


class ModelBinding:
    """A model on a database.

    Args:
        spec: The model.
        table: Its table; statements come from ``rows`` and ``all_rows``.
        database: Where it lives.
        find: Finds the rows of other models, for relations.
        prepare: Makes sure that the table is there.
        walled: Names of the models of the instance that have row-level security.
        cursors: Signs where its lists go on.
        ledger: Remembers effects that must happen once.

    Attributes:
        codec: How its rows travel.
        rows: Its rows, without those that were soft-deleted.
        all_rows: Its rows, with them.
        ready: The table is known to be there.
        warned_of_timestamps: The user has been told that managed timestamps are left out.
    """

    def __init__(
        self,
        spec: ModelSpec,
        table: sa.Table,
        database: Database,
        find: FindModel,
        prepare: Prepare,
        walled: Collection[str],
        cursors: CursorSigner,
        ledger: DatabaseLedger,
    ) -> None:
        self.spec = spec
        self.table = table
        self.database = database
        self.codec = ModelCodec(spec, database.dialect)
        self.rows = ModelRows(self.codec, database.dialect, table, find, include_deleted=False)
        self.all_rows = ModelRows(self.codec, database.dialect, table, find, include_deleted=True)
        self.cursors = cursors
        self.ledger = ledger
        self.warned_of_timestamps = False
        self._find = find
        self._prepare = prepare
        self._walled = walled if database.dialect is Dialect.POSTGRESQL else ()
        self._access = Access(database)
        self.ready = False

    def on(self, database: Database, prepare: Prepare | None = None) -> ModelBinding:
        """The same model, its statements run by another Database object, once ``prepare`` is done (default: as ever).

        Its plans are compiled anew.
        """
        return ModelBinding(
            self.spec,
            self.table,
            database,
            self._find,
            prepare or self._prepare,
            self._walled,
            self.cursors,
            self.ledger,
        )

    async def prepare(self) -> None:
        """Make sure, once, that the table is there; raises as ``access`` does."""
        if not self.ready:
            await self._prepare()
            self.ready = True

    async def access(self, context: RunContext) -> Access:
        """What runs this node's plans, once the table is there: what the context says, else each statement commits by
        itself.

        Raises:
            MissingTableError: The table does not exist, and this instance may not create it.
            DatabaseUnavailableError: The database cannot be reached.
        """
        if not self.ready:
            await self.prepare()
        tenant = context.tenant_id
        if context.executor is not None:
            return Access(context.executor, tenant)
        return self._access if tenant is None else Access(self.executor(tenant), tenant)

    def executor(self, tenant: str | None) -> Executor:
        """Where a tenant's statements commit by themselves."""
        return Wall(self.database, tenant) if self._walled and tenant is not None else self.database

    @asynccontextmanager
    async def transaction(self, context: RunContext) -> AsyncIterator[TransactionAccess]:
        """One transaction for several plans of this node, once the table is there; raises as ``access`` does."""
        await self.access(context)
        tenant = context.tenant_id
        if context.executor is not None:
            # Whoever opened that transaction ends it.
            yield TransactionAccess(cast(Transaction, context.executor), tenant)
            return
        settings = {TENANT_SETTING: tenant} if self._walled and tenant is not None else None
        async with self.database.transaction(settings) as transaction:
            yield TransactionAccess(transaction, tenant)
