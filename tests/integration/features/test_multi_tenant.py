"""Multi-tenant models: a run sees and changes the rows of its tenant, whatever it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, LocalRuntime, WorkflowBuilder
from dataflow.errors import (
    ForeignKeyViolationError,
    InputError,
    ModelError,
    TenantError,
    TypeMismatchError,
    UniqueViolationError,
    UpdateParameterError,
    WorkflowExecutionError,
)
from dataflow.models import Field
from tests.integration.bench import Bench, open_bench
from tests.integration.features.tenants import Tenant


class Customer:
    email: str = Field(unique=True)
    region: str = "eu"
    number: int = 0
    __dataflow__ = {"multi_tenant": True}  # noqa: RUF012
    __indexes__ = [{"fields": ["region", "number"], "unique": True}]  # noqa: RUF012


class Order:
    customer_id: int = Field(references="Customer", on_delete="cascade")
    total: int = 0
    __dataflow__ = {"multi_tenant": True}  # noqa: RUF012


class Tag:
    """A unique field whose name is nearly the tenant's; ids of the user's own."""

    id: str
    tenant: str = Field(unique=True)
    __dataflow__ = {"multi_tenant": True}  # noqa: RUF012


class Lease:
    """Not multi-tenant: its tenant is a field like any other."""

    tenant_id: str
    flat: int
    rent: int = 0
    __indexes__ = [{"fields": ["tenant_id", "flat"], "unique": True}]  # noqa: RUF012


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(database_url, Customer, Order, Tag, Lease) as bench:
        yield bench


@pytest.fixture
async def one(bench: Bench) -> Tenant:
    """Tenant t1, who has customer 1, with order 1."""
    tenant = Tenant(bench, "t1")
    await tenant.run("CustomerCreateNode", email="a@x", number=1)
    await tenant.run("OrderCreateNode", customer_id=1, total=10)
    return tenant


@pytest.fixture
async def two(bench: Bench, one: Tenant) -> Tenant:
    """Tenant t2, who has customer 2."""
    tenant = Tenant(bench, "t2")
    await tenant.run("CustomerCreateNode", email="b@x", number=1)
    return tenant


#: Inputs that every node of Customer takes, and that would touch customer 1.
INPUTS: dict[str, dict[str, Any]] = {
    "Create": {"email": "c@x", "number": 3},
    "Read": {"id": 1, "raise_on_not_found": False},
    "Update": {"id": 1, "region": "us"},
    "Delete": {"id": 1},
    "List": {},
    "Count": {},
    "Aggregate": {"aggregate": {"n": {"$count": "*"}}},
    "Upsert": {"where": {"email": "c@x"}, "create": {"number": 4}, "update": {"region": "us"}},
    "BulkCreate": {"data": [{"email": "d@x", "number": 5}]},
    "BulkUpdate": {"filter": {}, "fields": {"region": "us"}, "confirmed": True},
    "BulkDelete": {"ids": [1, 2]},
    "BulkUpsert": {"data": [{"email": "d@x", "number": 5}], "conflict_on": ["email"]},
}


@pytest.mark.parametrize("node", INPUTS)
async def test_a_node_needs_one_tenant(bench: Bench, one: Tenant, node: str) -> None:
    inputs, before = INPUTS[node], await one.rows("Customer")
    with pytest.raises(TenantError, match="names none"):
        await Tenant(bench, None).run(f"Customer{node}Node", **inputs)
    with pytest.raises(TenantError, match="another tenant"):
        await one.run(f"Customer{node}Node", tenant_id="t2", **inputs)
    assert await one.rows("Customer") == before
    await one.run(f"Customer{node}Node", tenant_id="t1", **inputs)


@pytest.mark.parametrize("data", [[], iter(())])
async def test_no_rows_need_a_tenant_too(bench: Bench, data: Any) -> None:
    with pytest.raises(TenantError):
        await bench.run("CustomerBulkCreateNode", data=data, on_error="continue")


async def test_the_node_may_name_the_tenant(bench: Bench, one: Tenant) -> None:
    assert (await bench.run("CustomerReadNode", id=1, tenant_id="t1"))["tenant_id"] == "t1"
    assert (await bench.run("CustomerReadNode", id=1, tenant_id="t2", raise_on_not_found=False))["found"] is False
    bench.check("CustomerReadNode", id=1, tenant_id="t1")


@pytest.mark.parametrize("tenant_id", ["", "x" * 65, 7, None, b"t1", ["t1"], "t\x001", "\ud800"])
async def test_a_tenant_is_short_text(bench: Bench, one: Tenant, tenant_id: Any) -> None:
    with pytest.raises(TypeMismatchError, match="1 to 64"):
        await bench.run("CustomerCountNode", tenant_id=tenant_id)
    with pytest.raises(TypeMismatchError, match="1 to 64"):
        bench.check("CustomerCountNode", tenant_id=tenant_id)


@pytest.mark.parametrize("name", ["T1", "t1 ", " t1", "ｔ1", "t1%", "t_", "' OR 1=1 --", "ŧ" * 64])
async def test_tenants_are_told_apart_by_every_character(bench: Bench, one: Tenant, name: str) -> None:
    other = Tenant(bench, name)
    assert await other.rows("Customer") == []
    row = await other.run("CustomerCreateNode", email="a@x", number=1)
    assert row["tenant_id"] == name
    assert [found["id"] for found in await other.rows("Customer")] == [row["id"]]
    assert len(await one.rows("Customer")) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"tenant_id": "t1"},
        {"tenant_id": {"$ne": "t2"}},
        {"tenant_id": {"$in": ["t1", "t3"]}},
        {"$or": [{"tenant_id": "t1"}, {"id": 1}]},
        {"$nor": [{"tenant_id": "t2"}]},
        {"$not": {"tenant_id": {"$eq": "t2"}}},
        {"$and": [{"$or": [{}, {"id": 1}]}, {"email": "a@x"}]},
        {"id": {"$lte": 1}},
        {"email": {"$like": "a%"}},
    ],
)
async def test_no_filter_reaches_another_tenant(two: Tenant, one: Tenant, asked: dict[str, Any]) -> None:
    assert await two.rows("Customer", filter=asked) == []
    assert await two.run("CustomerCountNode", filter=asked) == {"count": 0}
    assert await two.run("CustomerListNode", filter=asked, count_only=True) == {"count": 0}
    assert (await two.run("CustomerReadNode", filter=asked, raise_on_not_found=False))["found"] is False
    total = await two.run("CustomerAggregateNode", filter=asked, group_by="tenant_id", aggregate={"n": {"$count": "*"}})
    assert total["records"] == []
    assert (await two.run("CustomerUpdateNode", filter=asked, fields={"region": "us"}))["updated"] is False
    assert (await two.run("CustomerBulkUpdateNode", filter=asked, fields={"region": "us"}))["updated"] == 0
    assert (await two.run("CustomerDeleteNode", filter=asked))["deleted"] is False
    assert (await two.run("CustomerBulkDeleteNode", filter=asked, limit=5))["deleted"] == 0
    assert [row["region"] for row in await one.rows("Customer")] == ["eu"]


async def test_everything_is_everything_of_the_tenant(two: Tenant, one: Tenant) -> None:
    everything = {"$or": [{}, {"tenant_id": "t1"}]}
    assert [row["email"] for row in await two.rows("Customer", filter=everything)] == ["b@x"]
    with pytest.raises(InputError, match="matches everything, 1 rows"):
        await two.run("CustomerBulkDeleteNode", filter=everything)
    assert (await two.run("CustomerBulkDeleteNode", filter=everything, confirmed=True))["deleted"] == 1
    assert len(await one.rows("Customer")) == 1


async def test_another_tenants_id_is_not_there(two: Tenant, one: Tenant) -> None:
    assert await two.run("CustomerReadNode", id=1, raise_on_not_found=False) == {"id": 1, "found": False}
    assert await two.run("CustomerUpdateNode", id=1, region="us") == {"id": 1, "updated": False}
    assert (await two.run("CustomerDeleteNode", id=1))["deleted"] is False
    assert (await two.run("CustomerBulkUpdateNode", data=[{"id": 1, "region": "us"}]))["updated"] == 0
    assert (await two.run("CustomerBulkDeleteNode", ids=[1]))["deleted"] == 0
    assert (await two.run("CustomerBulkDeleteNode", data=[{"id": 1}]))["deleted"] == 0
    assert [row["region"] for row in await one.rows("Customer")] == ["eu"]


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("Create", {"id": 1, "email": "c@x", "number": 3}),
        ("Upsert", {"where": {"id": 1}, "create": {"email": "c@x", "number": 3}, "update": {"region": "us"}}),
        ("Upsert", {"where": {"id": 1}, "create": {"email": "c@x", "number": 3}}),
        ("BulkCreate", {"data": [{"id": 1, "email": "c@x", "number": 3}]}),
        ("BulkCreate", {"data": [{"id": 1, "email": "c@x", "number": 3}], "conflict_resolution": "skip",
                        "conflict_on": "id"}),
        ("BulkUpsert", {"data": [{"id": 1, "email": "c@x", "number": 3}]}),
    ],
)  # fmt: skip
async def test_another_tenants_id_is_taken(two: Tenant, one: Tenant, node: str, inputs: dict[str, Any]) -> None:
    before = await one.rows("Customer"), await two.rows("Customer")
    with pytest.raises(UniqueViolationError) as caught:
        await two.run(f"Customer{node}Node", **inputs)
    assert caught.value.context["field"] == "id"
    assert "t1" not in str(caught.value)
    assert (await one.rows("Customer"), await two.rows("Customer")) == before


async def test_unique_means_within_the_tenant(one: Tenant, two: Tenant) -> None:
    """The keys a@x and (eu, 2) are t1's."""
    await one.run("CustomerCreateNode", email="c@x", number=2)
    row = await two.run("CustomerCreateNode", email="a@x", number=2)
    with pytest.raises(UniqueViolationError) as caught:
        await two.run("CustomerCreateNode", email="a@x", number=3)
    assert caught.value.context["fields"] == ["email"]
    with pytest.raises(UniqueViolationError) as caught:
        await two.run("CustomerCreateNode", email="d@x", number=2)
    assert caught.value.context["fields"] == ["region", "number"]
    upserted = await two.run("CustomerUpsertNode", where={"email": "a@x"}, update={"region": "us"})
    assert (upserted["created"], upserted["record"]["id"]) == (False, row["id"])
    data = [{"email": "z@x", "region": "us", "number": 2}, {"email": "c@x", "number": 2}]
    result = await two.run(
        "CustomerBulkUpsertNode", data=data, conflict_on=["region", "number"], update_fields=["email"], return_ids=True
    )
    assert (result["inserted"], result["updated"], result["ids"][0]) == (1, 1, row["id"])
    assert [found["email"] for found in await one.rows("Customer")] == ["a@x", "c@x"]
    assert [found["email"] for found in await two.rows("Customer")] == ["b@x", "z@x", "c@x"]


