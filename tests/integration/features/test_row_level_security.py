"""Row-level security: PostgreSQL itself holds the tenants apart, also where our own conditions fail."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from dataflow.databases import Database, open_database
from dataflow.databases.interface import Dialect
from dataflow.errors import ConfigurationError, DatabaseError
from dataflow.models import Field, declare
from dataflow.models.tables import TENANT_SETTING
from dataflow.nodes.interface import RunContext
from dataflow.queries.model import ModelRows
from dataflow.runtime.ledger import CodecRecord
from tests.integration.bench import Bench, open_bench
from tests.integration.features.tenants import Tenant

WALLED = {"multi_tenant": True, "row_level_security": True}


class Secret:
    """The name of its table has to be quoted."""

    __tablename__ = 'the "secret" Table'
    __dataflow__ = {**WALLED, "soft_delete": True, "versioned": True}  # noqa: RUF012

    text: str = Field(unique=True)
    weight: int = 0


class Part:
    """Refers to a table behind the wall."""

    __dataflow__ = WALLED

    secret_id: int = Field(references="Secret", on_delete="cascade")


class Shared:
    text: str


TABLE = '"the ""secret"" Table"'


@pytest.fixture
async def bench(owner_url: str) -> AsyncIterator[Bench]:
    """Tenants t1 and t2, who have one secret each."""
    async with open_bench(owner_url, Secret, Part, Shared) as bench:
        for name in ("t1", "t2"):
            await Tenant(bench, name).run("SecretCreateNode", text=f"of {name}")
        yield bench


@pytest.fixture
async def raw(owner_url: str) -> AsyncIterator[Database]:
    """The same user with statements of their own."""
    database = open_database(owner_url)
    yield database
    await database.close()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own conditions fail: statements come without the tenant's."""
    monkeypatch.setattr(ModelRows, "_conditions", lambda self: iter(()))


async def test_effects_happen_once_behind_the_wall(bench: Bench) -> None:
    secret, change = bench.nodes["SecretCreateNode"], bench.nodes["SecretUpdateNode"]
    part = bench.nodes["PartUpdateNode"]
    await Tenant(bench, "t1").run("PartCreateNode", secret_id=1)
    outputs = []
    for again in (False, True):
        for tenant in ("t1", "t2"):
            context = RunContext("run", "create", tenant, CodecRecord(f"run of {tenant}", again=again))
            outputs.append(await secret.run({"text": f"new of {tenant}"}, context))
            outputs.append(await change.run({"id": 1, "weight": 5}, replace(context, node_id="change")))
            outputs.append(await part.run({"id": 1, "secret_id": 1}, replace(context, node_id="part")))
    assert outputs[:6] == outputs[6:]
    assert [output.get("updated") for output in outputs[:6]] == [None, True, True, None, False, False]
    assert [row["text"] for row in await Tenant(bench, "t1").rows("Secret")] == ["of t1", "new of t1"]


async def test_without_a_tenant_the_server_shows_nothing(bench: Bench, raw: Database) -> None:
    select = f"SELECT text FROM {TABLE}"
    assert await raw.fetch_all(select) == []
    assert (await raw.execute(f"UPDATE {TABLE} SET weight = 1")).rows == 0
    assert (await raw.execute(f"DELETE FROM {TABLE}")).rows == 0
    async with raw.transaction({TENANT_SETTING: "t1"}) as transaction:
        assert [tuple(row) for row in await transaction.fetch_all(select)] == [("of t1",)]
    # On the same connection the setting is an empty text now.
    assert raw.pool_metrics()["total"] == 1
    assert await raw.fetch_all(select) == []
    with pytest.raises(DatabaseError, match="row-level security"):
        async with raw.transaction({TENANT_SETTING: "t1"}) as transaction:
            await transaction.execute(f"UPDATE {TABLE} SET tenant_id = 't2'")
    with pytest.raises(DatabaseError, match="row-level security"):
        async with raw.transaction({TENANT_SETTING: "t1"}) as transaction:
            await transaction.execute(
                f"INSERT INTO {TABLE} (tenant_id, text, weight, version, created_at, updated_at) "
                "VALUES ('t2', 'x', 0, 1, now(), now())"
            )


async def test_the_setting_ends_with_each_statement(bench: Bench) -> None:
    await Tenant(bench, "t1").rows("Secret")
    assert await bench.database.fetch_all(f"SELECT * FROM {TABLE}") == []


