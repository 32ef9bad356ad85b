"""The node and bulk rows of the design's budgets, on one database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NamedTuple

from benchmarks.core import CoreMySQL, CorePostgreSQL, CoreSQLite
from benchmarks.measure import Comparison, compare
from benchmarks.nodes import Nodes
from benchmarks.raw.mysql import RawMySQL
from benchmarks.raw.postgresql import RawPostgreSQL
from benchmarks.raw.sqlite import RawSQLite
from benchmarks.side import TABLE_ROWS, RawSide, Side, values

#: Connections on each side.
POOL = 10
#: Least age of the rows that an update by filter changes: about half of them.
UPDATED_AGE = 45

Open = Callable[[str, int], Awaitable[Any]]
Report = Callable[[Comparison], None]

PEERS: Mapping[str, tuple[Open, Open]] = {
    "postgresql": (RawPostgreSQL.open, CorePostgreSQL.open),
    "mysql": (RawMySQL.open, CoreMySQL.open),
    "sqlite": (RawSQLite.open, CoreSQLite.open),
}


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        calls: Single calls per round and side.
        rounds: Rounds of single calls.
        rows: Rows of a bulk call.
        bulk_rounds: Rounds of bulk calls.
    """

    calls: int
    rounds: int
    rows: int
    bulk_rounds: int


# Each of three sides comes first equally often.
FULL = Size(calls=1_000, rounds=9, rows=50_000, bulk_rounds=6)
QUICK = Size(calls=200, rounds=3, rows=5_000, bulk_rounds=3)


class Suite:
    """The rows of one database.

    Args:
        dialect: Which database.
        url: Where it is.
        size: How much is measured.
        only: Part of the labels of the rows to measure; empty for all.
        report: Told each row as it is known.
    """

    def __init__(self, dialect: str, url: str, size: Size, only: str, report: Report) -> None:
        self._dialect, self._url, self._size, self._only, self._report = dialect, url, size, only, report

    async def run(self) -> None:
        """Measure all rows."""
        open_raw, open_core = PEERS[self._dialect]
        async with AsyncExitStack() as stack:
            # Ours is opened first, since it creates the table.
            nodes = await self._open(Nodes.open, stack)
            self._raw: RawSide = await self._open(open_raw, stack)
            self._sides: Mapping[str, Side] = {
                "raw": self._raw,
                "Core": await self._open(open_core, stack),
                "ours": nodes,
            }
            await self._singles()
            await self._bulk()

    async def _open(self, how: Open, stack: AsyncExitStack) -> Any:
        side = await how(self._url, POOL)
        stack.push_async_callback(side.close)
        return side

    async def _singles(self) -> None:
        size = self._size
        reads, writes = (0.30, 0.50) if self._dialect == "sqlite" else (0.65, 0.65)
        filled = partial(self._fill, TABLE_ROWS)
        # Each round deletes other rows.
        to_delete = partial(self._fill, (size.rounds + 1) * size.calls)
        for concurrency in (1, 50):
            for what, before, budget in (
                ("create", self._raw.empty, writes),
                ("read", filled, reads),
                ("update", filled, writes),
                ("delete", to_delete, writes),
            ):
                await self._row(
                    f"{what}, {'sequential' if concurrency == 1 else f'{concurrency} concurrent'}",
                    what,
                    calls=size.calls,
                    rounds=size.rounds,
                    concurrency=concurrency,
                    budget=budget,
                    before=before,
                )
        await self._row(
            "list, 100 rows", "list_rows", calls=size.calls // 4, rounds=size.rounds, budget=0.70, before=filled
        )

    async def _bulk(self) -> None:
        count = self._size.rows
        rows = [values(number) for number in range(count)]
        keyed = [{"id": number + 1, **row} for number, row in enumerate(rows)]
        ages = [{"id": number + 1, "age": number % 80} for number in range(count)]
        ids = [row["id"] for row in keyed]
        matching = sum(row["age"] >= UPDATED_AGE for row in rows)
        full = partial(self._fill, count)
        for what, method, given, units, before in (
            ("bulk create", "bulk_create", (rows,), count, self._raw.empty),
            ("bulk upsert, all new", "bulk_upsert", (keyed,), count, self._raw.empty),
            ("bulk upsert, all known", "bulk_upsert", (keyed,), count, full),
            ("bulk update by rows", "bulk_update", (ages,), count, full),
            ("bulk update by filter", "update_where", (UPDATED_AGE, 0.5), matching, full),
            ("bulk delete by ids", "bulk_delete", (ids,), count, full),
        ):
            await self._row(
                f"{what}, {units:,} rows",
                method,
                given,
                calls=1,
                units=units,
                rounds=self._size.bulk_rounds,
                budget=0.80,
                before=before,
            )

    async def _row(self, what: str, method: str, given: tuple[Any, ...] = (), **options: Any) -> None:
        if self._only not in what:
            return
        calls = {name: getattr(side, method) for name, side in self._sides.items()}
        if given:
            calls = {name: _checked(call, given, options["units"]) for name, call in calls.items()}
        self._report(await compare(what, calls, **options))

    async def _fill(self, count: int) -> None:
        await self._raw.empty()
        await self._raw.bulk_upsert([{"id": number + 1, **values(number)} for number in range(count)])
        await self._raw.analyze()


def _checked(call: Callable[..., Awaitable[int]], given: tuple[Any, ...], units: int) -> Callable[[int], Any]:
    """The bulk call, which must have worked on all rows."""

    async def run(_: int) -> None:
        done = await call(*given)
        if done != units:
            raise RuntimeError(f"{call} worked on {done} rows instead of {units}.")

    return run
