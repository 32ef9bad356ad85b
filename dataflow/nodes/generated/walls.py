"""Row-level security of PostgreSQL: the second wall between tenants, behind the conditions of every statement."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dataflow.databases.interface import Database
from dataflow.databases.sessions import Runner
from dataflow.models.tables import TENANT_SETTING

_OPEN = """
    SELECT relname::text FROM pg_catalog.pg_class
    WHERE relname = ANY ($1::text[]) AND relkind IN ('r', 'p') AND pg_catalog.pg_table_is_visible(oid)
      AND NOT pg_catalog.row_security_active(oid)
    ORDER BY 1"""


class Wall(Runner):
    """An Executor for tables with row-level security: each statement is a transaction of its own, since the server
    learns the tenant for a transaction only.
    """

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    async def _run(self, name: str, *args: Any) -> Any:
        async with self._database.transaction({TENANT_SETTING: self._tenant}) as transaction:
            return await getattr(transaction, name)(*args)


async def warn_of_open_walls(database: Database, tables: Sequence[str]) -> None:
    """Warn where the server would not hold the tenants of these tables apart for this user. The conditions of the
    statements still do.
    """
    found = [row[0] for row in await database.fetch_all(_OPEN, [list(tables)])]
    if found:
        warnings.warn(
            f"Row-level security does not hold for {', '.join(map(repr, found))} in {database.masked_url}: the user is "
            "a superuser or has BYPASSRLS, or the table was made without it. Connect as an ordinary user, and run "
            "the statements of dataflow.models.tables.tenant_policy on a table that was there before.",
            UserWarning,
            stacklevel=2,
        )
