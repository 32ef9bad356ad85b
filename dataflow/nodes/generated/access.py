"""Access: how one call of a node runs its plans."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager

from dataflow.databases.interface import Arguments, Executor, Outcome, Row, Transaction
from dataflow.queries.plan import Plan
from dataflow.tenants import no_tenant


class Access:
    """Runs plans for one tenant.

    Args:
        executor: The database, where each statement commits by itself, or a transaction.
        tenant: The tenant of the run; None where it has none, which is an error for a plan that needs one.
    """

    __slots__ = ("executor", "tenant")

    def __init__(self, executor: Executor, tenant: str | None = None) -> None:
        self.executor = executor
        self.tenant = tenant

    def fetch_all(self, plan: Plan, values: Arguments = ()) -> Awaitable[list[Row]]:
        """All rows of a plan, for the shape's values."""
        return self.executor.fetch_all(plan.sql, plan.arguments(values, self.tenant))

    def fetch_one(self, plan: Plan, values: Arguments = ()) -> Awaitable[Row | None]:
        """The first row of a plan, or None."""
        return self.executor.fetch_one(plan.sql, plan.arguments(values, self.tenant))

    def execute(self, plan: Plan, values: Arguments = ()) -> Awaitable[Outcome]:
        """Run a plan that returns no rows."""
        return self.executor.execute(plan.sql, plan.arguments(values, self.tenant))

    def execute_many(self, plan: Plan, rows: Sequence[Arguments]) -> Awaitable[int]:
        """Run a plan once per row; all rows or none. Returns rows matched."""
        if plan.order is not None:
            rows = [plan.arguments(row, self.tenant) for row in rows]
        return self.executor.execute_many(plan.sql, rows)

    def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> Awaitable[int]:
        """Insert many rows by the fastest means of the database; all or none."""
        return self.executor.copy_rows(table, columns, rows)

    @property
    def own_tenant(self) -> str:
        """The tenant of the run.

        Raises:
            TenantError: It has none.
        """
        if self.tenant is None:
            raise no_tenant()
        return self.tenant


class TransactionAccess(Access):
    """Runs plans in a transaction."""

    __slots__ = ()

    executor: Transaction

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A part that is undone by itself when its block raises."""
        return self.executor.savepoint()
