"""Filters through relations: each meaning on every database, then random ones against a few lines of Python."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow.errors import TenantError
from dataflow.models import Field
from dataflow.nodes.interface import RunContext
from tests.integration.bench import Bench, open_bench


class Company:
    name: str
    meta: dict | None = None


class Customer:
    email: str | None = None
    score: int | None = None
    company_id: int | None = None
    __dataflow__ = {"soft_delete": True}  # noqa: RUF012


class Order:
    total: int = 0
    customer_id: int | None = None
    __dataflow__ = {"soft_delete": True}  # noqa: RUF012


class Employee:
    name: str
    level: int = 0
    boss_id: int | None = Field(None, references="Employee")
    team_id: int | None = None


class Team:
    name: str
    lead_id: int | None = Field(None, references="Employee")


class Box:
    """Its table has the name that related rows have elsewhere."""

    __tablename__ = "R1"
    name: str
    box_id: int | None = None
    label_id: str | None = None


class Label:
    __tablename__ = "q1"
    id: str
    text: str
    box_id: int | None = None


class Account:
    name: str
    __dataflow__ = {"multi_tenant": True}  # noqa: RUF012


class Payment:
    amount: int
    account_id: int | None = None
    __dataflow__ = {"multi_tenant": True}  # noqa: RUF012


class Audit:
    """Not multi-tenant itself."""

    account_id: int | None = None


@pytest.fixture
async def orders(database_url: str) -> AsyncIterator[Bench]:
    """Orders 1 to 5: of ann at acme, of bob at no company, of a deleted one, of nobody, of one who never was."""
    async with open_bench(database_url, Order, Customer, Company) as bench:
        await bench.run("CompanyCreateNode", name="acme", meta={"city": "Rome", "tags": ["big"]})
        await bench.run("CustomerCreateNode", email="ann@acme.example", score=5, company_id=1)
        await bench.run("CustomerCreateNode", email=None, score=None)
        await bench.run("CustomerCreateNode", email="gone@acme.example", score=9, company_id=1)
        await bench.run("CustomerDeleteNode", id=3)
        for total, customer in enumerate([1, 2, 3, None, 99], 1):
            await bench.run("OrderCreateNode", total=total, customer_id=customer)
        yield bench


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ({"customer": {"email": "ann@acme.example"}}, [1]),
        ({"customer.email": "ann@acme.example"}, [1]),
        ({"customer": {"email": {"$like": "%@acme.%"}}}, [1]),
        ({"customer": {"email": {"$ne": "ann@acme.example"}}}, [2]),
        ({"customer": {"email": None}}, [2]),
        ({"customer.email": {"$in": [None, "ann@acme.example"]}}, [1, 2]),
        ({"customer": {"score": {"$gt": 1}, "email": {"$startswith": "a"}}}, [1]),
        ({"customer": {"$or": [{"score": 5}, {"score": None}]}}, [1, 2]),
        ({"customer": {"$not": {"score": 5}}}, [2]),
        ({"$not": {"customer": {"score": 5}}}, [2, 3, 4, 5]),
        ({"$nor": [{"customer.score": 5}, {"total": 2}]}, [3, 4, 5]),
        ({"customer": None}, [3, 4, 5]),
        ({"customer": {"$null": True}}, [3, 4, 5]),
        ({"customer": {"$null": False}}, [1, 2]),
        ({"customer": {"$exists": True}}, [1, 2]),
        ({"customer.$exists": False}, [3, 4, 5]),
        ({"$not": {"customer": None}}, [1, 2]),
        ({"customer": {"$exists": True, "email": None}}, [2]),
        ({"customer": {"$exists": False, "email": None}}, []),
        ({"customer": {"score": {"$nin": []}}}, [1, 2]),
        ({"customer": {"score": {"$in": []}}}, []),
        ({"$not": {"customer": {"score": {"$in": []}}}}, [1, 2, 3, 4, 5]),
        ({"customer": {"company": {"name": "acme"}}}, [1]),
        ({"customer.company.name": "acme"}, [1]),
        ({"customer.company": None}, [2]),
        ({"customer": {"company": {"meta": {"city": "Rome", "tags.0": "big"}}}}, [1]),
        ({"customer.company.meta.city": {"$ne": "Oslo"}}, [1]),
        ({"customer_id": {"$gt": 2}, "customer": None}, [3, 5]),
        ({"$or": [{"customer.score": 5}, {"customer.company.name": "x"}, {"total": 4}]}, [1, 4]),
    ],
)
async def test_a_relation_asks_for_a_row_that_is_there_and_matches(orders, conditions, wanted):
    assert await orders.ids("Order", conditions) == wanted


async def test_including_what_was_deleted_includes_deleted_relations(orders):
    conditions = {"customer.score": {"$gte": 5}}
    assert await orders.ids("Order", conditions) == [1]
    assert await orders.ids("Order", conditions, include_deleted=True) == [1, 3]
    assert await orders.run("OrderCountNode", filter=conditions) == {"count": 1}


async def test_changes_follow_relations(orders):
    conditions = {"customer": {"company.name": "acme"}}
    changed = await orders.run("OrderUpdateNode", filter=conditions, fields={"total": 100})
    assert (changed["id"], changed["total"]) == (1, 100)
    done = await orders.run("OrderBulkUpdateNode", filter={"customer": None}, fields={"total": {"$inc": 10}}, limit=2)
    assert done["updated"] == 2
    assert await orders.ids("Order", {"total": {"$in": [13, 14]}}) == [3, 4]
    done = await orders.run("OrderBulkDeleteNode", filter={"customer.email": None})
    assert done["deleted"] == 1
    totals = await orders.run(
        "OrderAggregateNode", filter={"customer.$exists": False}, aggregate={"sum": {"$sum": "total"}}
    )
    assert totals["records"] == [{"sum": 32}]


@pytest.fixture
async def staff(database_url: str) -> AsyncIterator[Bench]:
    """1 is the boss of 2, who is the boss of 3 and 4 and leads their team."""
    async with open_bench(database_url, Employee, Team) as bench:
        for name, boss in [("top", None), ("mid", 1), ("low", 2), ("new", 2)]:
            await bench.run("EmployeeCreateNode", name=name, boss_id=boss, team_id=None if name == "top" else 1)
        await bench.run("TeamCreateNode", name="all", lead_id=2)
        yield bench


async def test_a_model_may_relate_to_itself(staff):
    assert await staff.ids("Employee", {"boss.name": "mid"}) == [3, 4]
    assert await staff.ids("Employee", {"boss": {"boss": {"name": "top"}}}) == [3, 4]
    assert await staff.ids("Employee", {"boss.boss": None}) == [2]
    assert await staff.ids("Employee", {"boss": None}) == [1]
    assert await staff.ids("Employee", {"boss": {"name": {"$ne": "top"}}, "name": "low"}) == [3]
    assert await staff.ids("Employee", {"team.lead.boss.name": "top"}) == [2, 3, 4]
    assert await staff.ids("Team", {"lead.boss.boss": None}) == [1]


@pytest.mark.parametrize(
    "conditions", [{"boss.name": "mid"}, {"boss.boss.name": "top"}, {"boss": {"boss": {"boss": None}}}]
)
@pytest.mark.parametrize("limit", [None, 1])
async def test_changes_may_look_at_the_table_they_change(staff, conditions, limit):
    done = await staff.run("EmployeeBulkUpdateNode", filter=conditions, fields={"level": 7}, limit=limit)
    assert done["updated"] == (limit or 2)
    assert await staff.ids("Employee", {"level": 7}) == [3, 4][:limit]
    done = await staff.run("EmployeeBulkDeleteNode", filter=conditions, limit=limit)
    assert done["deleted"] == (limit or 2)
    assert await staff.ids("Employee", {}) == [1, 2, 4][: 3 if limit else 2]


async def test_changes_may_look_at_their_table_through_another(staff):
    conditions = {"team.lead.name": "mid", "team.lead.boss": {"$exists": True}, "boss.name": "mid"}
    done = await staff.run("EmployeeBulkUpdateNode", filter=conditions, fields={"level": 7})
    assert done["updated"] == 2
    done = await staff.run("EmployeeBulkDeleteNode", filter={**conditions, "$not": {"team.lead.boss": None}})
    assert done["deleted"] == 2


async def test_no_name_of_a_table_is_in_the_way(database_url):
    async with open_bench(database_url, Box, Label) as bench:
        await bench.run("LabelCreateNode", id="a ", text="x")
        await bench.run("LabelCreateNode", id="a", text="y", box_id=1)
        for box, label in [(None, "a"), (1, "a "), (2, "A"), (3, None)]:
            await bench.run("BoxCreateNode", name="box", box_id=box, label_id=label)
        assert await bench.ids("Box", {"label.text": "x"}) == [2]
        assert await bench.ids("Box", {"label": None}) == [3, 4]
        assert await bench.ids("Box", {"box.label.text": "y"}) == [2]
        assert await bench.ids("Box", {"box.box.label": {"box.name": "box"}}) == [3]
        assert await bench.ids("Label", {"box": {"label.text": "y"}}) == ["a"]
        done = await bench.run("BoxBulkUpdateNode", filter={"box.box.box": {"$exists": True}}, fields={"name": "deep"})
        assert done["updated"] == 1
        assert await bench.ids("Box", {"name": "deep"}) == [4]


async def test_rows_of_another_tenant_are_not_there(database_url):
    mine, theirs = (RunContext(run_id="run", node_id="node", tenant_id=name) for name in ("mine", "theirs"))
    async with open_bench(database_url, Payment, Account, Audit) as bench:
        account = await bench.run("AccountCreateNode", context=mine, name="same")
        other = await bench.run("AccountCreateNode", context=theirs, name="same")
        for context in (mine, theirs):
            for held in (account["id"], other["id"]):
                await bench.run("PaymentCreateNode", context=context, amount=1, account_id=held)
        for held in (account["id"], other["id"]):
            await bench.run("AuditCreateNode", account_id=held)
        by_name = {"account.name": "same"}
        assert await bench.ids("Payment", by_name, context=mine) == [1]
        assert await bench.ids("Payment", {"account": None}, context=mine) == [2]
        assert await bench.ids("Payment", {"$not": by_name}, context=theirs) == [3]
        assert await bench.ids("Payment", by_name, context=theirs) == [4]
        assert await bench.ids("Audit", by_name, context=mine) == [1]
        assert await bench.ids("Audit", {"account": None}, context=theirs) == [1]
        done = await bench.run("PaymentBulkUpdateNode", context=mine, filter=by_name, fields={"amount": 5})
        assert done["updated"] == 1
        with pytest.raises(TenantError):
            await bench.ids("Audit", by_name)


# Random filters.


class Author:
    """Writes random rows, and filters that stay near what they hold."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def employee(self, number: int) -> dict[str, Any]:
        return {
            "name": self.random.choice("abc"),
            "level": self.random.randint(0, 3),
            "boss_id": self.random.choice([None, *range(1, number)]),
            "team_id": self.random.choice([None, 1, 2, 3, 4]),
        }

    def conditions(self, model: str, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.random.choice([1, 1, 2])):
            draw = self.random.random()
            if depth < 3 and draw < 0.2:
                parts = [self.conditions(model, depth + 1) for _ in range(self.random.randint(1, 2))]
                found[self.random.choice(["$or", "$nor"])] = parts
            elif depth < 3 and draw < 0.3:
                found["$not"] = self.conditions(model, depth + 1)
            elif depth < 3 and draw < 0.75:
                name = self.random.choice(list(RELATIONS[model]))
                found[name] = self.related(RELATIONS[model][name][0], depth)
            elif model == "Employee" and draw < 0.9:
                found["level"] = {self.random.choice(["$ne", "$gt", "$lt"]): self.random.randint(0, 3)}
            else:
                found["name"] = self.random.choice("abc")
        return found

    def related(self, model: str, depth: int) -> Any:
        draw = self.random.random()
        if draw < 0.15:
            return None
        if draw < 0.3:
            return {self.random.choice(["$null", "$exists"]): self.random.choice([True, False])}
        return self.conditions(model, depth + 1)