@pytest.mark.parametrize("rule", ["update", "skip"])
async def test_upserts_by_generated_ids(two: Tenant, rule: str) -> None:
    data = [{"id": 2, "email": "n@x", "number": 8}, {"id": 90, "email": "m@x", "number": 9}]
    result = await two.run("CustomerBulkUpsertNode", data=data, conflict_resolution=rule)
    assert (result["inserted"], result["updated"] + result["skipped"]) == (1, 1)
    emails = {row["id"]: row["email"] for row in await two.rows("Customer")}
    assert emails == {2: "n@x" if rule == "update" else "b@x", 90: "m@x"}


async def test_a_key_may_name_the_tenant(one: Tenant) -> None:
    for where in ({"email": "a@x"}, {"email": "a@x", "tenant_id": "t1"}):
        assert (await one.run("CustomerUpsertNode", where=where))["record"]["id"] == 1
    named = await one.run("CustomerUpsertNode", where={"email": "a@x"}, conflict_on=["tenant_id", "email"])
    assert named["created"] is False
    data = [{"email": "a@x", "number": 1, "tenant_id": "t1", "region": "us"}]
    assert (await one.run("CustomerBulkUpsertNode", data=data, conflict_on=["email"]))["updated"] == 1


@pytest.mark.parametrize("given", [list, iter])
@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("BulkCreate", {"data": [{"email": "c@x"}, {"email": "d@x", "tenant_id": "t2"}]}),
        ("BulkCreate", {"data": [{"email": "c@x"}, {"email": "d@x", "tenant_id": None}]}),
        ("BulkCreate", {"data": [{"email": "c@x"}, {"email": "c@x", "tenant_id": "t2"}],
                        "conflict_resolution": "skip", "conflict_on": "email"}),
        ("BulkUpsert", {"data": [{"email": "c@x"}, {"email": "c@x", "tenant_id": "t2"}], "conflict_on": "email"}),
        ("BulkUpdate", {"data": [{"id": 2}, {"id": 1, "tenant_id": "t2"}, {"id": 1, "tenant_id": "t1"}]}),
        ("BulkDelete", {"data": [{"id": 1}, {"id": 2, "tenant_id": "t2"}]}),
    ],
)  # fmt: skip
async def test_rows_of_another_tenant_are_refused(
    one: Tenant, node: str, inputs: dict[str, Any], given: Callable[[Any], Any]
) -> None:
    before = await one.rows("Customer")
    inputs = inputs | {"data": given(inputs["data"])}
    with pytest.raises(TenantError, match=r"^\[DF-110\] Row 1: ") as caught:
        await one.run(f"Customer{node}Node", **inputs)
    assert caught.value.context["row"] == 1
    assert await one.rows("Customer") == before


