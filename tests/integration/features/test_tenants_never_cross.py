"""Two tenants under random operations: no row ever crosses from one to the other."""

from __future__ import annotations

import re
from collections.abc import Collection

import pytest

from dataflow.databases import Database, DatabaseOptions, open_database
from dataflow.queries.plan import Plan
from tests.integration.bench import Bench, open_bench
from tests.integration.features.tenants import binding
from tests.integration.features.walk import Item, Note, Walk, WalledItem, WalledNote

STEPS = 400
OPERATIONS = {
    "Create", "Read", "Update", "Delete", "List", "Count", "Upsert", "Aggregate", "BulkCreate", "BulkUpdate",
    "BulkDelete", "BulkUpsert",
}  # fmt: skip
#: Each of these is refused now and then, since an id or an email is taken, or a version is another.
REFUSED = {"Create", "Update", "Upsert", "BulkCreate"}


@pytest.mark.parametrize("model", [Note, Item])
async def test_no_row_crosses(database_url: str, model: type) -> None:
    async with open_bench(database_url, model) as bench:
        await _walk(bench, bench.database, model.__name__, model.__tablename__)


@pytest.mark.parametrize("model", [WalledNote, WalledItem])
async def test_no_row_crosses_with_two_walls(owner_url: str, postgresql_db_url: str, model: type) -> None:
    admin = open_database(postgresql_db_url, DatabaseOptions(pool_size=1))
    try:
        async with open_bench(owner_url, model) as bench:
            await _walk(bench, admin, model.__name__, model.__tablename__)
    finally:
        await admin.close()


async def _walk(bench: Bench, admin: Database, model: str, table: str) -> None:
    await bench.schema.create_all()
    await admin.capabilities()
    walk = Walk(bench, model, table, admin, seed=7)
    for _ in range(STEPS):
        await walk.step()
    assert set(walk.done) == OPERATIONS
    assert set(walk.refused) >= REFUSED
    for plan in _plans(bench, model):
        _check_tenant(plan, table)


def _plans(bench: Bench, model: str) -> Collection[Plan]:
    bound = binding(bench, model)
    plans = [plan for rows in (bound.rows, bound.all_rows) for plan in rows.plans._plans.values()]
    assert len(plans) > 50
    return plans


def _check_tenant(plan: Plan, table: str) -> None:
    """Every mention of the table in a statement has the tenant's condition, or one that nothing meets; an INSERT gives
    the tenant.
    """
    sql = " ".join(plan.sql.replace('"', "").replace("`", "").split())
    inserted = re.search(rf"INSERT INTO {table} \(([^)]*)\)", sql)
    if inserted:
        assert "tenant_id" in inserted[1].split(", "), sql
        conflict = re.search(r"ON CONFLICT \(([^)]*)\)", sql)
        assert conflict is None or conflict[1].startswith("tenant_id, "), sql
        return
    mentions = re.findall(rf"\b(?:FROM|UPDATE|JOIN) {table}\b", sql)
    conditions = re.findall(rf"\b{table}\.tenant_id = |\bWHERE (?:false|0 = 1|1 != 1)", sql)
    assert len(conditions) >= len(mentions) >= 1, sql
