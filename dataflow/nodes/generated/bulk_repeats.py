"""Rows of one batch that have the same conflict key, made one, as if they had been written one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.models.spec import Managed
from dataflow.nodes.generated.bulk_writer import Conflict
from dataflow.queries.bulk_block import InputRow
from dataflow.queries.bulk_reader import BlockReader, column_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a batch, no two of which have the same conflict key.

    Attributes:
        rows: The rows.
        positions: Their numbers in the input.
        repeats: Number of a row that was merged into another → number of that one.
    """

    rows: Sequence[InputRow]
    positions: Sequence[int]
    repeats: dict[int, int] = field(default_factory=dict)


def merge_repeats(reader: BlockReader, batch: Batch, conflict: Conflict) -> Batch:
    """The batch without repeats: for an upsert the last row wins, field by field; else the first.

    Raises:
        InputError: A value of the key is wrong.
    """
    # All rows of a batch are of one tenant.
    key_names = [name for name in conflict.key if reader.spec.by_name[name].managed is not Managed.TENANT_ID]
    batch = _with_key_defaults(reader, batch, key_names)
    rows, positions = batch.rows, batch.positions
    raw = [column_of(rows, name) for name in key_names]
    keyed: Sequence[int] = range(len(rows))
    if any(None in column for column in raw):
        keyed = [index for index in keyed if all(column[index] is not None for column in raw)]
        raw = [[column[index] for index in keyed] for column in raw]
    at = positions if len(keyed) == len(rows) else [positions[index] for index in keyed]
    columns = [reader.bind(name, column, at) for name, column in zip(key_names, raw, strict=True)]
    keys: list[Any] = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    if len(set(keys)) == len(keys):
        return batch
    merged = list(rows)
    first_of: dict[Any, int] = {}
    repeats: dict[int, int] = {}
    dropped: set[int] = set()
    primary = reader.spec.primary_key.name
    for index, key in zip(keyed, keys, strict=True):
        first = first_of.setdefault(key, index)
        if first == index:
            continue
        reader.check_names(rows[index], positions[index])
        repeats[positions[index]] = positions[first]
        dropped.add(index)
        if conflict.update:
            later = {name: value for name, value in rows[index].items() if name != primary and conflict.sets(name)}
            merged[first] = {**merged[first], **later}
    left = [index for index in range(len(rows)) if index not in dropped]
    return Batch([merged[index] for index in left], [positions[index] for index in left], repeats)


def _with_key_defaults(reader: BlockReader, batch: Batch, key: Sequence[str]) -> Batch:
    """Rows that leave out a field of the key get its default now, since it decides whether they conflict."""
    missing = [
        reader.spec.by_name[name]
        for name in key
        if reader.spec.by_name[name].has_default and not all(name in row for row in batch.rows)
    ]
    if not missing:
        return batch
    rows = [
        {**{item.name: item.new_default() for item in missing if item.name not in row}, **row} for row in batch.rows
    ]
    return Batch(rows, batch.positions, batch.repeats)
