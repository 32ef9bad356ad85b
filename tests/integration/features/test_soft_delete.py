"""Soft delete: rows that are marked are gone for every node that does not ask for them, and can come back."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow.errors import InputError, RecordNotFoundError, UniqueViolationError, UpdateParameterError
from dataflow.models import Field
from tests.integration.bench import Bench, open_bench


class Doc:
    code: str = Field(unique=True)
    pages: int = 1
    __dataflow__ = {"soft_delete": True, "versioned": True}  # noqa: RUF012


class Plain:
    code: str


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """Ids 1 to 4 with codes a to d; 2 and 4 are deleted."""
    async with open_bench(database_url, Doc, Plain) as bench:
        await bench.run("DocBulkCreateNode", data=[{"code": code} for code in "abcd"])
        await bench.run("DocDeleteNode", id=2)
        await bench.run("DocBulkDeleteNode", ids=[4])
        yield bench


async def state(bench: Bench) -> dict[str, tuple[int, int, bool]]:
    """Code → pages, version, whether deleted; of all rows."""
    listed = await bench.run("DocListNode", include_deleted=True, sort="id")
    return {row["code"]: (row["pages"], row["version"], row["deleted_at"] is not None) for row in listed["records"]}


START = {"a": (1, 1, False), "b": (1, 2, True), "c": (1, 1, False), "d": (1, 2, True)}


async def test_deleting_marks(bench: Bench) -> None:
    assert await state(bench) == START
    assert await bench.run("DocDeleteNode", id=1) == {"id": 1, "deleted": True, "soft": True}
    row = await bench.run("DocReadNode", id=1, include_deleted=True)
    assert row["deleted_at"] == row["updated_at"] > row["created_at"]
    assert row["version"] == 2
    assert await bench.run("DocDeleteNode", id=1) == {"id": 1, "deleted": False, "soft": True}


@pytest.mark.parametrize(("include_deleted", "codes"), [(False, "ac"), (True, "abcd")])
async def test_every_read_sees_what_it_asks_for(bench: Bench, include_deleted: bool, codes: str) -> None:
    asked = {"include_deleted": include_deleted}
    listed = await bench.run("DocListNode", sort="id", with_total=True, **asked)
    assert ("".join(row["code"] for row in listed["records"]), listed["total"]) == (codes, len(codes))
    assert await bench.run("DocListNode", count_only=True, **asked) == {"count": len(codes)}
    assert await bench.run("DocCountNode", filter={"$or": [{}, {"code": "b"}]}, **asked) == {"count": len(codes)}
    total = await bench.run("DocAggregateNode", aggregate={"n": {"$count": "*"}, "p": {"$sum": "pages"}}, **asked)
    assert total["records"] == [{"n": len(codes), "p": len(codes)}]
    marked = await bench.run("DocCountNode", filter={"deleted_at": {"$null": False}}, **asked)
    assert marked == {"count": len(codes) - 2}
    for which in ({"id": 2}, {"filter": {"code": "b"}}):
        found = await bench.run("DocReadNode", raise_on_not_found=False, **which, **asked)
        assert found["found"] is include_deleted


async def test_a_deleted_row_is_not_found(bench: Bench) -> None:
    with pytest.raises(RecordNotFoundError):
        await bench.run("DocReadNode", id=2)
    with pytest.raises(RecordNotFoundError):
        await bench.run("DocUpdateNode", id=2, pages=5, raise_on_not_found=True)
    assert (await bench.run("DocUpdateNode", filter={"code": "b"}, fields={"pages": 5}))["updated"] is False
    assert (await bench.run("DocDeleteNode", filter={"code": "b"}, soft_delete=False))["deleted"] is False
    assert (await bench.run("DocBulkUpdateNode", data=[{"id": 2, "pages": 5}]))["updated"] == 0
    assert (await bench.run("DocBulkDeleteNode", ids=[2, 4], soft_delete=False))["deleted"] == 0
    assert await state(bench) == START


@pytest.mark.parametrize(
    ("node", "inputs", "counted", "changed"),
    [
        ("Update", {"id": 2, "fields": {"pages": 5}}, {"updated": True}, {"b": (5, 3, True)}),
        ("Update", {"filter": {"code": "b"}, "fields": {"pages": {"$inc": 4}}}, {"updated": True}, {"b": (5, 3, True)}),
        ("BulkUpdate", {"filter": {"id": {"$gt": 1}}, "fields": {"pages": 5}}, {"updated": 3},
         {"b": (5, 3, True), "c": (5, 2, False), "d": (5, 3, True)}),
        ("BulkUpdate", {"filter": {"pages": 1}, "fields": {"pages": 5}, "limit": 2}, {"updated": 2},
         {"a": (5, 2, False), "b": (5, 3, True)}),
        ("BulkUpdate", {"data": [{"id": 1, "pages": 5}, {"id": 2, "pages": 6}]}, {"updated": 2},
         {"a": (5, 2, False), "b": (6, 3, True)}),
        ("BulkDelete", {"filter": {"pages": 1}, "limit": 2}, {"deleted": 2}, {"a": (1, 2, True), "b": (1, 3, True)}),
        ("BulkDelete", {"filter": {"pages": 1}, "limit": 2, "soft_delete": False}, {"deleted": 2},
         {"a": None, "b": None}),
        ("BulkDelete", {"ids": [2, 2, 3, 9], "soft_delete": False}, {"deleted": 2}, {"b": None, "c": None}),
        ("Delete", {"id": 2, "soft_delete": False}, {"deleted": True, "soft": False}, {"b": None}),
    ],
)  # fmt: skip
async def test_changes_reach_deleted_rows_where_asked(
    bench: Bench, node: str, inputs: dict[str, Any], counted: dict[str, Any], changed: dict[str, Any]
) -> None:
    result = await bench.run(f"Doc{node}Node", include_deleted=True, **inputs)
    assert {name: result[name] for name in counted} == counted
    expected = {code: row for code, row in {**START, **changed}.items() if row is not None}
    assert await state(bench) == expected


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("Update", {"id": 2, "fields": {"deleted_at": None}}),
        ("Update", {"id": 2, "deleted_at": None}),
        ("BulkUpdate", {"filter": {"id": 2}, "fields": {"deleted_at": None}}),
        ("BulkUpdate", {"data": [{"id": 2, "deleted_at": None}]}),
    ],
)
async def test_an_update_brings_a_row_back(bench: Bench, node: str, inputs: dict[str, Any]) -> None:
    result = await bench.run(f"Doc{node}Node", include_deleted=True, **inputs)
    assert result["updated"] in (1, True)
    assert await state(bench) == {**START, "b": (1, 3, False)}
    assert (await bench.run("DocReadNode", id=2))["deleted_at"] is None


async def test_only_deleting_sets_the_moment_of_deletion(bench: Bench) -> None:
    moment = (await bench.run("DocReadNode", id=2, include_deleted=True))["deleted_at"]
    with pytest.raises(UpdateParameterError, match="DocDeleteNode"):
        await bench.run("DocUpdateNode", id=1, deleted_at=moment)
    with pytest.raises(UpdateParameterError, match="Row 1: .*set by deleting") as caught:
        await bench.run("DocBulkUpdateNode", data=[{"id": 1, "deleted_at": None}, {"id": 3, "deleted_at": moment}])
    assert caught.value.context["row"] == 1
    with pytest.warns(UserWarning, match="AUTO-STRIPPED.*deleted_at"):
        row = await bench.run("DocCreateNode", code="e", deleted_at=moment)
    assert row["deleted_at"] is None


async def test_a_deleted_row_keeps_its_unique_values(bench: Bench) -> None:
    for node, inputs in [
        ("Create", {"code": "b"}),
        ("BulkCreate", {"data": [{"code": "e"}, {"code": "b"}]}),
        ("Update", {"id": 1, "fields": {"code": "b"}}),
    ]:
        with pytest.raises(UniqueViolationError, match="may be soft-deleted"):
            await bench.run(f"Doc{node}Node", **inputs)
    assert await state(bench) == START


@pytest.mark.parametrize(
    ("update", "row"), [({}, (1, 3, False)), ({"pages": {"$inc": 6}}, (7, 3, False)), ({"pages": 9}, (9, 3, False))]
)
async def test_an_upsert_brings_a_row_back(bench: Bench, update: dict[str, Any], row: tuple[Any, ...]) -> None:
    result = await bench.run("DocUpsertNode", where={"code": "b"}, create={"pages": 100}, update=update)
    assert (result["created"], result["action"], result["record"]["id"]) == (False, "updated", 2)
    assert result["record"]["deleted_at"] is None
    assert await state(bench) == {**START, "b": row}


async def test_an_upsert_without_an_update_leaves_a_living_row(bench: Bench) -> None:
    result = await bench.run("DocUpsertNode", where={"code": "a"}, create={"pages": 100})
    assert (result["action"], result["record"]["version"]) == ("updated", 1)
    assert await state(bench) == START


@pytest.mark.parametrize("node", ["BulkUpsert", "BulkCreate"])
async def test_bulk_upserts_bring_rows_back(bench: Bench, node: str) -> None:
    data = [{"code": "b", "pages": 5}, {"code": "c", "pages": 6}, {"code": "e", "pages": 7}]
    rule = {"conflict_resolution": "upsert", "conflict_on": ["code"]}
    result = await bench.run(f"Doc{node}Node", data=data, return_ids=True, **rule)
    assert (result["inserted"], result["updated"], result["ids"][:2]) == (1, 2, [2, 3])
    assert await state(bench) == {**START, "b": (5, 3, False), "c": (6, 2, False), "e": (7, 1, False)}


@pytest.mark.parametrize("node", ["BulkUpsert", "BulkCreate"])
async def test_skipping_leaves_a_row_deleted(bench: Bench, node: str) -> None:
    data = [{"code": "b", "pages": 5}, {"code": "e", "pages": 7}]
    result = await bench.run(f"Doc{node}Node", data=data, conflict_resolution="skip", conflict_on=["code"])
    assert (result["inserted"], result["skipped"]) == (1, 1)
    assert await state(bench) == {**START, "e": (7, 1, False)}


async def test_a_model_without_the_mark_cannot_be_soft_deleted(bench: Bench) -> None:
    row = await bench.run("PlainCreateNode", code="x")
    for node, which in [("Delete", {"id": row["id"]}), ("BulkDelete", {"ids": [row["id"]]})]:
        with pytest.raises(InputError, match="'soft_delete': True"):
            await bench.run(f"Plain{node}Node", soft_delete=True, **which)
        with pytest.raises(InputError, match="'soft_delete': True"):
            bench.check(f"Plain{node}Node", soft_delete=True)
    assert await bench.run("PlainDeleteNode", id=row["id"]) == {"id": row["id"], "deleted": True, "soft": False}


async def test_bulk_delete_without_a_filter_counts_the_rows_that_it_sees(bench: Bench) -> None:
    for include_deleted, count in [(False, 2), (True, 4)]:
        with pytest.raises(InputError, match=f"matches everything, {count} rows"):
            await bench.run("DocBulkDeleteNode", filter={}, include_deleted=include_deleted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (await bench.run("DocBulkDeleteNode", filter={}, confirmed=True))["deleted"] == 2
    assert all(deleted for _, _, deleted in (await state(bench)).values())
