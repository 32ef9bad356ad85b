"""BulkImport: takes rows into a table batch by batch, all of them or all that are good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dataflow.errors import ConstraintError, DataFlowError, InputError, TransientDatabaseError
from dataflow.models import Kind
from dataflow.nodes.generated.access import Access, TransactionAccess
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.bulk_repeats import Batch, merge_repeats
from dataflow.nodes.generated.bulk_rows import batches, rows_at_once
from dataflow.nodes.generated.bulk_writer import BulkWriter, Conflict, Written
from dataflow.nodes.generated.tries import tried_again
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import RunContext
from dataflow.queries.bulk_block import Block, Stamp
from dataflow.queries.bulk_reader import REFUSALS, BlockReader
from dataflow.queries.bulk_values import at_row

#: What a row may do wrong once it reaches the database.
ROW_ERRORS = (ConstraintError, InputError)


@dataclass(slots=True)
class Tally:
    """What became of the rows so far. Failures are ``(row, error)``; ``ids`` are driver's values by row."""

    processed: int = 0
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    failures: list[tuple[int, DataFlowError]] = field(default_factory=list)
    ids: dict[int, Any] = field(default_factory=dict)

    def add(self, block: Block, written: Written) -> None:
        """Count a block."""
        self.inserted += written.inserted
        self.updated += written.updated
        self.skipped += len(block) - written.inserted - written.updated
        if written.ids is not None:
            self.ids.update(zip(block.positions, written.ids, strict=True))

    def add_all(self, other: Tally) -> None:
        """Count what another one counted."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.skipped += other.skipped
        self.failures += other.failures
        self.ids.update(other.ids)

    def add_repeats(self, repeats: dict[int, int], *, update: bool) -> None:
        """Count rows that were merged into others, which have been counted."""
        failed = dict(self.failures) if self.failures else {}
        for row, first in repeats.items():
            if first in failed:
                self.failures.append((row, failed[first]))
                continue
            if update:
                self.updated += 1
            else:
                self.skipped += 1
            if first in self.ids:
                self.ids[row] = self.ids[first]


class BulkImport:
    """One call's way of taking in rows.

    Args:
        binding: The model.
        reader: Checks its rows.
        writer: Writes them.
        conflict: What to do with rows that are there; None to refuse them.
        context: The run.
        batch_size: Rows per batch.
        want_ids: Whether the ids are wanted.
    """

    def __init__(
        self,
        binding: ModelBinding,
        reader: BlockReader,
        writer: BulkWriter,
        conflict: Conflict | None,
        context: RunContext,
        *,
        batch_size: int,
        want_ids: bool,
    ) -> None:
        self._binding = binding
        self._reader = reader
        self._writer = writer
        self._conflict = conflict
        self._context = context
        self._batch_size = batch_size
        self._want_ids = want_ids

    async def all_rows(self, data: Any) -> Tally:
        """Take in all rows, in one transaction.

        Several calls at once that upsert the same rows may get into each other's way; then a list, which can be read
        again, is tried again.

        Raises:
            InputError: A row is wrong.
            ConstraintError: The database refuses one; the message names its number.
            TransientDatabaseError: Others are in the way.
        """
        if isinstance(data, Sequence):
            return await self._tried_again(lambda: self._all_rows(data))
        return await self._all_rows(data)

    async def _tried_again(self, work: Callable[[], Awaitable[Tally]]) -> Tally:
        # A transaction that spans more than this is tried again by who opened it.
        if self._conflict is None or self._context.executor is not None:
            return await work()
        return await tried_again(work, lambda error: isinstance(error, TransientDatabaseError))

    async def _all_rows(self, data: Any) -> Tally:
        access = await self._binding.access(self._context)
        tally = Tally()
        size = rows_at_once(data, self._batch_size)
        if isinstance(data, Sequence) and len(data) <= size:
            batch, blocks = self._blocks(Batch(data, range(len(data))))
            if len(blocks) == 1 and not self._needs_transaction(blocks[0]):
                await self._write_alone(access, blocks[0], tally)
            elif blocks:
                async with self._binding.transaction(self._context) as transaction:
                    await self._write_all(transaction, blocks, tally)
            self._finish_batch(tally, batch, len(data))
            return tally
        async with self._binding.transaction(self._context) as transaction, aclosing(batches(data, size)) as left:
            async for start, rows in left:
                batch, blocks = self._blocks(Batch(rows, range(start, start + len(rows))))
                await self._write_all(transaction, blocks, tally)
                self._finish_batch(tally, batch, len(rows))
        return tally

    def _needs_transaction(self, block: Block) -> bool:
        if self._context.executor is not None:
            return True
        return self._writer.needs_transaction(self._rule(block), want_ids=self._want_ids)

    async def good_rows(self, data: Any) -> Tally:
        """Take in all rows that are good, a transaction per batch (where the context has none that is for all); the
        others are in ``failures``.
        """
        await self._binding.access(self._context)
        tally = Tally()
        async with aclosing(batches(data, self._batch_size)) as left:
            async for start, rows in left:
                batch, blocks = self._usable(Batch(rows, range(start, start + len(rows))), tally)
                if blocks:
                    tally.add_all(await self._tried_again(partial(self._good_blocks, blocks)))
                self._finish_batch(tally, batch, len(rows))
        tally.failures.sort(key=lambda failure: failure[0])
        return tally

    async def _write_alone(self, access: Access, block: Block, tally: Tally) -> None:
        """Write a block by the one statement that it takes."""
        try:
            tally.add(block, await self._write(access, block))
        except ROW_ERRORS as error:
            async with self._binding.transaction(self._context) as transaction:
                raise await self._first_failure(transaction, block, error) from error

    async def _write_all(self, transaction: TransactionAccess, blocks: list[Block], tally: Tally) -> None:
        for block in blocks:
            try:
                async with transaction.savepoint():
                    written = await self._write(transaction, block)
            except ROW_ERRORS as error:
                raise await self._first_failure(transaction, block, error) from error
            tally.add(block, written)

    async def _good_blocks(self, blocks: list[Block]) -> Tally:
        tally = Tally()
        async with self._binding.transaction(self._context) as transaction:
            for block in blocks:
                await self._write_good(transaction, block, tally)
        return tally

    async def _write_good(self, transaction: TransactionAccess, block: Block, tally: Tally) -> None:
        """Write the good rows of a block: where it fails, its halves are tried."""
        try:
            async with transaction.savepoint():
                written = await self._write(transaction, block)
        except ROW_ERRORS as error:
            if len(block) == 1:
                tally.failures.append((block.positions[0], self._explained(block, error)))
                return
            block = block.as_given()
            middle = len(block) // 2
            await self._write_good(transaction, block.part(0, middle), tally)
            await self._write_good(transaction, block.part(middle, len(block)), tally)
        else:
            tally.add(block, written)

    async def _first_failure(self, transaction: TransactionAccess, block: Block, error: DataFlowError) -> DataFlowError:
        """The error of the first row that fails, given those before it, which this writes on the way."""
        block = block.as_given()
        good, bad = 0, len(block)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                async with transaction.savepoint():
                    await self._write(transaction, block.part(good, middle))
                good = middle
            except ROW_ERRORS:
                bad = middle
        row = block.part(good, bad)
        try:
            async with transaction.savepoint():
                await self._write(transaction, row)
        except ROW_ERRORS as exact:
            return at_row(self._explained(row, exact), row.positions[0])
        first, last = block.positions[0], block.positions[-1]
        error.message = f"Rows {first} to {last}: {error.message}"
        return error

    def _explained(self, row: Block, error: ConstraintError | InputError) -> ConstraintError | InputError:
        if isinstance(error, InputError):
            return error
        fields = self._binding.codec.fields
        values = {}
        for name, (value,) in zip(row.names, row.columns, strict=True):
            decode = fields[name].decode
            values[name] = value if value is None or decode is None else decode(value)
        return explain(error, self._binding, values)

    async def _write(self, access: Access, block: Block) -> Written:
        return await self._writer.write(access, block, self._rule(block), want_ids=self._want_ids)

    def _finish_batch(self, tally: Tally, batch: Batch, count: int) -> None:
        tally.processed += count
        if batch.repeats and self._conflict is not None:
            tally.add_repeats(batch.repeats, update=self._conflict.update)

    def _usable(self, batch: Batch, tally: Tally) -> tuple[Batch, list[Block]]:
        """The blocks of a batch; rows that are refused before they reach the database become failures."""
        try:
            return self._blocks(batch)
        except REFUSALS:
            good: list[int] = []
            for index, position in enumerate(batch.positions):
                try:
                    self._blocks(Batch(batch.rows[index : index + 1], [position]))
                except REFUSALS as error:
                    tally.failures.append((position, error))
                else:
                    good.append(index)
            return self._blocks(Batch([batch.rows[i] for i in good], [batch.positions[i] for i in good]))

    def _blocks(self, batch: Batch) -> tuple[Batch, list[Block]]:
        if not batch.rows:
            return batch, []
        stamp = Stamp.now(self._context.tenant_id)
        if self._conflict is None:
            return batch, self._reader.new_rows(batch.rows, batch.positions, stamp)
        self._reader.check_rows(batch.rows, batch.positions, stamp.tenant)
        batch = merge_repeats(self._reader, batch, self._conflict)
        # For an update, rows that give other fields set other columns.
        made = self._reader.new_rows(batch.rows, batch.positions, stamp, apart=self._conflict.update)
        return batch, [part for block in made for part in self._with_and_without_key(block, self._conflict)]

    def _with_and_without_key(self, block: Block, conflict: Conflict) -> Iterator[Block]:
        """A None in a key is like no other value, so rows that have one are new; they come as a block of their own."""
        columns = [block.column(name) for name in conflict.key] if self._has_key(block) else []
        if not any(None in column for column in columns):
            yield self._in_key_order(block, conflict) if columns else block
            return
        nulls = {index for column in columns for index, value in enumerate(column) if value is None}
        if len(nulls) == len(block):
            yield block
            return
        yield self._in_key_order(block.take([index for index in range(len(block)) if index not in nulls]), conflict)
        yield block.take(sorted(nulls))

    def _in_key_order(self, block: Block, conflict: Conflict) -> Block:
        """The order in which all lock rows, so that nobody waits for somebody who waits for him."""
        fields = self._binding.codec.fields
        columns = []
        for name in conflict.key:
            decode = fields[name].decode if fields[name].spec.type.kind is Kind.DECIMAL else None
            # SQLite's text of a number has another order.
            columns.append(block.column(name) if decode is None else list(map(decode, block.column(name))))
        return block.sorted_by(columns)

    def _has_key(self, block: Block) -> bool:
        return self._conflict is not None and all(name in block.names for name in self._conflict.key)

    def _rule(self, block: Block) -> Conflict | None:
        """What to do with a block's rows that are there; None where they cannot be."""
        if self._conflict is None or not self._has_key(block):
            return None
        return None if any(block.column(name)[0] is None for name in self._conflict.key) else self._conflict
