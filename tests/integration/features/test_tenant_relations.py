"""Filters that follow relations see the run's own tenant's rows only, whomever a row points to."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dataflow.errors import TenantError
from tests.integration.bench import Bench, open_bench
from tests.integration.features.tenants import context

TENANTS = ("t1", "t2")
CITIES = ["Bonn", "Lyon", None]
Row = dict[str, Any]
Matches = Callable[[Row], bool]


class Publisher:
    __dataflow__ = {"multi_tenant": True, "soft_delete": True}  # noqa: RUF012

    id: str
    city: str | None = None


class Author:
    __dataflow__ = {"multi_tenant": True, "soft_delete": True}  # noqa: RUF012

    id: str
    city: str | None = None
    #: No foreign keys: nothing stops a row from pointing to another tenant's.
    publisher_id: str | None = None
    author_id: str | None = None


class Shelf:
    """Everybody's."""

    id: str
    author_id: str | None = None


class Library:
    """Rows of both tenants, and what a run of one of them may see."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.random = bench, random.Random(seed)
        self.publishers: dict[str, dict[str, Row]] = {tenant: {} for tenant in TENANTS}
        self.authors: dict[str, dict[str, Row]] = {tenant: {} for tenant in TENANTS}

    async def fill(self) -> None:
        everybody = [f"{tenant}-{kind}{number}" for tenant in TENANTS for kind in "pa" for number in range(6)]
        for tenant in TENANTS:
            for number in range(6):
                row = {"id": f"{tenant}-p{number}", "city": self.random.choice(CITIES)}
                self.publishers[tenant][row["id"]] = row
            for number in range(6):
                row = {"id": f"{tenant}-a{number}", "city": self.random.choice(CITIES)}
                row |= {name: self.random.choice([*everybody, None]) for name in ("publisher_id", "author_id")}
                self.authors[tenant][row["id"]] = row
            run = {"context": context(tenant)}
            await self.bench.run("PublisherBulkCreateNode", data=list(self.publishers[tenant].values()), **run)
            await self.bench.run("AuthorBulkCreateNode", data=list(self.authors[tenant].values()), **run)
            for model, rows in (("Publisher", self.publishers[tenant]), ("Author", self.authors[tenant])):
                gone = self.random.choice(list(rows))
                await self.bench.run(f"{model}DeleteNode", id=gone, **run)
                del rows[gone]

    def condition(self, tenant: str, model: str, depth: int = 0) -> tuple[Row, Matches]:
        """A filter on rows of a model, and its meaning."""
        city, key = (
            self.random.choice(CITIES),
            f"{self.random.choice(TENANTS)}-{model[0].lower()}{self.random.randint(0, 5)}",
        )
        leaves: list[tuple[Row, Matches]] = [
            ({"city": city}, lambda row: row["city"] == city),
            ({"id": {"$ne": key}}, lambda row: row["id"] != key),
            ({"tenant_id": {"$nin": [tenant]}}, lambda row: False),
        ]
        if depth > 2:
            return self.random.choice(leaves)
        inner, holds = self.condition(tenant, model, depth + 1)
        leaves.append(({"$not": inner}, lambda row: not holds(row)))
        leaves.append(({"$or": [inner, {"city": city}]}, lambda row: holds(row) or row["city"] == city))
        if model == "Author":
            name = self.random.choice(["publisher", "author"])
            seen = (self.publishers if name == "publisher" else self.authors)[tenant]
            related, fits = self.condition(tenant, name.title(), depth + 1)
            leaves += 3 * [
                ({name: related}, lambda row: (found := seen.get(row[f"{name}_id"])) is not None and fits(found)),
                ({name: {"$exists": False}}, lambda row: row[f"{name}_id"] not in seen),
            ]
        return self.random.choice(leaves)


@pytest.fixture
async def bench(ordinary_url: str) -> AsyncIterator[Bench]:
    async with open_bench(ordinary_url, Publisher, Author, Shelf) as bench:
        yield bench


@pytest.mark.parametrize("seed", [1, 2])
async def test_related_rows_are_the_tenants_own(bench: Bench, seed: int) -> None:
    library = Library(bench, seed)
    await library.fill()
    matched = 0
    for number in range(120):
        tenant = library.random.choice(TENANTS)
        conditions, matches = library.condition(tenant, "Author")
        run: Row = {"context": context(tenant), "filter": conditions}
        expected = sorted(key for key, row in library.authors[tenant].items() if matches(row))
        listed = await bench.run("AuthorListNode", sort="id", **run)
        assert [row["id"] for row in listed["records"]] == expected, conditions
        assert await bench.run("AuthorCountNode", **run) == {"count": len(expected)}, conditions
        counted = await bench.run("AuthorAggregateNode", aggregate={"n": {"$count": "*"}}, **run)
        assert counted["records"] == [{"n": len(expected)}], conditions
        matched += len(expected)
        city = f"city {number}"
        changed = await bench.run("AuthorBulkUpdateNode", fields={"city": city}, confirmed=True, **run)
        assert changed["updated"] == len(expected), conditions
        for key in expected:
            library.authors[tenant][key]["city"] = city
    assert matched > 100
    tenant = library.random.choice(TENANTS)
    conditions = {"$not": {"publisher": {"$exists": True}}}
    gone = [
        key for key, row in library.authors[tenant].items() if row["publisher_id"] not in library.publishers[tenant]
    ]
    deleted = await bench.run("AuthorBulkDeleteNode", filter=conditions, soft_delete=False, context=context(tenant))
    assert deleted["deleted"] == len(gone)


async def test_rows_of_nobody_lead_to_the_tenants_rows(bench: Bench) -> None:
    """A model without tenants may point to one with tenants: the run says whose rows are meant."""
    for tenant in TENANTS:
        await bench.run("AuthorCreateNode", id=f"{tenant}-a", city="Bonn", context=context(tenant))
        await bench.run("ShelfCreateNode", id=tenant, author_id=f"{tenant}-a")
    for tenant in TENANTS:
        listed = await bench.run("ShelfListNode", filter={"author": {"city": "Bonn"}}, context=context(tenant))
        assert [row["id"] for row in listed["records"]] == [tenant]
    with pytest.raises(TenantError):
        await bench.run("ShelfListNode", filter={"author": {"city": "Bonn"}})
    assert (await bench.run("ShelfCountNode"))["count"] == 2
