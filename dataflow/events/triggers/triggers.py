"""Triggers: those of an instance, as its users see and change them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from dataflow.errors import (
    ConfigurationError,
    DataFlowError,
    DuplicateJobError,
    TriggerError,
    TriggerNotFoundError,
    did_you_mean,
)
from dataflow.events.envelope import Event, Op
from dataflow.events.selection import MESSAGE
from dataflow.events.triggers.ids import event_job_id
from dataflow.events.triggers.info import TriggerInfo, info_of
from dataflow.events.triggers.making import TriggeredJobs
from dataflow.events.triggers.store import NOW, Entry, TriggerStore
from dataflow.events.triggers.trigger import Trigger
from dataflow.jobs.broker import Broker
from dataflow.jobs.job import Job
from dataflow.jobs.signatures import SigningKeys
from dataflow.loop_thread import run_sync
from dataflow.workflows import Workflow, WorkflowBuilder

#: Times that a change is tried, where somebody else changes the trigger meanwhile.
TRIES = 50
#: A place before all events.
START = "0-0"

_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"\d+-\d+")

#: What a trigger runs: a registered workflow or actor, by name or itself, or a workflow of its own.
Target = Workflow | WorkflowBuilder | Callable[..., Any] | str


class Triggers:
    """The triggers of an instance: ``db.triggers``.

    What is changed here is kept in Redis and counts at once. A trigger that is declared in the code (``db.on``) gets
    there when a scheduler starts. Every method has an ``…_async`` form for async code.

    Args:
        owner: Name of the instance; its triggers are its own.
        broker: Gives the broker.
        jobs: Makes jobs.
        targets: Gives the name of a workflow or actor that is registered, or a workflow of its own as it is.
        signing_keys: Sign declarations, and refuse those that are not signed.

    Example:
        >>> db.triggers.add("mail", "send_receipt", "@order_created", inputs={"order": "after.id"})
        >>> db.triggers.pause("mail", "the mail server moves")
        >>> db.triggers.get("mail").state
        'paused'
    """

    def __init__(
        self,
        owner: str,
        broker: Callable[[], Broker],
        jobs: TriggeredJobs,
        targets: Callable[[Any], str | Workflow],
        signing_keys: SigningKeys | None = None,
    ) -> None:
        if not _OWNER.fullmatch(owner):
            raise ConfigurationError(
                f"Triggers belong to an instance by its name, and {owner!r} cannot be part of a job's id.",
                hint="DataFlow(name=…) with 1 to 64 letters, digits, '_' and '-'.",
            )
        self.owner = owner
        self.jobs = jobs
        self._broker = broker
        self._targets = targets
        self._keys = signing_keys
        self._declared: dict[str, Trigger] = {}

    # Declared in the code

    @property
    def declared(self) -> Sequence[Trigger]:
        """Those that the code declares."""
        return tuple(self._declared.values())

    def declare(self, trigger: Trigger) -> None:
        """Note a trigger that the code declares.

        Raises:
            TriggerError: There is one of that name, or it could start nothing.
        """
        if trigger.name in self._declared:
            raise TriggerError(
                f"A trigger named {trigger.name!r} is declared already.",
                hint="Give each a name: @db.on(…, name=…).",
                part="name",
                value=trigger.name,
            )
        self.jobs.check(trigger)
        self._declared[trigger.name] = trigger

    def store(self, broker: Broker | None = None) -> TriggerStore:
        """Where they are kept, in the instance's broker or another."""
        return TriggerStore(broker or self._broker(), self.owner, self._keys)

    def in_broker(self, broker: Broker) -> Triggers:
        """The triggers of the same instance in another broker."""
        other = Triggers(self.owner, lambda: broker, self.jobs, self._targets, self._keys)
        other._declared = self._declared
        return other

    # Changes

    async def add_async(
        self,
        name: str,
        workflow: Target,
        subjects: type | str | Sequence[type | str],
        *,
        operations: Sequence[str] = (),
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        transition: bool = False,
        changed: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        ordering_key: str | None = None,
        since: str | None = None,
        replace: bool = False,
        **options: Any,
    ) -> TriggerInfo:
        """Add a trigger. Adding one again that is there exactly so changes nothing.

        Args:
            name: Its name: letters, digits, ``_`` and ``-``.
            workflow: A registered workflow, an actor, what ``db.workflow`` decorated, the name of one, or a workflow
                that is not registered and is kept with the trigger.
            subjects: Models (class, name or table) and types of messages (``"@order_created"``), one or several.
            operations: ``create``, ``update``, ``delete`` (default these), ``read`` or ``truncate``.
            filter: What the row must be like (docs/queries.md).
            transition: Only events that made the row match.
            changed: Only updates that changed one of these fields.
            inputs: Input → path into the event: ``{"order_id": "after.id"}``; default one input ``event``, the whole.
            ordering_key: Jobs with the same key run one after the other, in the order of the events of a table:
                ``"order:{row.id}"``.
            since: From which event on: None from now on, ``"start"`` all that the streams still hold, or the id of the
                last event that it is not about.
            replace: Change a trigger of that name that is another; it keeps its place.
            options: Of the jobs: ``queue``, ``timeout``, ``retry``, ``tenant_id``, ``at_front``, ``result_ttl``,
                ``failure_ttl``, ``meta``, ``exactly_once``.

        Raises:
            TriggerError: An argument is wrong, the workflow is unknown, or there is another trigger of that name.
            BrokerUnavailableError: The broker cannot be reached.
        """
        trigger = self.trigger(
            name, workflow, subjects, operations=operations, filter=filter, transition=transition, changed=changed,
            inputs=inputs, ordering_key=ordering_key, **options,
        )  # fmt: skip
        return await self.keep_async(trigger, since=since, replace=replace)

    async def keep_async(self, trigger: Trigger, *, since: str | None = None, replace: bool = True) -> TriggerInfo:
        """Keep a trigger that is made already; the rest as of ``add``."""
        name, streams = trigger.name, self.jobs.check(trigger).streams
        places = dict.fromkeys(streams, _place(since)) if since is not None else {}

        async def add(store: TriggerStore, entry: Entry) -> bool:
            if not entry:
                return await store.put(
                    entry, state="active", streams=streams, trigger=trigger, places=places, origin="runtime"
                )
            if _same(store, entry, trigger):
                return True
            if not replace or entry.text("origin") == "declared":
                declared = entry.text("origin") == "declared"
                hint = "It is declared in the code" if declared else "replace=True changes that one"
                raise TriggerError(
                    f"There is another trigger named {name!r}.", hint=f"{hint}; or take another name.", part="name",
                    value=name,
                )  # fmt: skip
            return await store.put(
                entry, state=entry.text("state"), reason=entry.text("reason"), streams=streams, trigger=trigger
            )

        return await self._change(name, add, must_exist=False)

    def trigger(self, name: str, workflow: Target, subjects: Any, **given: Any) -> Trigger:
        """A trigger from the arguments of ``add``, checked by itself.

        Raises:
            TriggerError: An argument is wrong.
        """
        own = {key: given.pop(key) for key in _OWN if key in given}
        several = [subjects] if isinstance(subjects, str | type) else subjects
        names = [item.__name__ if isinstance(item, type) else item for item in several]
        return Trigger(name=name, workflow=self._targets(workflow), subjects=names, options=given, **own)

    async def pause_async(self, name: str, reason: str | None = None) -> TriggerInfo:
        """Let a trigger start nothing until it is resumed. It keeps its place: no event is lost meanwhile.

        Args:
            name: Its name.
            reason: Shown to those who look.

        Raises:
            TriggerNotFoundError: There is no such trigger.
            BrokerUnavailableError: The broker cannot be reached.
        """

        async def pause(store: TriggerStore, entry: Entry) -> bool:
            return await store.put(entry, state="paused", streams=entry.streams, reason=reason or "")

        return await self._change(name, pause)

    async def resume_async(self, name: str, *, skip: bool = False) -> TriggerInfo:
        """Let a paused trigger go on with the events that came meanwhile.

        Args:
            name: Its name.
            skip: Leave those out.

        Raises:
            TriggerNotFoundError: There is no such trigger.
            BrokerUnavailableError: The broker cannot be reached.
        """

        async def resume(store: TriggerStore, entry: Entry) -> bool:
            if entry.text("state") == "active" and not skip:
                return True
            places = dict.fromkeys(entry.streams, NOW) if skip else {}
            return await store.put(entry, state="active", streams=entry.streams, places=places)

        return await self._change(name, resume)

    async def remove_async(self, name: str) -> None:
        """Remove a trigger that was added at run time. Jobs that it has started go on.

        Raises:
            TriggerNotFoundError: There is no such trigger.
            TriggerError: It is declared in the code.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        for _ in range(TRIES):
            entry = await self._found(store, name)
            if entry.text("origin") == "declared":
                raise TriggerError(
                    f"The trigger {name!r} is declared in the code, and would be back when a scheduler starts.",
                    hint="Remove it from the code, or pause it.",
                )
            if await store.remove(entry):
                return
        raise _contended(name)

    async def fire_async(self, name: str, event: Event) -> Job:
        """Start the job of a trigger for one event, whatever its filter says: as for a dead letter that is tried again.

        An event whose job is still known starts no other.

        Raises:
            TriggerNotFoundError: There is no such trigger.
            DataFlowError: The event cannot become a job.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        trigger = store.trigger_of(await self._found(store, name))
        return await self.start_async(trigger, event)

    async def start_async(self, trigger: Trigger, event: Event) -> Job:
        """Start the job of an event, as a trigger like this one would; errors as of ``fire``."""
        stream = MESSAGE + event.source.table if event.op is Op.MESSAGE else event.source.table
        job_id = event_job_id(self.owner, trigger.name, stream, event.id)
        queue, request = self.jobs.request(trigger, event, job_id)
        try:
            return (await queue.enqueue_many_async([request]))[0]
        except DuplicateJobError:
            return Job(job_id, queue.broker)

    async def _change(
        self, name: str, change: Callable[[TriggerStore, Entry], Awaitable[bool]], *, must_exist: bool = True
    ) -> TriggerInfo:
        """Change a trigger as it is; again, where it was changed meanwhile."""
        store = self.store()
        for _ in range(TRIES):
            entry = await self._found(store, name) if must_exist else await store.read(name)
            if await change(store, entry):
                return await self.get_async(name)
        raise _contended(name)

    async def _found(self, store: TriggerStore, name: str) -> Entry:
        entry = await store.read(name)
        if not entry:
            raise TriggerNotFoundError(
                f"There is no trigger {name!r}.",
                hint=did_you_mean(name, await store.names())
                + " Those of the code are there once a scheduler has started.",
            )
        return entry

    # What there is

    async def get_async(self, name: str) -> TriggerInfo:
        """A trigger as it is now.

        Raises:
            TriggerNotFoundError: There is no such trigger.
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        return info_of(await self._found(store, name), store, self.jobs)

    async def list_async(self) -> Sequence[TriggerInfo]:
        """All triggers as they are now, by name.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        store = self.store()
        entries = await store.read_many(await store.names())
        return [info_of(entry, store, self.jobs) for entry in entries if entry]

    # The same from synchronous code

    def add(
        self, name: str, workflow: Target, subjects: type | str | Sequence[type | str], **arguments: Any
    ) -> TriggerInfo:
        """``add_async`` from synchronous code."""
        return run_sync(self.add_async(name, workflow, subjects, **arguments))

    def pause(self, name: str, reason: str | None = None) -> TriggerInfo:
        """``pause_async`` from synchronous code."""
        return run_sync(self.pause_async(name, reason))

    def resume(self, name: str, *, skip: bool = False) -> TriggerInfo:
        """``resume_async`` from synchronous code."""
        return run_sync(self.resume_async(name, skip=skip))

    def remove(self, name: str) -> None:
        """``remove_async`` from synchronous code."""
        run_sync(self.remove_async(name))

    def fire(self, name: str, event: Event) -> Job:
        """``fire_async`` from synchronous code."""
        return run_sync(self.fire_async(name, event))

    def get(self, name: str) -> TriggerInfo:
        """``get_async`` from synchronous code."""
        return run_sync(self.get_async(name))

    def list(self) -> Sequence[TriggerInfo]:
        """``list_async`` from synchronous code."""
        return run_sync(self.list_async())


_OWN = ("operations", "filter", "transition", "changed", "inputs", "ordering_key")


def _place(since: str) -> str:
    place = START if since == "start" else since
    if not _ID.fullmatch(place):
        raise TriggerError(f"since is 'start' or the id of an event, got {since!r}.", part="since", value=since)
    return place


def _same(store: TriggerStore, entry: Entry, trigger: Trigger) -> bool:
    """Whether Redis has exactly this trigger, signed as it should be."""
    try:
        return store.trigger_of(entry).encoded() == trigger.encoded()
    except DataFlowError:
        return False


def _contended(name: str) -> TriggerError:
    return TriggerError(f"The trigger {name!r} is changed by others again and again.", hint="Try again.")