async def test_with_continue_another_tenants_row_is_left_out(one: Tenant) -> None:
    data = [{"email": "c@x", "number": 2}, {"email": "d@x", "tenant_id": "t2"}]
    result = await one.run("CustomerBulkCreateNode", data=data, on_error="continue")
    assert (result["inserted"], [error["row"] for error in result["errors"]]) == (1, [1])


@pytest.mark.parametrize(
    ("node", "inputs", "error"),
    [
        ("Update", {"id": 1, "fields": {"tenant_id": "t2"}}, UpdateParameterError),
        ("Update", {"id": 1, "fields": {"tenant_id": "t1", "region": "us"}}, UpdateParameterError),
        ("Update", {"filter": {"id": 1}, "fields": {"tenant_id": {"$set": "t2"}}}, UpdateParameterError),
        ("BulkUpdate", {"filter": {"id": 1}, "fields": {"tenant_id": "t2"}}, UpdateParameterError),
        ("Upsert", {"where": {"email": "a@x"}, "update": {"tenant_id": "t2"}}, UpdateParameterError),
        ("Upsert", {"where": {"email": "a@x", "tenant_id": "t2"}}, TenantError),
        ("Upsert", {"where": {"email": "c@x"}, "create": {"tenant_id": "t2"}}, TenantError),
        (
            "BulkUpsert",
            {"data": [], "conflict_on": "email", "update_fields": ["tenant_id"]},
            InputError,
        ),
    ],
)
async def test_no_row_changes_its_tenant(
    one: Tenant, node: str, inputs: dict[str, Any], error: type[Exception]
) -> None:
    before = await one.rows("Customer")
    with pytest.raises(error):
        await one.run(f"Customer{node}Node", **inputs)
    assert await one.rows("Customer") == before


