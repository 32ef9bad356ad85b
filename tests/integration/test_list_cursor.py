"""Pages by cursor hold the same rows, in the same order, as the list without pages, on every database."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError
from dataflow.models import Field
from dataflow.nodes.generated.explain import explain_node
from dataflow.nodes.interface import RunContext
from tests.integration.bench import Bench, open_bench
from tests.integration.declared import Secret


class Status(Enum):
    NEW = "new"
    SOLD = "sold"


class Everything:
    name: str
    rank: int | None = None
    weight: float | None = None
    active: bool | None = None
    price: Decimal | None = Field(None, precision=20, scale=2)
    status: Status | None = None
    sold_at: datetime | None = None
    day: date | None = None
    hour: time | None = None
    waited: timedelta | None = None
    token: UUID | None = None
    raw: bytes | None = None


class Coded:
    id: UUID
    name: str


class Long:
    text: str
    raw: bytes
    code: str = Field(max_length=100)


class Ranked:
    rank: int | None = Field(None, index=True)


START = datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
#: Values of each field, in an order that is not theirs.
VALUES: dict[str, list[Any]] = {
    "name": ["b", "a", "B", "é", "a ", "🎈", "", "x" * 300],
    "rank": [3, -1, 2**40, 0],
    "weight": [0.1, -2.5, 1e300, 0.1 + 0.2],
    "active": [True, False],
    "price": [Decimal("9.50"), Decimal("10.00"), Decimal("-1.25"), Decimal("123456789012345678.99")],
    "status": [Status.SOLD, Status.NEW],
    "sold_at": [START, START - timedelta(microseconds=1), datetime(1970, 1, 1, tzinfo=UTC)],
    "day": [date(2026, 2, 1), date(1999, 12, 31)],
    "hour": [time(23, 59, 59, 999999), time(0), time(12, 30)],
    "waited": [timedelta(days=3), timedelta(microseconds=1), timedelta(seconds=-1)],
    "token": [UUID(int=7), UUID(int=2**127), UUID(int=0)],
    "raw": [b"\x00\xff", b"", b"a"],
}
COUNT = 23


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    chosen = random.Random(7)
    rows = [
        {name: chosen.choice([*values, None] if name != "name" else values) for name, values in VALUES.items()}
        for _ in range(COUNT)
    ]
    async with open_bench(database_url, Everything, Coded, Long, Ranked, Secret) as bench:
        await bench.run("EverythingBulkCreateNode", data=rows)
        yield bench


async def pages(bench: Bench, node_type: str, limit: int, **inputs: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    found = [await bench.run(node_type, limit=limit, **inputs)]
    while found[-1]["has_more"]:
        assert found[-1]["count"] == limit
        found.append(await bench.run(node_type, limit=limit, cursor=found[-1]["next_cursor"], **inputs))
    assert found[-1]["next_cursor"] is None
    return found


def ids(found: list[dict[str, Any]]) -> list[Any]:
    return [record["id"] for page in found for record in page["records"]]


SORTS = [
    None,
    "id",
    *VALUES,
    *(f"-{name}" for name in VALUES),
    ["status", "-rank"],
    ["-active", "status", "-name"],
    ["day", "hour", "-price", "id"],
    ["-token", "raw", "-id", "name"],
]


@pytest.mark.parametrize("limit", [1, 4, 22, 23])
async def test_pages_hold_every_row_once_in_order(bench: Bench, limit: int) -> None:
    for sort in SORTS:
        whole = await bench.run("EverythingListNode", sort=sort)
        assert whole["next_cursor"] is None
        assert ids(await pages(bench, "EverythingListNode", limit, sort=sort)) == ids([whole]), sort


async def test_pages_of_a_filter(bench: Bench) -> None:
    conditions = {"$or": [{"rank": {"$in": [3, 0, None]}}, {"name": {"$gt": "a"}}]}
    whole = await bench.run("EverythingListNode", filter=conditions, sort="-rank")
    found = await pages(bench, "EverythingListNode", 3, filter=conditions, sort="-rank", with_total=True)
    assert ids(found) == ids([whole])
    assert {page["total"] for page in found} == {whole["count"]}
    assert all(page["offset"] == 0 for page in found)


async def test_sort_keys_that_are_not_asked_for_are_left_out(bench: Bench) -> None:
    whole = await bench.run("EverythingListNode", sort=["-day", "hour"])
    found = await pages(bench, "EverythingListNode", 5, sort=["-day", "hour"], fields=["name"])
    records = [record for page in found for record in page["records"]]
    assert records == [{"name": record["name"]} for record in whole["records"]]


async def test_fields_and_limit_may_change_from_page_to_page(bench: Bench) -> None:
    first = await bench.run("EverythingListNode", limit=2, offset=3, fields=["name"])
    rest = await bench.run("EverythingListNode", limit=100, fields=["id"], cursor=first["next_cursor"])
    assert ids([rest]) == list(range(COUNT - 5, 0, -1))


async def test_a_page_of_no_rows_goes_nowhere(bench: Bench) -> None:
    assert (await bench.run("EverythingListNode", limit=0))["next_cursor"] is None
    cursor = (await bench.run("EverythingListNode", limit=2))["next_cursor"]
    assert (await bench.run("EverythingListNode", limit=0, cursor=cursor))["next_cursor"] == cursor


async def test_ids_that_are_not_numbers(bench: Bench) -> None:
    rows = [{"id": UUID(int=number * 7919 % 101), "name": str(number % 3)} for number in range(1, 30)]
    await bench.run("CodedBulkCreateNode", data=rows)
    for sort in (None, "id", "-name"):
        whole = await bench.run("CodedListNode", sort=sort)
        assert ids(await pages(bench, "CodedListNode", 4, sort=sort)) == ids([whole])


@pytest.mark.parametrize("length", [0, 255, 2047, 2048, 2049, 5000])
async def test_texts_that_differ_far_behind(bench: Bench, length: int) -> None:
    tails = [str(number * 7 % 10) for number in range(10)]
    rows = [{"text": "é" * length + tail, "raw": b"\xff" * length + tail.encode(), "code": tail} for tail in tails]
    await bench.run("LongBulkCreateNode", data=rows)
    for sort in ("text", "-text", "raw", "-raw", ["code", "text"]):
        whole = await bench.run("LongListNode", sort=sort)
        assert ids(await pages(bench, "LongListNode", 3, sort=sort)) == ids([whole]), sort
        if length < 2048:
            assert [record["code"] for record in whole["records"]] == sorted(tails, reverse="-" in sort)


@pytest.mark.parametrize(
    "other",
    [
        {"filter": {"id": {"$gt": 1}}},
        {"filter": {"id": {"$gte": 0}}},
        {"filter": {}},
        {"sort": "name"},
        {"sort": ["-name", "created_at"]},
        {"include_deleted": True},
    ],
)
async def test_a_cursor_belongs_to_its_list(bench: Bench, other: dict[str, Any]) -> None:
    for row in ("a", "b", "c"):
        await bench.run("SecretCreateNode", name=row, tenant_id="a")
    asked = {"filter": {"id": {"$gt": 0}}, "sort": "-name", "limit": 1, "tenant_id": "a"}
    cursor = (await bench.run("SecretListNode", **asked))["next_cursor"]
    assert (await bench.run("SecretListNode", **asked, cursor=cursor))["records"][0]["name"] == "b"
    with pytest.raises(InputError, match="belongs to another list"):
        await bench.run("SecretListNode", **{**asked, **other}, cursor=cursor)


async def test_a_cursor_belongs_to_its_tenant_and_model(bench: Bench) -> None:
    for tenant in ("a", "b"):
        for name in ("x", "y", "z"):
            await bench.run("SecretCreateNode", name=name, tenant_id=tenant)
    cursor = (await bench.run("SecretListNode", tenant_id="a", limit=1))["next_cursor"]
    context = RunContext("run", "node", tenant_id="a")
    assert ids([await bench.run("SecretListNode", context=context, cursor=cursor)]) == [2, 1]
    with pytest.raises(InputError, match="belongs to another list"):
        await bench.run("SecretListNode", tenant_id="b", cursor=cursor)
    with pytest.raises(InputError, match="belongs to another list"):
        await bench.run("EverythingListNode", cursor=cursor)


async def test_what_is_no_cursor(bench: Bench) -> None:
    cursor = (await bench.run("EverythingListNode", limit=1))["next_cursor"]
    for wrong in ("abc", "", cursor[:-1], cursor[1:], cursor.swapcase(), 5, cursor.encode()):
        with pytest.raises(InputError, match="ursor"):
            await bench.run("EverythingListNode", cursor=wrong)
        with pytest.raises(InputError, match="ursor"):
            bench.check("EverythingListNode", cursor=wrong)
    with pytest.raises(InputError, match="cursor and offset both"):
        await bench.run("EverythingListNode", cursor=cursor, offset=1)
    assert (await bench.run("EverythingListNode", cursor=None, limit=1))["next_cursor"] == cursor
    bench.check("EverythingListNode", cursor=cursor)


async def test_warm_pages_compile_nothing(bench: Bench) -> None:
    plans = bench.nodes["EverythingListNode"].binding.rows.plans  # type: ignore[attr-defined]
    await pages(bench, "EverythingListNode", 2, sort="-rank")
    known = len(plans)
    assert known <= 4, "the first page, those after a value, the first without one, and those after NULL"
    await pages(bench, "EverythingListNode", 5, sort="-rank")
    assert len(plans) == known


@pytest.mark.parametrize("sort", ["-id", "name", ["-rank", "id"]])
async def test_rows_that_stay_come_once_while_others_come_and_go(bench: Bench, sort: Any) -> None:
    rows = [{"name": f"stays {number % 40}", "rank": number % 7 or None} for number in range(1000)]
    staying = set((await bench.run("EverythingBulkCreateNode", data=rows, return_ids=True))["ids"])
    staying |= set(range(1, COUNT + 1))
    reading = asyncio.Event()

    async def disturb(seed: int) -> None:
        chosen, own = random.Random(seed), []
        while not reading.is_set():
            row = {"name": f"goes {chosen.random()}", "rank": chosen.choice([None, 1, 5])}
            if chosen.random() < 0.5:
                row["name"] = f"stays {chosen.randrange(40)}"
            own.append((await bench.run("EverythingCreateNode", **row))["id"])
            if chosen.random() < 0.5:
                await bench.run("EverythingDeleteNode", id=own.pop(chosen.randrange(len(own))))

    disturbers = [asyncio.create_task(disturb(seed)) for seed in range(2)]
    try:
        found = ids(await pages(bench, "EverythingListNode", 25, sort=sort, fields=["id"]))
    finally:
        reading.set()
        await asyncio.gather(*disturbers)
    assert len(found) == len(set(found))
    assert staying <= set(found)
    assert bench.database.pool_metrics()["checked_out"] == 0


@pytest.fixture
async def many(bench: Bench) -> Bench:
    """Three thousand rows, of which the database has statistics."""
    rows = [{"rank": number * 7 % 1000 if number % 10 else None} for number in range(3000)]
    await bench.run("RankedBulkCreateNode", data=rows)
    if bench.database.dialect is not Dialect.SQLITE:
        word = "ANALYZE" if bench.database.dialect is Dialect.POSTGRESQL else "ANALYZE TABLE"
        await bench.database.fetch_all(f"{word} rankeds")
    return bench


async def _plan_of_page(bench: Bench, sort: str | None, offset: int) -> str:
    """The database's plan of the page behind the one at an offset."""
    page = await bench.run("RankedListNode", sort=sort, limit=10, offset=offset)
    params = {"sort": sort, "limit": 10, "cursor": page["next_cursor"]}
    (statement,) = (await explain_node(bench.schema, bench.nodes, "RankedListNode", params, None)).statements
    return "\n".join(statement.plan)


