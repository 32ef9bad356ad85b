"""Bulk nodes that are given an iterator hold one batch in memory, however many rows there are."""

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dataflow.models import Field
from tests.integration.bench import Bench, open_bench

#: Bytes by which a call over many rows may exceed one over few: less than a tenth of what the rows take.
ROOM = 2_000_000


class Reading:
    sensor: str = Field(unique=True)
    value: float
    note: str


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"sensor": f"sensor {number}", "value": number / 7, "note": "x" * 200}


async def async_rows(count: int) -> AsyncIterator[dict[str, Any]]:
    for row in rows(count):
        yield row


async def peak(bench: Bench, node: str, data: Any, **inputs: Any) -> int:
    tracemalloc.start()
    try:
        await bench.run(node, data=data, batch_size=1_000, **inputs)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("source", [rows, async_rows], ids=["iterator", "async iterator"])
async def test_memory_does_not_grow_with_the_rows(database_url: str, source: Any) -> None:
    async with open_bench(database_url, Reading) as bench:
        await bench.run("ReadingBulkCreateNode", data=list(rows(1)))
        upsert = {"conflict_on": ["sensor"]}
        few = await peak(bench, "ReadingBulkUpsertNode", source(3_000), **upsert)
        many = await peak(bench, "ReadingBulkUpsertNode", source(40_000), **upsert)
        assert many < few + ROOM
        assert await bench.run("ReadingCountNode") == {"count": 40_000}
        await bench.run("ReadingBulkDeleteNode", filter={}, confirmed=True)
        many = await peak(bench, "ReadingBulkCreateNode", source(40_000), on_error="continue")
        assert many < few + ROOM
