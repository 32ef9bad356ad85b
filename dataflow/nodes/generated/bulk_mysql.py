"""BulkWriter for MySQL and MariaDB: multi-row VALUES, and joins with JSON_TABLE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from dataflow.errors import DatabaseError, TransientDatabaseError, UniqueViolationError
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.bulk_writer import BulkWriter, Written
from dataflow.queries.bulk_block import Block
from dataflow.queries.bulk_plans import LISTED, BulkPlans
from dataflow.queries.bulk_source import source_texts
from dataflow.queries.plan import Plan

#: Rows in one statement whose ids are counted from the first.
MAX_ROWS = 1_000
#: Ids in the list of one statement.
MAX_IDS = 50_000
#: Bytes of text in it, about; well under the usual max_allowed_packet of 16 MB.
MAX_BYTES = 2_000_000
_COLLATIONS = (
    "SELECT column_name, collation_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND table_name = %s AND collation_name LIKE 'utf8mb4%%'"
)


class MySQLBulkWriter(BulkWriter):
    """See BulkWriter."""

    _source_plans: BulkPlans | None = None

    async def insert_for_ids(self, run: Access, block: Block) -> Sequence[Any]:
        # A statement whose number of rows is known gets consecutive ids, whatever innodb_autoinc_lock_mode says.
        step_row = await run.executor.fetch_one("SELECT @@auto_increment_increment")
        step = step_row[0] if step_row else 1
        plan = self.plan("bulk insert", block.names, lambda: self.makes.insert_row(block.names))
        start, values = plan.sql.rsplit(" VALUES ", 1)
        ids: list[Any] = []
        for part in _small_parts(block):
            arguments = [value for row in part.rows() for value in row]
            outcome = await run.executor.execute(f"{start} VALUES {', '.join([values] * len(part))}", arguments)
            if not outcome.last_id:
                raise DatabaseError(
                    f"The table '{self.table_name}' made no ids.",
                    hint=f"Its column '{self.id_name}' needs AUTO_INCREMENT.",
                )
            ids.extend(range(outcome.last_id, outcome.last_id + step * len(part), step))
        return ids

    async def insert_missing(self, run: Access, block: Block, key: Sequence[str]) -> int:
        written, _ = await self._insert_missing(run, block, key, want_ids=False)
        return written.inserted

    async def upsert(
        self, run: Access, block: Block, key: Sequence[str], changes: Sequence[str], *, want_ids: bool
    ) -> Written:
        written, there = await self._insert_missing(run, block, key, want_ids=want_ids)
        if there:
            makes = await self._makes(run)
            plan = self.plan(
                "bulk upsert", (tuple(key), tuple(changes)), lambda: makes.update_source(key, changes, restore=True)
            )
            await self._run_source(run, plan, block.take(there), [*key, *changes])
        return Written(written.inserted, len(there), written.ids if want_ids else None)

    async def find_ids(self, run: Access, block: Block, key: Sequence[str]) -> list[Any]:
        return await self._find(run, block, key, lock=False)

    async def update(self, run: Access, block: Block) -> int:
        changes = self.other_names(block)
        makes = await self._makes(run)
        plan = self.plan("bulk update", tuple(changes), lambda: makes.update_source([self.id_name], changes))
        return await self._run_source(run, plan, block, [self.id_name, *changes])

    async def delete(self, run: Access, ids: list[Any]) -> int:
        # Faster than a join with JSON_TABLE, whose rows have no index; and one long list is faster than several.
        plan = self.plan("bulk delete", (), self.makes.delete_listed)
        widest = max((len(row_id) for row_id in ids if isinstance(row_id, str)), default=0) + 20
        step = min(MAX_IDS, MAX_BYTES // widest)
        deleted = 0
        for start in range(0, len(ids), step):
            part = ids[start : start + step]
            sql = plan.sql.replace(LISTED, ", ".join(["%s"] * len(part)))
            arguments = list(chain.from_iterable(_listed(plan.arguments([part], run.tenant))))
            deleted += (await run.executor.execute(sql, arguments)).rows
        return deleted

    async def _makes(self, run: Access) -> BulkPlans:
        """Plans over sources, which must know the collations of the table's text columns; asked once."""
        if self._source_plans is None:
            rows = await run.executor.fetch_all(_COLLATIONS, [self.table_name])
            collations = {row[0]: row[1] for row in rows}
            self._source_plans = BulkPlans(self.rows, collations)
        return self._source_plans

    async def _insert_missing(
        self, run: Access, block: Block, key: Sequence[str], *, want_ids: bool
    ) -> tuple[Written, list[int]]:
        """Insert the rows whose key is not there; also returns the indexes of the others, which are locked."""
        ids = await self._find(run, block, key, lock=True)
        missing = [index for index, row_id in enumerate(ids) if row_id is None]
        there = [index for index, row_id in enumerate(ids) if row_id is not None]
        if not missing:
            return Written(0, ids=ids), there
        try:
            written = await self.insert(run, block.take(missing) if there else block, want_ids=want_ids)
        except UniqueViolationError as error:
            if await self._find(run, block, key, lock=False) == ids:
                raise
            # The failed insert has left locks that others wait for as this would wait for theirs: start afresh.
            raise TransientDatabaseError(
                f"Others inserted the same rows of {self.spec.name} meanwhile.",
                hint="Try again.",
                model=self.spec.name,
            ) from error
        for index, row_id in zip(missing, written.ids or (), strict=False):
            ids[index] = row_id
        return Written(len(missing), ids=ids), there

    async def _find(self, run: Access, block: Block, key: Sequence[str], *, lock: bool) -> list[Any]:
        makes = await self._makes(run)
        plan = self.plan("bulk find", (tuple(key), lock), lambda: makes.find_source(key, lock=lock))
        found: dict[int, Any] = {}
        for start, values in source_texts(self.spec, block, key):
            rows = await run.fetch_all(plan, values)
            found.update((start + row[0] - 1, row[1]) for row in rows)
        return [found.get(index) for index in range(len(block))]

    async def _run_source(self, run: Access, plan: Plan, block: Block, names: Sequence[str]) -> int:
        matched = 0
        for _, values in source_texts(self.spec, block, names):
            matched += (await run.execute(plan, values)).rows
        return matched


def _small_parts(block: Block) -> Iterator[Block]:
    """The block, cut so that each part fits into one statement."""
    start, size = 0, 0
    for index, row in enumerate(block.rows()):
        weight = sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if index > start and (index - start == MAX_ROWS or size + weight > MAX_BYTES):
            yield block.part(start, index)
            start, size = index, 0
        size += weight
    yield block.part(start, len(block))


def _listed(arguments: Iterable[Any]) -> Iterator[list[Any]]:
    """Every argument as a list: the ids are one already."""
    return (argument if isinstance(argument, list) else [argument] for argument in arguments)
