"""Versions: every change of a row counts, and a change can ask for the version that it was made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow.errors import (
    InputError,
    NotNullViolationError,
    RecordNotFoundError,
    TypeMismatchError,
    UpdateParameterError,
    VersionConflictError,
)
from dataflow.models import Field
from tests.integration.bench import Bench, open_bench


class Page:
    slug: str = Field(unique=True)
    hits: int = 0
    __dataflow__ = {"versioned": True}  # noqa: RUF012


class Release:
    """A version of the user's own."""

    version: str
    notes: str = ""


class Bare:
    """Nothing is set by an update that names nothing."""

    slug: str = Field(unique=True)
    hits: int = 0
    __dataflow__ = {"timestamps": False}  # noqa: RUF012


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    """Pages 1 and 2, with slugs a and b, at version 1."""
    async with open_bench(database_url, Page, Release, Bare) as bench:
        first = await bench.run("PageCreateNode", slug="a")
        assert (first["id"], first["version"]) == (1, 1)
        await bench.run("PageBulkCreateNode", data=[{"slug": "b"}])
        yield bench


async def versions(bench: Bench) -> list[tuple[int, int]]:
    """Hits and version of each page by id."""
    rows = (await bench.run("PageListNode", sort="id"))["records"]
    return [(row["hits"], row["version"]) for row in rows]


@pytest.mark.parametrize(
    ("node", "inputs", "expected"),
    [
        ("Update", {"id": 1, "hits": 5}, [(5, 2), (0, 1)]),
        ("Update", {"id": 1, "fields": {"hits": {"$inc": 5}}}, [(5, 2), (0, 1)]),
        ("Update", {"filter": {"slug": "a"}, "fields": {"hits": 5}, "version": 1}, [(5, 2), (0, 1)]),
        ("Update", {"id": 1, "hits": 5, "version": 1}, [(5, 2), (0, 1)]),
        ("BulkUpdate", {"filter": {}, "fields": {"hits": 5}, "confirmed": True}, [(5, 2), (5, 2)]),
        ("BulkUpdate", {"filter": {"hits": 0}, "fields": {"hits": {"$inc": 5}}, "limit": 1}, [(5, 2), (0, 1)]),
        ("BulkUpdate", {"data": [{"id": 1, "hits": 5}, {"id": 2}]}, [(5, 2), (0, 2)]),
        ("Upsert", {"where": {"slug": "a"}, "update": {"hits": 5}}, [(5, 2), (0, 1)]),
        ("Upsert", {"where": {"slug": "a"}, "create": {"hits": 5}}, [(0, 1), (0, 1)]),
        ("Upsert", {"where": {"slug": "c"}, "create": {"hits": 5}, "update": {"hits": 6}}, [(0, 1), (0, 1), (5, 1)]),
        ("BulkUpsert", {"data": [{"slug": "b", "hits": 5}, {"slug": "c"}], "conflict_on": ["slug"]},
         [(0, 1), (5, 2), (0, 1)]),
        ("BulkUpsert", {"data": [{"slug": "b", "hits": 5}], "conflict_on": ["slug"], "conflict_resolution": "skip"},
         [(0, 1), (0, 1)]),
        ("BulkCreate", {"data": [{"slug": "b", "hits": 5}], "conflict_resolution": "upsert"}, [(0, 1), (5, 2)]),
    ],
)  # fmt: skip
async def test_every_change_counts(bench: Bench, node: str, inputs: dict[str, Any], expected: list[Any]) -> None:
    await bench.run(f"Page{node}Node", **inputs)
    assert await versions(bench) == expected


async def test_results_show_the_new_version(bench: Bench) -> None:
    assert (await bench.run("PageUpdateNode", id=1, hits=1))["version"] == 2
    upserted = await bench.run("PageUpsertNode", where={"slug": "a"}, update={"hits": 2})
    assert upserted["record"]["version"] == 3


