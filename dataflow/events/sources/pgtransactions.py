"""From messages of pgoutput to chunks: which change is at which place, and how many are held at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from dataflow.events.envelope import Op
from dataflow.events.sources.interface import Chunk, Place, RowChange
from dataflow.events.sources.pgoutput import (
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Relation,
    Truncate,
    Update,
    decode,
    moment,
)
from dataflow.events.sources.pgvalues import RowReader
from dataflow.events.tables import OUTBOX
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec

_OUTBOX = ModelSpec(
    "Outbox",
    OUTBOX,
    (
        FieldSpec("op", FieldType(Kind.STR, str)),
        FieldSpec("name", FieldType(Kind.STR, str)),
        FieldSpec("row_before", FieldType(Kind.STR, str), nullable=True),
        FieldSpec("row_after", FieldType(Kind.JSON, object), nullable=True),
    ),
)
#: Changes in a chunk, and bytes of their messages, at most (one more change may be as long as it is).
CHUNK_CHANGES, CHUNK_BYTES = 1000, 1 << 20


class _Table:
    """A table as its last Relation message described it."""

    def __init__(self, relation: Relation, spec: ModelSpec) -> None:
        self.columns = relation.columns
        self.name = spec.table_name
        self.reader = RowReader(spec, relation)


class Transactions:
    """Turns messages into chunks, and knows where to go on after a connection broke.

    Args:
        models: Table name → model; rows of other tables are counted, and not told.
        mark_prefix: Prefix of the messages that are marks.
        after: The last change that is known already.
    """

    def __init__(self, models: Mapping[str, ModelSpec], mark_prefix: str, after: Place | None) -> None:
        self._models = {**models, OUTBOX: _OUTBOX}
        self._mark_prefix = mark_prefix
        #: Changes up to this place are known.
        self._known = after or Place(0, 0)
        #: Where to ask the server to begin; None: where its slot stands.
        self.next_lsn = None if after is None else after.position
        self._mark: str | None = None
        self._open = False
        self._reset()

    def begin(self, confirmed: int) -> None:
        """A connection begins to stream.

        Args:
            confirmed: What was committed before is not told any more.
        """
        if self.next_lsn is None:
            self.next_lsn = confirmed
            self._known = Place(max(confirmed - 1, 0), 0)
        self._reset()

    def read(self, data: bytes) -> Sequence[Chunk]:
        """Take in a message; the chunks that it completes."""
        message = decode(data)
        if isinstance(message, Insert | Update | Delete):
            table = self._tables.get(message.relation)
            wanted = table is not None and self._is_news()
            return self._add(_change(table, message) if table is not None and wanted else None, len(data))
        if isinstance(message, Begin):
            self._start(message)
        elif isinstance(message, Commit):
            return self._commit()
        elif isinstance(message, Relation):
            self._describe(message)
        elif isinstance(message, Truncate):
            return self._truncate(message, len(data))
        elif isinstance(message, Message) and message.prefix == self._mark_prefix:
            self._mark = message.content.decode()
        return ()

    def idle(self, lsn: int, at: datetime) -> Chunk | None:
        """The server has told all before an LSN: a chunk without changes that moves the position there.

        None within a transaction, and where the position is as far already.
        """
        if self._open or lsn - 1 <= self._known.position:
            return None
        self._begun = Begin(lsn - 1, at, 0)
        return self._chunk(lsn - 1, 0, [], last=True, next_lsn=lsn)

    def _reset(self) -> None:
        # A transaction that is told again begins with the tables as they were then.
        self._tables: dict[int, _Table | None] = {}
        self._altered: list[RowChange] = []
        self._start(Begin(0, moment(0), 0))

    def _start(self, begun: Begin) -> None:
        self._begun = begun
        self._open = begun.lsn > 0
        self._mark = None
        #: Index of the next change, and of the first one that is held.
        self._index = self._first = 0
        self._held: list[RowChange] = []
        self._bytes = 0
        self._told = False

    def _is_news(self) -> bool:
        return (self._begun.lsn, self._index) > self._known

    def _truncate(self, message: Truncate, size: int) -> Sequence[Chunk]:
        chunks: list[Chunk] = []
        for relation in message.relations:
            table = self._tables.get(relation)
            wanted = table is not None and table.name != OUTBOX and self._is_news()
            chunks += self._add(RowChange(Op.TRUNCATE, table.name) if table is not None and wanted else None, size)
        return chunks

    def _add(self, change: RowChange | None, size: int) -> Sequence[Chunk]:
        """Count a change; hold it, unless it is None."""
        index = self._index
        self._index += 1
        if change is None:
            return ()
        full = len(self._held) >= CHUNK_CHANGES or self._bytes >= CHUNK_BYTES
        chunks: Sequence[Chunk] = ()
        if self._held and (full or self._first + len(self._held) != index):
            chunks = self._tell(last=False)
        if not self._held:
            self._first = index
        self._held.append(change)
        self._bytes += size
        return chunks

    def _tell(self, *, last: bool) -> list[Chunk]:
        lsn = self._begun.lsn
        chunks = [] if self._told else self._tell_altered(lsn - 1, next_lsn=lsn)
        self._told = True
        held, self._held, self._bytes = self._held, [], 0
        first = self._first if held else self._index
        chunks.append(self._chunk(lsn, first, held, last=last, next_lsn=lsn + 1 if last else lsn))
        return chunks

    def _commit(self) -> list[Chunk]:
        lsn = self._begun.lsn
        chunks = [*self._tell(last=True), *self._tell_altered(lsn + 1, next_lsn=lsn + 2)]
        self._open = False
        return chunks

    def _tell_altered(self, position: int, next_lsn: int) -> list[Chunk]:
        altered, self._altered = self._altered, []
        if not altered or position <= self._known.position:
            return []
        return [self._chunk(position, 0, altered, last=True, next_lsn=next_lsn)]

    def _chunk(self, position: int, first: int, changes: list[RowChange], *, last: bool, next_lsn: int) -> Chunk:
        # Of a transaction that ended nothing is asked again, so its index does not matter any more.
        self._known = Place(position, first + max(len(changes) - 1, 0))
        self.next_lsn = next_lsn
        begun = self._begun
        mark = self._mark if last and position == begun.lsn else None
        return Chunk(position, first, changes, last, str(begun.xid), begun.committed_at, mark)

    def _describe(self, relation: Relation) -> None:
        spec = self._models.get(relation.name)
        if spec is None:
            self._tables[relation.oid] = None
            return
        before = self._tables.get(relation.oid)
        self._tables[relation.oid] = _Table(relation, spec)
        # The server also sends it anew without need.
        if before is not None and before.columns != relation.columns and spec is not _OUTBOX:
            self._altered.append(RowChange(Op.SCHEMA, spec.table_name))


def _change(table: _Table, message: Insert | Update | Delete) -> RowChange | None:
    """What a message says of a row; None of what is no news: that a message was cleared away, for one."""
    reader = table.reader
    if table.name == OUTBOX:
        row = reader.row(message.new)[0] if isinstance(message, Insert) else {}
        if row.get("op") != Op.MESSAGE:
            return None
        return RowChange(Op.MESSAGE, row["name"], after=row["row_after"], tenant=row["row_before"])
    if isinstance(message, Insert):
        after, unknown = reader.row(message.new)
        return RowChange(Op.CREATE, table.name, None, after, unknown)
    if isinstance(message, Delete):
        before, unknown = reader.key(message.old) if message.key_only else reader.row(message.old)
        return RowChange(Op.DELETE, table.name, before, None, unknown)
    if message.old is None or message.key_only:
        after, unknown = reader.row(message.new)
        old = None if message.old is None else reader.key(message.old)[0]
        return RowChange(Op.UPDATE, table.name, old, after, unknown)
    after, unknown = reader.row(message.new, message.old)
    before, unknown_before = reader.row(message.old)
    return RowChange(Op.UPDATE, table.name, before, after, tuple(dict.fromkeys((*unknown, *unknown_before))))
