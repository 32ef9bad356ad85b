"""``db.on`` and its kin: change events, who reads them, and what they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from dataflow.databases.interface import Database
from dataflow.errors import TriggerError
from dataflow.jobs import Broker, JobQueue
from dataflow.jobs.actor import Actor
from dataflow.jobs.signatures import SigningKeys
from dataflow.loop_thread import run_sync
from dataflow.models import ModelSpec
from dataflow.nodes import Node
from dataflow.nodes.current import tenant_of_run
from dataflow.nodes.interface import RunContext
from dataflow.workflows import Workflow, WorkflowBuilder

if TYPE_CHECKING:
    from dataflow.events.dead_letters import DeadLetter, DeadLetters
    from dataflow.events.inbox import Inbox
    from dataflow.events.reading import EventReader, OnLoss
    from dataflow.events.selection import Selection
    from dataflow.events.since import Since
    from dataflow.events.triggers import Triggers
    from dataflow.nodes.generated.transaction import NodeTransaction
    from dataflow.settings import Settings

Target = TypeVar("Target", bound=Callable[..., Any])


class OffersEvents(ABC):
    """The part of a DataFlow instance that has events."""

    name: str
    settings: Settings
    database: Database
    _nodes: dict[str, Node]
    _actors: dict[str, Actor[..., Any]]
    _workflows: dict[str, Workflow]
    _factories: dict[str, Callable[[], Any]]
    _signing_keys: SigningKeys | None

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
            on_loss: ``"raise"`` or ``"log"`` where events are gone that had yet to be read, or an entry is no event.

        Raises:
            InputError: An argument is wrong.

        Example:
            >>> async for event in db.events(Order, filter={"status": "completed"}, transition=True):
            ...     print(event.after["id"], event.ts)
        """
        from dataflow.events.groups import GroupReader
        from dataflow.events.reading import FollowingReader

        selection = self._selection(
            subjects, operations=operations, filter=filter, transition=transition, changed=changed
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

        return DeadLetters(self.broker, self.name, {"trigger": self._start_again, "webhook": self._start_again})

    async def _start_again(self, letter: DeadLetter) -> None:
        """Start the job of a trigger for a dead letter; one that failed runs again."""
        from dataflow.events.envelope import decode

        _, _, trigger = letter.reader.partition(":")
        job = await self.triggers.fire_async(trigger, decode(letter.event, self.models))
        await job.requeue_async()

    @abstractmethod
    def transaction(self, *, tenant_id: str | None = None) -> NodeTransaction:
        """Nodes that commit together."""

    @abstractmethod
    def queue(self, name: str = "default", url: str | None = None) -> JobQueue:
        """A queue of workflows."""

    @cached_property
    def triggers(self) -> Triggers:
        """The triggers of this instance, to add, change and look at.

        Raises:
            ConfigurationError: The instance's name has other characters than letters, digits, ``_`` and ``-``.
        """
        from dataflow.events.triggers import Triggers
        from dataflow.events.triggers.making import TriggeredJobs

        jobs = TriggeredJobs(self.name, self.queue, lambda: self.models, self._workflows, self._actors, self._nodes)
        return Triggers(self.name, lambda: self.broker, jobs, self._target_of, self._signing_keys)

    def on(
        self,
        subjects: type | str | Sequence[type | str],
        *operations: str,
        name: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        transition: bool = False,
        changed: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        ordering_key: str | None = None,
        **options: Any,
    ) -> Callable[[Target], Target]:
        """Start an actor, or what ``db.workflow`` decorates, for each event of a kind (decorator; may be stacked, each
        with a name). One event starts one job, whatever crashes.

        It stays as it is. Triggers get into Redis when a scheduler (``dataflow scheduler``) starts, and are about what
        is published from then on.

        Args:
            subjects: Models (class, name or table) and types of messages (``"@order_created"``), one or several.
            operations: ``"create"``, ``"update"``, ``"delete"`` (default these), ``"read"`` (rows of a snapshot) or
                ``"truncate"``.
            name: Its name: letters, digits, ``_`` and ``-``; default that of the workflow or actor.
            filter: What the row must be like (docs/queries.md): the row after, of a delete the one before.
            transition: Only events that made the row match, which it did not before.
            changed: Only updates that changed one of these fields.
            inputs: Input of the workflow, or argument of the actor → path into the event: ``{"order_id": "after.id"}``;
                default one input ``event``, the whole.
            ordering_key: Jobs with the same key run one after the other: text with paths, ``"order:{row.id}"``.
            options: Of the jobs: ``queue``, ``timeout``, ``retry``, ``tenant_id`` (default whose row it is),
                ``at_front``, ``result_ttl``, ``failure_ttl``, ``meta``, ``exactly_once``.

        Raises:
            TriggerError: An argument is wrong, the name is taken, or it decorates something else.

        Example:
            >>> completed = {"status": "completed"}
            >>> @db.on(Order, "update", filter=completed, transition=True, inputs={"order_id": "after.id"})
            ... @db.actor
            ... async def fulfil(order_id: int) -> None: ...
        """
        given: dict[str, Any] = {
            "operations": operations, "filter": filter, "transition": transition, "changed": changed,
            "inputs": inputs, "ordering_key": ordering_key, **options,
        }  # fmt: skip

        def register(target: Target) -> Target:
            workflow = self._target_of(target)
            if not isinstance(workflow, str):
                raise _no_target(target)
            self.triggers.declare(self.triggers.trigger(name or workflow, workflow, subjects, **given))
            return target

        return register

    def publish(self, event_type: str, payload: Mapping[str, Any]) -> None:
        """``publish_async`` from synchronous code, without a transaction."""
        run_sync(self.publish_async(event_type, payload))

    async def publish_async(
        self, event_type: str, payload: Mapping[str, Any], *, transaction: NodeTransaction | None = None
    ) -> None:
        """Tell a message of the application: an event of op ``m`` in the stream ``@TYPE`` of this instance.

        It is a row in ``dataflow_outbox``, which ``dataflow capture`` publishes. It carries the tenant of the
        transaction, or of the run that this is called in.

        Args:
            event_type: Such as ``order_created``: up to 120 letters, digits, ``_``, ``.`` and ``-``.
            payload: What it says: values that JSON or fields of models have, 1 MiB of JSON at most.
            transaction: What it is committed with, or undone; default by itself.

        Raises:
            InputError: Type or payload cannot be sent.
            MissingTableError: The outbox is not there, and this instance may not create it.
            DatabaseError: It could not be written.

        Example:
            >>> async with db.transaction() as transaction:
            ...     order = await transaction.run("OrderCreateNode", {"customer": "Ada"})
            ...     await db.publish_async("order_created", {"id": order["id"]}, transaction=transaction)
        """
        inputs = {"event_type": event_type, "payload": payload}
        if transaction is not None:
            await transaction.run("EventPublishNode", inputs)
        else:
            context = RunContext("publish", "publish", tenant_of_run(None))
            await self._nodes["EventPublishNode"].run(inputs, context)

    def inbox(
        self,
        consumer: str,
        *subjects: type | str,
        operations: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        transition: bool = False,
        changed: Sequence[str] = (),
        since: Since = None,
        on_loss: OnLoss = "raise",
    ) -> Inbox:
        """Events for one consumer, each with a transaction for its effects, which happen once, whatever crashes.

        How far the consumer is, is a row of ``dataflow_inbox`` in the same transaction. Several processes may read for
        it: one works, the others stand by. An event whose block raises comes again; ``delivery.attempt`` counts.

        Args:
            consumer: Its name; letters, digits, ``_`` and ``-``. It belongs to the instance.
            subjects: Models (class, name or table), and types of messages (``"@order_created"``); none: all models.
            operations: As of ``events``, as are ``filter``, ``transition`` and ``changed``.
            filter: What the row must be like.
            transition: Only events that made the row match.
            changed: Only updates that changed at least one of these fields.
            since: Where it begins when it is new, as of ``events``; later on it goes on where it was.
            on_loss: ``"raise"`` or ``"log"`` where events are gone that had yet to be read.

        Raises:
            InputError: An argument is wrong.

        Example:
            >>> async for delivery in db.inbox("stock", "@order_created"):
            ...     async with delivery as transaction:
            ...         sold = {"$inc": -delivery.event.after["count"]}
            ...         await transaction.run("StockUpdateNode", {"id": 7, "fields": {"left": sold}})
        """
        from dataflow.events.inbox import Inbox

        selection = self._selection(
            subjects, operations=operations, filter=filter, transition=transition, changed=changed
        )
        return Inbox(self, consumer, selection, since=since, on_loss=on_loss)

    def _selection(self, subjects: Sequence[type | str], **given: Any) -> Selection:
        """Which events are meant; all models that have any, where none is named."""
        from dataflow.events.selection import Selection

        wanted = subjects or [name for name, spec in self.models.items() if spec.features.events]
        return Selection(self.models, wanted, **given)

    def _target_of(self, target: Any) -> str | Workflow:
        """The name that a workflow or actor is registered under; a workflow that is not, as it is."""
        known: tuple[Mapping[str, Any], ...] = (self._actors, self._factories, self._workflows)
        if isinstance(target, str):
            return target  # whether there is one is checked where it is used
        for things in known:
            for name, thing in things.items():
                if thing is target:
                    return name
        if isinstance(target, WorkflowBuilder):
            return target.build()
        if isinstance(target, Workflow):
            return target
        raise _no_target(target)


def _no_target(target: object) -> TriggerError:
    return TriggerError(
        f"A trigger runs an actor or a registered workflow of this instance, not {target!r}.",
        hint="Put @db.actor or @db.workflow beneath @db.on.",
        part="workflow",
    )