async def test_references_stay_within_the_tenant(two: Tenant, one: Tenant) -> None:
    with pytest.raises(ForeignKeyViolationError) as caught:
        await two.run("OrderCreateNode", customer_id=1)
    assert caught.value.context["fields"] == ["customer_id"]
    with pytest.raises(ForeignKeyViolationError):
        await two.run("OrderBulkCreateNode", data=[{"customer_id": 2}, {"customer_id": 1}])
    assert await two.rows("Order") == []
    await two.run("OrderCreateNode", customer_id=2)
    assert (await two.run("CustomerDeleteNode", id=2))["deleted"] is True
    assert (await two.rows("Order"), len(await one.rows("Order"))) == ([], 1)


async def test_a_field_called_tenant(bench: Bench) -> None:
    for name in ("t1", "t2"):
        await Tenant(bench, name).run("TagCreateNode", id=f"of {name}", tenant="x")
    with pytest.raises(UniqueViolationError):
        await Tenant(bench, "t1").run("TagCreateNode", id="b", tenant="x")


async def test_a_tenant_id_of_the_users_own_is_a_field(bench: Bench) -> None:
    data = [{"tenant_id": "ann", "flat": 1}, {"tenant_id": "bob", "flat": 1}]
    await bench.run("LeaseBulkCreateNode", data=data)
    upserted = await bench.run("LeaseUpsertNode", where={"tenant_id": "bob", "flat": 1}, update={"rent": 5})
    assert upserted["record"]["rent"] == 5
    with pytest.raises(InputError, match="no unique index"):
        await bench.run("LeaseUpsertNode", where={"flat": 1}, create={"tenant_id": "cid"})
    assert (await Tenant(bench, "t1").run("LeaseUpdateNode", id=1, tenant_id="cid"))["tenant_id"] == "cid"