async def test_a_page_by_id_reads_the_primary_key_from_the_cursor_on(many: Bench) -> None:
    plan = await _plan_of_page(many, None, 2500)
    match many.database.dialect:
        case Dialect.POSTGRESQL:
            assert "Index Scan Backward using rankeds_pkey" in plan
            assert "Index Cond: (id < " in plan
        case Dialect.MYSQL:
            assert "type=range" in plan
            assert "key=PRIMARY" in plan
            assert "filesort" not in plan
        case Dialect.SQLITE:
            assert plan == "SEARCH rankeds USING INTEGER PRIMARY KEY (rowid<?)"


@pytest.mark.parametrize(("sort", "operator"), [("rank", ">"), ("-rank", "<")])
async def test_a_page_by_a_key_that_may_be_null_reads_its_index(many: Bench, sort: str, operator: str) -> None:
    plan = await _plan_of_page(many, sort, 1500)
    match many.database.dialect:
        case Dialect.POSTGRESQL:
            assert "using ix_rankeds_rank" in plan
            assert f"Index Cond: (rank {operator}= " in plan
        case Dialect.MYSQL:
            assert "type=range" in plan
            assert "key=ix_rankeds_rank" in plan
            assert "filesort" not in plan
        case Dialect.SQLITE:
            assert plan == f"SEARCH rankeds USING INDEX ix_rankeds_rank (rank{operator}?)"


async def test_a_page_over_both_stretches(many: Bench) -> None:
    page = await many.run("RankedListNode", sort="rank", limit=2695)
    rest = await many.run("RankedListNode", sort="rank", limit=10, cursor=page["next_cursor"])
    assert [record["rank"] is None for record in rest["records"]] == [False] * 5 + [True] * 5
    assert rest["has_more"]
    end = await many.run("RankedListNode", sort="rank", limit=295, cursor=rest["next_cursor"])
    assert (end["count"], end["has_more"]) == (295, False)
