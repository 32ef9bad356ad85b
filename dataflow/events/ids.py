"""Ids of entries: a position in the database's log, with the log's epoch in its highest bits, and an index.

All streams of an instance share these positions: an id tells the same place in each of them.
"""

from __future__ import annotations

from dataflow.errors import InputError

#: Position and index, as they are compared.
EntryId = tuple[int, int]
#: Before every entry.
START: EntryId = (0, 0)


def parse_id(text: bytes | str) -> EntryId:
    """An id as Redis writes it; without an index, 0.

    Raises:
        ValueError: It is none.
    """
    position, _, index = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(position), int(index or 0)


def checked_id(text: str) -> EntryId:
    """An id that somebody gave.

    Raises:
        InputError: It is none.
    """
    try:
        position, index = found = parse_id(text)
    except ValueError:
        position, index = found = (-1, -1)
    if min(found) < 0 or max(found) >= 1 << 64:
        raise InputError(f"{text!r} is no id of an event.", hint="Ids look like 72057594060718864-0.", value=text)
    return position, index


def id_text(entry_id: EntryId) -> str:
    """The reverse of ``parse_id``."""
    return f"{entry_id[0]}-{entry_id[1]}"


def after(entry_id: EntryId) -> EntryId:
    """The next id there could be."""
    return entry_id[0], entry_id[1] + 1


def epoch_of(entry_id: EntryId) -> int:
    """Which log its position is in."""
    return entry_id[0] >> 56


def before(entry_id: EntryId) -> EntryId:
    """The greatest id there could be before one."""
    position, index = entry_id
    return (position, index - 1) if index else (position - 1, (1 << 64) - 1)
