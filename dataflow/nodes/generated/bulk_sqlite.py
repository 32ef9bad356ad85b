"""BulkWriter for SQLite: executemany, since there are no round trips to save.

The writer's transaction is the only one that writes, so what was there cannot change between two statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from dataflow.errors import DatabaseError
from dataflow.models import Kind
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.bulk_writer import BulkWriter, Written
from dataflow.queries.bulk_block import Block

#: Keys looked up by one statement; a power of two, under the 1,000 levels that SQLite lets an OR nest.
MAX_KEYS = 512


class SQLiteBulkWriter(BulkWriter):
    """See BulkWriter."""

    async def insert_for_ids(self, run: Access, block: Block) -> Sequence[Any]:
        await run.copy_rows(self.table_name, block.names, block.rows())
        row = await run.executor.fetch_one("SELECT last_insert_rowid()")
        if row is None:
            raise DatabaseError(f"SQLite did not tell the ids of the rows inserted into '{self.table_name}'.")
        # Nobody else inserts meanwhile, so the ids are consecutive.
        return range(row[0] - len(block) + 1, row[0] + 1)

    async def insert_missing(self, run: Access, block: Block, key: Sequence[str]) -> int:
        if not self._is_target(key):
            ids = await self.find_ids(run, block, key)
            missing = block.take([index for index, row_id in enumerate(ids) if row_id is None])
            return await run.copy_rows(self.table_name, missing.names, missing.rows())
        shape = (block.names, tuple(key))
        plan = self.plan("bulk skip", shape, lambda: self.makes.insert_row_unless_there(block.names, key))
        return await run.execute_many(plan, block.rows())

    async def upsert(
        self, run: Access, block: Block, key: Sequence[str], changes: Sequence[str], *, want_ids: bool
    ) -> Written:
        # An upsert does not tell which of the two it did, so those that are there are counted before.
        there = await self._count(run, block, key)
        if there < len(block) and self._is_target(key):
            shape = (block.names, tuple(key), tuple(changes))
            plan = self.plan("bulk upsert", shape, lambda: self.makes.insert_row_or_update(block.names, key, changes))
            await run.execute_many(plan, block.rows())
        else:
            # Where all are there, a tenth faster than an insert that fails first.
            plan = self.plan(
                "bulk change", (tuple(key), tuple(changes)), lambda: self.makes.update_row(key, changes, restore=True)
            )
            await run.execute_many(plan, block.rows([*changes, *key]))
            if there < len(block):
                await self.insert_missing(run, block, key)
        return Written(len(block) - there, there, await self.find_ids(run, block, key) if want_ids else None)

    async def find_ids(self, run: Access, block: Block, key: Sequence[str]) -> list[Any]:
        keys = list(block.rows(key))
        found: dict[tuple[Any, ...], Any] = {}
        for part in _powers_of_two(keys):
            size = len(part)
            plan = self.plan("bulk find", (tuple(key), size), partial(self.makes.find_keys, key, size))
            rows = await run.fetch_all(plan, list(chain.from_iterable(part)))
            found.update((tuple(row[:-1]), row[-1]) for row in rows)
        return [found.get(row) for row in keys]

    def _is_target(self, key: Sequence[str]) -> bool:
        """Whether ON CONFLICT takes the key: SQLite knows no index over its row id and another column."""
        return len(key) == 1 or self.id_name not in key or self.spec.primary_key.type.kind is not Kind.INT

    async def _count(self, run: Access, block: Block, key: Sequence[str]) -> int:
        """How many rows have the block's keys."""
        there = 0
        for part in _powers_of_two(list(block.rows(key))):
            size = len(part)
            plan = self.plan("bulk count", (tuple(key), size), partial(self.makes.count_keys, key, size))
            row = await run.fetch_one(plan, list(chain.from_iterable(part)))
            there += row[0] if row else 0
        return there

    async def update(self, run: Access, block: Block) -> int:
        changes = self.other_names(block)
        plan = self.plan("bulk update", tuple(changes), lambda: self.makes.update_row([self.id_name], changes))
        return await run.execute_many(plan, block.rows([*changes, self.id_name]))

    async def delete(self, run: Access, ids: list[Any]) -> int:
        plan = self.plan("bulk delete", (), self.makes.delete_row)
        return await run.execute_many(plan, [(row_id,) for row_id in ids])


def _powers_of_two(keys: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The keys in parts whose sizes are few, so that few plans serve them; the last is filled up with its own."""
    for start in range(0, len(keys), MAX_KEYS):
        part = keys[start : start + MAX_KEYS]
        size = 1 << (len(part) - 1).bit_length()
        yield part + [part[-1]] * (size - len(part))