@pytest.mark.parametrize(
    ("node", "which"),
    [
        ("Update", {"id": 1, "hits": 5}),
        ("Update", {"filter": {"slug": "a"}, "fields": {"hits": 5}}),
        ("Delete", {"id": 1}),
        ("Delete", {"filter": {"slug": "a"}}),
    ],
)
async def test_another_version_is_a_conflict(bench: Bench, node: str, which: dict[str, Any]) -> None:
    await bench.run("PageUpdateNode", id=1, hits=1)
    with pytest.raises(VersionConflictError, match="at version 2, not 1") as caught:
        await bench.run(f"Page{node}Node", version=1, **which)
    assert caught.value.code == "DF-705"
    assert (caught.value.context["expected"], caught.value.context["actual"]) == (1, 2)
    assert await versions(bench) == [(1, 2), (0, 1)]
    done = await bench.run(f"Page{node}Node", version=2, **which)
    assert done.get("updated") or done["deleted"]


async def test_what_is_not_there_has_no_version(bench: Bench) -> None:
    assert await bench.run("PageUpdateNode", id=9, hits=1, version=1) == {"id": 9, "updated": False}
    assert (await bench.run("PageDeleteNode", id=9, version=1))["deleted"] is False
    with pytest.raises(RecordNotFoundError):
        await bench.run("PageUpdateNode", id=9, hits=1, version=1, raise_on_not_found=True)


async def test_no_version_is_not_any_version(bench: Bench) -> None:
    for node, which in [("Update", {"id": 1, "hits": 5}), ("Delete", {"id": 1})]:
        with pytest.raises(NotNullViolationError):
            await bench.run(f"Page{node}Node", version=None, **which)
        with pytest.raises(TypeMismatchError):
            await bench.run(f"Page{node}Node", version="1", **which)
    assert await versions(bench) == [(0, 1), (0, 1)]


async def test_a_version_is_never_written(bench: Bench) -> None:
    with pytest.raises(UpdateParameterError, match="parameter 'version'"):
        await bench.run("PageUpdateNode", id=1, fields={"hits": 1, "version": 7})
    with pytest.raises(UpdateParameterError, match="counts the changes"):
        await bench.run("PageUpsertNode", where={"slug": "a"}, update={"version": 7})
    with pytest.raises(InputError, match="Row 1: .*version") as caught:
        await bench.run("PageBulkUpdateNode", data=[{"id": 1, "hits": 3}, {"id": 2, "version": 1}])
    assert caught.value.context["row"] == 1
    with pytest.warns(UserWarning, match=r"AUTO-STRIPPED.*version"):
        assert (await bench.run("PageCreateNode", slug="c", version=7))["version"] == 1
    assert await versions(bench) == [(0, 1), (0, 1), (0, 1)]


async def test_changes_at_once_are_all_counted(bench: Bench) -> None:
    async def add_one() -> int:
        for attempt in range(1_000):
            row = await bench.run("PageReadNode", id=1)
            try:
                await bench.run("PageUpdateNode", id=1, hits=row["hits"] + 1, version=row["version"])
            except VersionConflictError:
                continue
            return attempt
        raise AssertionError("starved")

    lost = await asyncio.gather(*(add_one() for _ in range(20)))
    assert await versions(bench) == [(20, 21), (0, 1)]
    assert sum(lost) > 0


async def test_a_version_of_the_users_own_is_a_field(bench: Bench) -> None:
    row = await bench.run("ReleaseCreateNode", version="1.0")
    assert (await bench.run("ReleaseUpdateNode", id=row["id"], version="1.1"))["version"] == "1.1"
    assert (await bench.run("ReleaseBulkUpdateNode", data=[{"id": row["id"], "version": "1.2"}]))["updated"] == 1


async def test_an_update_of_nothing_finds_its_rows(bench: Bench) -> None:
    await bench.run("BareBulkCreateNode", data=[{"slug": "a", "hits": 1}, {"slug": "b", "hits": 2}])
    assert (await bench.run("BareBulkUpdateNode", data=[{"id": 1}, {"id": 9}]))["updated"] == 1
    upserted = await bench.run("BareBulkUpsertNode", data=[{"slug": "b"}, {"slug": "c"}], conflict_on=["slug"])
    assert (upserted["inserted"], upserted["updated"]) == (1, 1)
    rows = (await bench.run("BareListNode", sort="slug"))["records"]
    assert [(row["slug"], row["hits"]) for row in rows] == [("a", 1), ("b", 2), ("c", 0)]
