"""BulkWriter for PostgreSQL: COPY, and one statement over unnested arrays for all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.bulk_writer import BulkWriter, Conflict, Written
from dataflow.queries.bulk_block import Block
from dataflow.queries.bulk_source import source_arrays


class PostgreSQLBulkWriter(BulkWriter):
    """See BulkWriter."""

    def needs_transaction(self, conflict: Conflict | None, *, want_ids: bool) -> bool:
        return conflict is not None and not conflict.update and want_ids

    async def write(self, run: Access, block: Block, conflict: Conflict | None, *, want_ids: bool) -> Written:
        """As BulkWriter does; ids that are given move the identity past them, as the other databases do."""
        written = await super().write(run, block, conflict, want_ids=want_ids)
        if self.spec.primary_key.generated and self.id_name in block.names:
            plan = self.plan("bulk advance", (), self.makes.advance_identity)
            await run.fetch_one(plan, [max(block.column(self.id_name))])
        return written

    async def insert(self, run: Access, block: Block, *, want_ids: bool) -> Written:
        if not self.spec.features.row_level_security:
            return await super().insert(run, block, want_ids=want_ids)
        # PostgreSQL's COPY does not work on tables with row-level security.
        ids = await self.insert_for_ids(run, block)
        return Written(len(block), ids=ids if want_ids else None)

    async def insert_for_ids(self, run: Access, block: Block) -> Sequence[Any]:
        plan = self.plan("bulk insert", block.names, lambda: self.makes.insert_source(block.names))
        return [row[0] for row in await run.fetch_all(plan, source_arrays(self.spec, block, block.names))]

    async def insert_missing(self, run: Access, block: Block, key: Sequence[str]) -> int:
        shape = (block.names, tuple(key))
        plan = self.plan("bulk skip", shape, lambda: self.makes.insert_unless_there(block.names, key))
        return (await run.execute(plan, source_arrays(self.spec, block, block.names))).rows

    async def upsert(
        self, run: Access, block: Block, key: Sequence[str], changes: Sequence[str], *, want_ids: bool
    ) -> Written:
        shape = (block.names, tuple(key), tuple(changes))
        plan = self.plan("bulk upsert", shape, lambda: self.makes.insert_or_update(block.names, key, changes))
        rows = await run.fetch_all(plan, source_arrays(self.spec, block, block.names))
        inserted = sum(row[1] for row in rows)
        return Written(inserted, len(rows) - inserted, [row[0] for row in rows] if want_ids else None)

    async def find_ids(self, run: Access, block: Block, key: Sequence[str]) -> list[Any]:
        plan = self.plan("bulk find", tuple(key), lambda: self.makes.find_source(key, lock=False))
        rows = await run.fetch_all(plan, source_arrays(self.spec, block, key))
        found = {row[0]: row[1] for row in rows}
        return [found.get(position) for position in range(1, len(block) + 1)]

    async def update(self, run: Access, block: Block) -> int:
        changes = self.other_names(block)
        plan = self.plan("bulk update", tuple(changes), lambda: self.makes.update_source([self.id_name], changes))
        return (await run.execute(plan, source_arrays(self.spec, block, [self.id_name, *changes]))).rows

    async def delete(self, run: Access, ids: list[Any]) -> int:
        plan = self.plan("bulk delete", (), self.makes.delete_array)
        return (await run.execute(plan, [ids])).rows
