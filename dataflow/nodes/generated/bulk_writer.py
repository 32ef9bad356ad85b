"""BulkWriter: how blocks of rows get into a table, each database by its own best means.

==================  ==============================  ==============================  ==================================
operation           PostgreSQL                      MySQL                           SQLite
==================  ==============================  ==============================  ==================================
insert              COPY                            multi-row VALUES                executemany
insert, ids wanted  INSERT … SELECT unnest          multi-row VALUES, ids counted   executemany, ids counted back from
                    RETURNING                       from the statement's first      the last
skip                ON CONFLICT DO NOTHING          find and lock, insert the rest  ON CONFLICT DO NOTHING
upsert              ON CONFLICT DO UPDATE           find and lock, insert the       count those that are there, then
                                                    rest, update the found          ON CONFLICT DO UPDATE
update              join with unnest                join with JSON_TABLE            executemany
delete              ids in an array                 ids listed in the text          executemany
==================  ==============================  ==============================  ==================================

On all three a row is found by its conflict key alone; that it violates another unique key is an error, which is why
MySQL's own ``ON DUPLICATE KEY UPDATE`` and ``INSERT IGNORE`` are not used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataflow.models.spec import Managed
from dataflow.nodes.generated.access import Access
from dataflow.queries.bulk_block import Block
from dataflow.queries.bulk_plans import BulkPlans
from dataflow.queries.model import ModelRows
from dataflow.queries.plan import Plan


@dataclass(frozen=True, slots=True)
class Conflict:
    """What to do with a row whose key is in the table.

    Attributes:
        key: The fields that make it the same row; a None in one of them is like no other.
        update: Update the row that is there; else skip.
        fields: Fields that the update may set; None for all that the new row gives.
    """

    key: tuple[str, ...]
    update: bool
    fields: frozenset[str] | None = None

    def sets(self, name: str) -> bool:
        """Whether the update may set a field that the new row gives."""
        return name not in self.key and (self.fields is None or name in self.fields)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a block's rows.

    Attributes:
        inserted: Rows that are new.
        updated: Rows that were there.
        ids: Id of each row (driver's value), where they were asked for.
    """

    inserted: int
    updated: int = 0
    ids: Sequence[Any] | None = None


class BulkWriter(ABC):
    """Writes blocks into the rows of one model: all or none of a block, given a transaction where one is needed."""

    def __init__(self, rows: ModelRows) -> None:
        self.rows = rows
        self.spec = rows.spec
        self.table_name = rows.table_name
        self.id_name = rows.spec.primary_key.name
        self.makes = BulkPlans(rows)

    def needs_transaction(self, conflict: Conflict | None, *, want_ids: bool) -> bool:
        """Whether writing a block takes several statements."""
        return conflict is not None or want_ids

    async def write(self, run: Access, block: Block, conflict: Conflict | None, *, want_ids: bool) -> Written:
        """Insert rows; with ``conflict``, skip or update those that are there. No two rows have the same key then.

        Args:
            run: A transaction where ``needs_transaction``.
            block: The rows.
            conflict: What to do with rows that are there; None where they are refused.
            want_ids: Whether the ids are wanted.
        """
        if conflict is None:
            return await self.insert(run, block, want_ids=want_ids)
        return await self.put(run, block, conflict, want_ids=want_ids)

    async def insert(self, run: Access, block: Block, *, want_ids: bool) -> Written:
        """Insert all rows."""
        ids: Sequence[Any] | None = None
        if want_ids and self.id_name not in block.names:
            ids = await self.insert_for_ids(run, block)
        else:
            await run.copy_rows(self.table_name, block.names, block.rows())
            ids = block.column(self.id_name) if want_ids else None
        return Written(len(block), ids=ids)

    async def put(self, run: Access, block: Block, conflict: Conflict, *, want_ids: bool) -> Written:
        """Insert rows, or skip or update where their key is in the table."""
        ids = block.column(self.id_name) if want_ids and self.id_name in conflict.key else None
        find = want_ids and ids is None
        if conflict.update:
            written = await self.upsert(run, block, conflict.key, self._changes(block, conflict), want_ids=find)
            return replace(written, ids=ids or written.ids)
        inserted = await self.insert_missing(run, block, conflict.key)
        return Written(inserted, ids=await self.find_ids(run, block, conflict.key) if find else ids)

    @abstractmethod
    async def insert_for_ids(self, run: Access, block: Block) -> Sequence[Any]:
        """Insert rows whose ids the database makes; returns the ids in their order."""

    @abstractmethod
    async def insert_missing(self, run: Access, block: Block, key: Sequence[str]) -> int:
        """Insert the rows whose key is not in the table; returns how many those were."""

    @abstractmethod
    async def upsert(
        self, run: Access, block: Block, key: Sequence[str], changes: Sequence[str], *, want_ids: bool
    ) -> Written:
        """Insert the rows whose key is not in the table; set ``changes`` of those that have the others."""

    @abstractmethod
    async def find_ids(self, run: Access, block: Block, key: Sequence[str]) -> list[Any]:
        """Id of the row that has each row's key, None where there is none."""

    @abstractmethod
    async def update(self, run: Access, block: Block) -> int:
        """Set the other fields of the rows that have the ids; returns how many those were."""

    @abstractmethod
    async def delete(self, run: Access, ids: list[Any]) -> int:
        """Delete the rows that have the ids; returns how many those were."""

    def other_names(self, block: Block) -> list[str]:
        """The block's fields without the id."""
        return [name for name in block.names if name != self.id_name]

    def plan(self, operation: str, shape: Hashable, make: Callable[[], Plan]) -> Plan:
        """The plan of an operation and shape, compiled when it is new."""
        return self.rows.plans.get((operation, shape), make)

    def _changes(self, block: Block, conflict: Conflict) -> list[str]:
        """What the update branch sets: what the rows give, and ``updated_at``."""
        given = [name for name in self.other_names(block) if name in block.given and conflict.sets(name)]
        return [*given, *(item.name for item in self.spec.fields if item.managed is Managed.UPDATED_AT)]