async def test_the_second_wall_holds_where_the_first_is_broken(bench: Bench, broken: None) -> None:
    one, two = Tenant(bench, "t1"), Tenant(bench, "t2")
    assert [row["text"] for row in await two.rows("Secret")] == ["of t2"]
    assert await two.run("SecretReadNode", id=1, raise_on_not_found=False) == {"id": 1, "found": False}
    assert await two.run("SecretCountNode") == {"count": 1}
    total = await two.run("SecretAggregateNode", group_by="tenant_id", aggregate={"n": {"$count": "*"}})
    assert total["records"] == [{"tenant_id": "t2", "n": 1}]
    assert (await two.run("SecretUpdateNode", id=1, weight=9))["updated"] is False
    assert (await two.run("SecretBulkUpdateNode", filter={"weight": 0}, fields={"weight": 9}))["updated"] == 1
    assert (await two.run("SecretBulkUpdateNode", data=[{"id": 1, "weight": 9}]))["updated"] == 0
    assert (await two.run("SecretDeleteNode", id=1, soft_delete=False))["deleted"] is False
    assert (await two.run("SecretBulkDeleteNode", ids=[1], soft_delete=False))["deleted"] == 0
    assert [(row["text"], row["weight"]) for row in await one.rows("Secret")] == [("of t1", 0)]


async def test_bulk_nodes_work_behind_the_wall(bench: Bench) -> None:
    one, two = Tenant(bench, "t1"), Tenant(bench, "t2")
    data = [{"text": f"s{number}", "weight": number} for number in range(2_000)]
    created = await one.run("SecretBulkCreateNode", data=data, return_ids=True)
    assert (created["inserted"], len(set(created["ids"]))) == (2_000, 2_000)
    assert (await two.run("SecretBulkCreateNode", data=iter(data), batch_size=700))["inserted"] == 2_000
    with_ids = [{"id": 50_000 + number, "text": f"t{number}"} for number in range(3)]
    assert (await one.run("SecretBulkCreateNode", data=with_ids))["inserted"] == 3
    assert (await one.run("SecretCreateNode", text="next"))["id"] == 50_003
    changed = [{"text": f"s{number}", "weight": 7} for number in range(1_990, 2_010)]
    upserted = await one.run("SecretBulkUpsertNode", data=changed, conflict_on=["text"])
    assert (upserted["inserted"], upserted["updated"]) == (10, 10)
    bad = [{"text": "s1"}, {"text": "new"}]
    partly = await one.run("SecretBulkCreateNode", data=bad, on_error="continue")
    assert (partly["inserted"], [error["row"] for error in partly["errors"]]) == (1, [0])
    assert (await one.run("SecretBulkUpdateNode", data=[{"id": created["ids"][0], "weight": 5}]))["updated"] == 1
    assert (await one.run("SecretBulkDeleteNode", ids=created["ids"], soft_delete=False))["deleted"] == 2_000
    assert await two.run("SecretCountNode") == {"count": 2_001}


async def test_references_work_behind_the_wall(bench: Bench) -> None:
    one = Tenant(bench, "t1")
    await one.run("PartCreateNode", secret_id=1)
    await one.run("SecretDeleteNode", id=1, soft_delete=False)
    assert await one.rows("Part") == []


async def test_models_without_tenants_need_none(bench: Bench) -> None:
    row = await bench.run("SharedCreateNode", text="x")
    assert (await Tenant(bench, "t1").run("SharedReadNode", id=row["id"]))["text"] == "x"


async def test_a_wall_that_does_not_stand_is_said(postgresql_db_url: str) -> None:
    """The user of the tests is a superuser."""
    async with open_bench(postgresql_db_url, Shared, Secret) as bench:
        with pytest.warns(UserWarning, match="does not hold for 'the \"secret\" Table'") as caught:
            await bench.schema.create_all()
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await bench.run("SharedCreateNode", text="x")


async def test_a_table_that_was_made_without_a_wall_is_said(owner_url: str, raw: Database) -> None:
    class Open(Secret):
        __dataflow__ = {"multi_tenant": True, "soft_delete": True, "versioned": True}  # noqa: RUF012

    async with open_bench(owner_url, Open) as bench:
        await Tenant(bench, "t1").run("OpenCreateNode", text="x")
    async with open_bench(owner_url, Secret) as bench:
        with pytest.warns(UserWarning, match="does not hold"):
            assert len(await Tenant(bench, "t1").rows("Secret")) == 1


@pytest.mark.parametrize("fixture", ["mysql_db_url", "sqlite_url"])
async def test_elsewhere_the_first_wall_is_the_only_one(request: pytest.FixtureRequest, fixture: str) -> None:
    class Note:
        text: str
        __dataflow__ = WALLED

    async with open_bench(request.getfixturevalue(fixture), Note) as bench:
        assert bench.database.dialect is not Dialect.POSTGRESQL
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await Tenant(bench, "t1").run("NoteCreateNode", text="x")
        assert await Tenant(bench, "t2").rows("Note") == []


def test_a_wall_needs_tenants() -> None:
    class Note:
        text: str
        __dataflow__: dict[str, Any] = {"row_level_security": True}  # noqa: RUF012

    with pytest.raises(ConfigurationError, match="'multi_tenant': True"):
        declare(Note)
