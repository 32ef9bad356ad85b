"""TriggerSync: what the code declares as triggers gets into Redis, and what it declares no more goes."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from dataflow.errors import DataFlowError
from dataflow.events.triggers import Trigger, Triggers
from dataflow.events.triggers.store import Entry, TriggerStore

logger = logging.getLogger("dataflow.scheduler")


class TriggerSync:
    """Brings the triggers of an instance in Redis up to date with its code.

    A new one is about what is published from now on. One whose declaration changed keeps its place, and a pause stays.
    One that is gone is retired.

    Args:
        triggers: The instance's.
        store: Where they are kept.
    """

    def __init__(self, triggers: Triggers, store: TriggerStore) -> None:
        self._triggers = triggers
        self._store = store

    async def run(self) -> None:
        """Do it once. Several schedulers may do so at once, and with the same code it does not matter who is first.

        Raises:
            TriggerError: A declaration cannot be used with the models as they are now.
            BrokerUnavailableError: The broker cannot be reached.
        """
        done: Counter[str] = Counter()
        declared = {trigger.name: trigger for trigger in self._triggers.declared}
        names = [*declared, *(name for name in await self._store.names() if name not in declared)]
        for entry in await self._store.read_many(names):
            while (what := await self._settle(entry, declared.get(entry.name))) is None:
                entry = await self._store.read(entry.name)
            done[what] += 1
        there = done.total() - done["retired"] - done["gone"]
        if there or done["retired"]:
            counts = ", ".join(f"{done[what]} {what}" for what in ("added", "changed", "retired") if done[what])
            logger.info(
                "Triggers of %s: %d, of which the code declares %d%s.",
                self._triggers.owner, there, len(declared), f" ({counts})" if counts else "",
            )  # fmt: skip

    async def _settle(self, entry: Entry, declared: Trigger | None) -> str | None:
        """What was done about a trigger; None where it was changed meanwhile."""
        if not entry and declared is None:
            return "gone"
        if declared is None and entry.text("origin") == "declared":
            logger.info("The code declares the trigger %s no more: it is retired.", entry.name)
            return "retired" if await self._store.remove(entry) else None
        known = self._known(entry) if entry else None
        trigger = declared or known
        if trigger is None:
            return "kept"  # it cannot be used, and is told of where triggers fire
        streams = self._triggers.jobs.selection(trigger).streams
        is_new = declared is not None and (known is None or entry.text("declared") != declared.digest)
        if not is_new and set(streams) == set(entry.streams):
            return "kept"
        origin: dict[str, Any] = {} if declared is None else {"origin": "declared", "declared": declared.digest}
        written = await self._store.put(
            entry,
            state=entry.text("state") or "active",
            reason=entry.text("reason"),
            streams=streams,
            trigger=trigger,
            **origin,
        )
        return ("changed" if entry else "added") if written else None

    def _known(self, entry: Entry) -> Trigger | None:
        """The declaration that Redis has; None where it cannot be read, trusted or used."""
        try:
            trigger = self._store.trigger_of(entry)
            self._triggers.jobs.selection(trigger)
        except DataFlowError:
            return None
        return trigger
