"""BulkWriter for SQLite: executemany, since there are no round trips to save.

The writer's transaction is the only one that writes, so what was there cannot change between two statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from dataflow.databases.interface import Executor
from dataflow.errors import DatabaseError
from dataflow.nodes.generated.bulk_writer import BulkWriter, Written
from dataflow.queries.bulk_block import Block

#: Keys looked up by one statement; a power of two.
MAX_KEYS = 128


class SQLiteBulkWriter(BulkWriter):
    """See BulkWriter."""

    async def insert_for_ids(self, run: Executor, block: Block) -> Sequence[Any]:
        await run.copy_rows(self.table_name, block.names, block.rows())
        row = await run.fetch_one("SELECT last_insert_rowid()")
        if row is None:
            raise DatabaseError(f"SQLite did not tell the ids of the rows inserted into '{self.table_name}'.")
        # Nobody else inserts meanwhile, so the ids are consecutive.
        return range(row[0] - len(block) + 1, row[0] + 1)

    async def insert_missing(self, run: Executor, block: Block, key: Sequence[str]) -> int:
        shape = (block.names, tuple(key))
        plan = self.plan("bulk skip", shape, lambda: self.makes.insert_row_unless_there(block.names, key))
        return await run.execute_many(plan.sql, block.rows())

    async def upsert(
        self, run: Executor, block: Block, key: Sequence[str], changes: Sequence[str], *, want_ids: bool
    ) -> Written:
        plan = self.plan("bulk upsert", (tuple(key), tuple(changes)), lambda: self.makes.update_row(key, changes))
        updated = await run.execute_many(plan.sql, block.rows([*changes, *key]))
        inserted = await self.insert_missing(run, block, key) if updated < len(block) else 0
        return Written(inserted, updated, await self.find_ids(run, block, key) if want_ids else None)

    async def find_ids(self, run: Executor, block: Block, key: Sequence[str]) -> list[Any]:
        keys = block.rows(key)
        found: dict[tuple[Any, ...], Any] = {}
        for part in _powers_of_two(keys):
            size = len(part)
            plan = self.plan("bulk find", (tuple(key), size), partial(self.makes.find_keys, key, size))
            rows = await run.fetch_all(plan.sql, [value for row in part for value in row])
            found.update((tuple(row[:-1]), row[-1]) for row in rows)
        return [found.get(row) for row in keys]

    async def update(self, run: Executor, block: Block) -> int:
        changes = self.other_names(block)
        plan = self.plan("bulk update", tuple(changes), lambda: self.makes.update_row([self.id_name], changes))
        return await run.execute_many(plan.sql, block.rows([*changes, self.id_name]))

    async def delete(self, run: Executor, ids: list[Any]) -> int:
        plan = self.plan("bulk delete", (), self.makes.delete_row)
        return await run.execute_many(plan.sql, [(row_id,) for row_id in ids])


def _powers_of_two(keys: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The keys in parts whose sizes are few, so that few plans serve them; the last is filled up with its own."""
    for start in range(0, len(keys), MAX_KEYS):
        part = keys[start : start + MAX_KEYS]
        size = 1 << (len(part) - 1).bit_length()
        yield part + [part[-1]] * (size - len(part))
