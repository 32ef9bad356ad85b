"""EntryMaker: from a change of a row to the entry of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dataflow.events.envelope import Event, Op, Source, encode, entry_id
from dataflow.events.publisher import Entry
from dataflow.events.sources.interface import Chunk, RowChange
from dataflow.models import ModelSpec


class EntryMaker:
    """Makes the entries of one instance.

    Args:
        owner: Name of the instance.
        kind: Its database: ``postgresql``, ``mysql`` or ``sqlite``.
        mechanism: How changes are captured.
        models: Whose changes they are.

    Attributes:
        epoch: Counts the database's logs.
    """

    def __init__(self, owner: str, kind: str, mechanism: str, models: Sequence[ModelSpec]) -> None:
        self.epoch = 0
        self._owner = owner
        self._kind = kind
        self._mechanism = mechanism
        self._models = {spec.table_name: spec for spec in models}

    def make(self, chunk: Chunk, change: RowChange, index: int, read_at: datetime, *, snapshot: bool = False) -> Entry:
        """The entry of a change.

        Args:
            chunk: What the change came in.
            change: The change.
            index: Its number within the transaction.
            read_at: When it was read.
            snapshot: Whether it is a row of a snapshot.
        """
        message = change.op is Op.MESSAGE
        spec = None if message else self._models.get(change.table)
        before, after = change.before, change.after
        changed: tuple[str, ...] = ()
        if spec is not None and change.op is Op.UPDATE and before is not None and after is not None:
            changed = tuple(
                item.name
                for item in spec.fields
                if item.events != "omit" and item.name in before and before[item.name] != after.get(item.name)
            )
        tenant = change.tenant
        if spec is not None and spec.features.multi_tenant and (row := after or before):
            tenant = row.get("tenant_id")
        event = Event(
            id=entry_id(self.epoch, chunk.position, index),
            op=change.op,
            before=before,
            after=after,
            changed=changed,
            source=Source(
                db=self._owner,
                kind=self._kind,
                table=change.table,
                model=spec.name if spec is not None else None,
                tenant=tenant,
                mechanism=self._mechanism,
                position=chunk.position,
                epoch=self.epoch,
                snapshot=snapshot,
                unavailable=change.unavailable,
            ),
            transaction=chunk.transaction,
            index=index,
            ts=chunk.committed_at,
            read_at=read_at,
        )
        return Entry(f"@{change.table}" if message else change.table, event.id, encode(event, spec))