RELATIONS = {
    "Employee": {"boss": ("Employee", "boss_id"), "team": ("Team", "team_id")},
    "Team": {"lead": ("Employee", "lead_id")},
}
Tables = dict[str, dict[int, dict[str, Any]]]


def matches(conditions: dict[str, Any], model: str, row: dict[str, Any], tables: Tables) -> bool:
    for name, condition in conditions.items():
        if name == "$or":
            holds = any(matches(part, model, row, tables) for part in condition)
        elif name == "$nor":
            holds = not any(matches(part, model, row, tables) for part in condition)
        elif name == "$not":
            holds = not matches(condition, model, row, tables)
        elif name in RELATIONS[model]:
            target, held = RELATIONS[model][name]
            holds = related_matches(condition, target, tables[target].get(row[held]), tables)
        elif isinstance(condition, dict):
            (operator, operand), *_ = condition.items()
            value = row[name]
            holds = {"$ne": value != operand, "$gt": value > operand, "$lt": value < operand}[operator]
        else:
            holds = row[name] == condition
        if not holds:
            return False
    return True


def related_matches(condition: Any, model: str, row: dict[str, Any] | None, tables: Tables) -> bool:
    if condition is None:
        return row is None
    if "$null" in condition or "$exists" in condition:
        return (row is not None) == condition.get("$exists", not condition.get("$null", False))
    return row is not None and matches(condition, model, row, tables)


async def test_random_filters_through_relations(database_url):
    author = Author(seed=20261122)
    async with open_bench(database_url, Employee, Team) as bench:
        employees = [await bench.run("EmployeeCreateNode", **author.employee(number)) for number in range(1, 41)]
        leads = [3, None, 17]
        teams = [
            await bench.run("TeamCreateNode", name=name, lead_id=lead) for name, lead in zip("abc", leads, strict=True)
        ]
        tables = {
            "Employee": {row["id"]: row for row in employees},
            "Team": {row["id"]: row for row in teams},
        }
        selective = 0
        for _ in range(400):
            conditions = author.conditions("Employee")
            wanted = [row["id"] for row in employees if matches(conditions, "Employee", row, tables)]
            assert await bench.ids("Employee", conditions) == wanted, conditions
            selective += 0 < len(wanted) < len(employees)
        assert selective > 200
