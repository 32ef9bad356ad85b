"""What users give the bulk nodes as ``data``, in batches: only one batch is in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from dataflow.errors import InputError, TypeMismatchError
from dataflow.queries.bulk_reader import BlockReader

#: Rows of a list whose field names are checked when a workflow is built; longer ones are left to the run.
CHECKED_ROWS = 1_000
#: Rows of a list that are written at once, at least.
LIST_ROWS = 25_000


def check_data(data: Any) -> Any:
    """Coercer of the parameter ``data``.

    Raises:
        TypeMismatchError: It holds no rows.
    """
    if isinstance(data, Iterable | AsyncIterable) and not isinstance(data, str | bytes | bytearray | Mapping):
        return data
    hint = (
        "Put it into a list: [row]." if isinstance(data, Mapping) else "Give a list of dicts, or an iterator of them."
    )
    raise TypeMismatchError(f"'data' takes rows, got {type(data).__name__}.", hint=hint, parameter="data")


def check_batch_size(size: Any) -> int:
    """Coercer of the parameter ``batch_size``.

    Raises:
        InputError: It is not a whole number from 1.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"batch_size is a whole number from 1, got {size!r}.", parameter="batch_size")
    return size


async def batches(data: Any, size: int) -> AsyncGenerator[tuple[int, Sequence[Any]], None]:
    """``(number of the first row, rows)`` of each batch; none is empty.

    Args:
        data: A sequence, an iterable or an async iterable of rows.
        size: Rows per batch, at most.
    """
    start = 0
    if isinstance(data, Sequence):
        for start in range(0, len(data), size):
            yield start, data[start : start + size]
    elif isinstance(data, AsyncIterable):
        rows: list[Any] = []
        async for row in data:
            rows.append(row)
            if len(rows) == size:
                yield start, rows
                start += size
                rows = []
        if rows:
            yield start, rows
    else:
        iterator = iter(data)
        while rows := list(islice(iterator, size)):
            yield start, rows
            start += len(rows)


def rows_at_once(data: Any, batch_size: int) -> int:
    """Rows per batch where all are one transaction: a list is in memory anyway, and larger batches are faster."""
    return max(batch_size, LIST_ROWS) if isinstance(data, Sequence) else batch_size


def check_names(reader: BlockReader, data: Any) -> None:
    """Check the field names of rows that are known when a workflow is built.

    Raises:
        UnknownFieldError, TypeMismatchError: With the row's number.
    """
    if isinstance(data, list | tuple) and len(data) <= CHECKED_ROWS:
        for position, row in enumerate(data):
            reader.check_names(row, position)