async def test_a_reference_cannot_be_set_to_none(database_url: str) -> None:
    class Loose:
        customer_id: int | None = Field(references="Customer", on_delete="set null")
        __dataflow__ = {"multi_tenant": True}  # noqa: RUF012

    async with open_bench(database_url, Customer, Loose) as bench:
        with pytest.raises(ModelError, match="would set the tenant to None"):
            await bench.schema.create_all()


# Through the runtimes


def count_workflow(**params: Any) -> WorkflowBuilder:
    workflow = WorkflowBuilder()
    workflow.add_node("NoteCreateNode", "create", {"text": "x", **params})
    workflow.add_node("NoteCountNode", "count", params)
    workflow.add_connection("create", "id", "count", "input")
    return workflow


async def test_the_run_names_the_tenant(database_url: str) -> None:
    async with DataFlow(database_url, multi_tenant=True) as db:

        @db.model
        class Note:
            text: str

        @db.model
        class Shared:
            text: str
            __dataflow__ = {"multi_tenant": False}  # noqa: RUF012

        assert "tenant_id" in db.models["Note"].by_name
        assert "tenant_id" not in db.models["Shared"].by_name
        runtime = AsyncLocalRuntime()
        workflow = count_workflow().build()
        for tenant, count in [("t1", 1), ("t1", 2), ("t2", 1)]:
            results, _ = await runtime.execute_workflow_async(workflow, tenant_id=tenant)
            assert (results["create"]["tenant_id"], results["count"]) == (tenant, {"count": count})
        results, _ = await runtime.execute_workflow_async(count_workflow(tenant_id="t2"))
        assert results["count"] == {"count": 2}
        with pytest.raises(WorkflowExecutionError) as caught:
            await runtime.execute_workflow_async(workflow)
        assert caught.value.error_code == TenantError.code
        with pytest.raises(WorkflowExecutionError) as caught:
            await runtime.execute_workflow_async(workflow, {"count": {"tenant_id": "t2"}}, tenant_id="t1")
        assert caught.value.error_code == TenantError.code
        with pytest.raises(TypeMismatchError):
            await runtime.execute_workflow_async(workflow, tenant_id="")


def test_the_sync_runtime_names_it_too() -> None:
    with DataFlow(":memory:") as db:

        @db.model
        class Note:
            text: str
            __dataflow__ = {"multi_tenant": True}  # noqa: RUF012

        results, _ = LocalRuntime().execute(count_workflow().build(), tenant_id="t1")
        assert results["create"]["tenant_id"] == "t1"
