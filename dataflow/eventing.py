"""``db.events``, ``db.on`` and their kin: change events, who reads them, and what they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflow.jobs import Broker
from dataflow.models import ModelSpec

if TYPE_CHECKING:
    from dataflow.events.dead_letters import DeadLetters
    from dataflow.events.reading import EventReader, OnLoss
    from dataflow.events.since import Since


class OffersEvents(ABC):
    """The part of a DataFlow instance that has events."""

    name: str

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The Redis that the streams of events are in."""

    @property
    @abstractmethod
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""

    def events(
        self,
        *subjects: type | str,
        operations: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        transition: bool = False,
        changed: Sequence[str] = (),
        since: Since = None,
        group: str | None = None,
        idle: float = 60.0,
        attempts: int = 5,
        on_loss: OnLoss = "raise",
    ) -> EventReader:
        """Events of this instance as they come, in the order in which they were committed: ``async for event in …``.

        It waits for events to come, and for a Redis that is away; ``dataflow capture`` publishes them.

        Args:
            subjects: Models (class, name or table), and types of messages (``"@order_created"``); none: all models.
            operations: ``create``, ``update``, ``delete`` (these by default), ``read``, ``truncate``; SQL's words and
                Debezium's letters mean the same.
            filter: What the row must be like, in the words of queries; it is asked of the row after, of a delete of the
                row before. Of a message, what its payload must be like.
            transition: Only events that made the row match: it did not before.
            changed: Only updates that changed at least one of these fields.
            since: None: from now on, when the loop begins. ``"start"``: all that is kept. An event, or its id: what
                came after it. A datetime, or how long ago: what was committed since. For a group: where it begins when
                it is new.
            group: Processes that share the events; each event is given to one of them. It is done when the next one is
                asked for, or by ``done()``; one that is not comes again.
            idle: Seconds of silence after which what a process of the group holds is given to another.
            attempts: Deliveries of an event in the group before it is moved to the dead letters.
            on_loss: ``"raise"`` or ``"log"`` where events are gone that had yet to be read.

        Raises:
            InputError: An argument is wrong.

        Example:
            >>> async for event in db.events(Order, filter={"status": "completed"}, transition=True):
            ...     print(event.after["id"], event.ts)
        """
        from dataflow.events.groups import GroupReader
        from dataflow.events.reading import FollowingReader
        from dataflow.events.selection import Selection

        wanted = subjects or [name for name, spec in self.models.items() if spec.features.events]
        selection = Selection(
            self.models, wanted, operations=operations, filter=filter, transition=transition, changed=changed
        )
        if group is None:
            return FollowingReader(self.name, self.broker, self.models, selection, since=since, on_loss=on_loss)
        return GroupReader(
            self.name, self.broker, self.models, selection, group,
            since=since, idle=idle, attempts=attempts, on_loss=on_loss,
        )  # fmt: skip

    @property
    def dead_events(self) -> DeadLetters:
        """Events that groups, triggers and the like could not do: ``list()`` them, and ``retry()`` one."""
        from dataflow.events.dead_letters import DeadLetters

        return DeadLetters(self.broker, self.name)
