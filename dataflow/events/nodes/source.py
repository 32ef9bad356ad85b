"""EventSourceNode: what has changed, as data of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dataflow.errors import InputError, MissingParameterError
from dataflow.events.envelope import event_inputs
from dataflow.events.reading import FollowingReader, OnLoss
from dataflow.events.runs import RunReader, take
from dataflow.events.selection import MESSAGE, Selection
from dataflow.events.since import Since
from dataflow.jobs import Broker
from dataflow.models import ModelSpec
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext


class EventSourceNode(Node):
    """Reads events that are there, or come soon. With a ``reader``, each run goes on where the one before ended, and a
    run that is run again gets the same events again.

    Args:
        instance: Name of the instance.
        broker: Where its streams are.
        models: Model name → ModelSpec.
    """

    spec = NodeSpec(
        "EventSourceNode",
        "Reads change events, or messages of the application.",
        (
            Parameter("source", Literal["database", "application"], default="database", description="Changes of rows, "
                      "or messages."),
            Parameter("table", str | None, description="Whose changes: a table."),
            Parameter("model", str | None, description="Whose changes: a model."),
            Parameter("event_types", list[str], default=[], description="INSERT, UPDATE, DELETE (default all three); "
                      "of the application, types of messages."),
            Parameter("filter", dict[str, Any] | None, description="What the row, or the payload, must be like."),
            Parameter("transition", bool, default=False, description="Only events that made the row match."),
            Parameter("since", str | datetime | timedelta | float | int, default="start", description="Where to begin: "
                      "start, now, an event's id, a moment, or how many seconds ago."),
            Parameter("limit", int, default=100, description="Events at most."),
            Parameter("wait", float | int, default=0, description="Seconds to wait for the first."),
            Parameter("reader", str | None, description="A name under which it is kept how far it is; since counts "
                      "where it is new."),
            Parameter("on_loss", Literal["raise", "log"], default="raise", description="Where events are gone that had "
                      "yet to be read."),
            *CONTROLS,
        ),
        (
            Output("events", list[dict[str, Any]], "The events, in the order of commits."),
            Output("count", int, "How many they are."),
            Output("cursor", str, "The id of the last that was looked at: as since, it goes on from there."),
        ),
    )  # fmt: skip

    def __init__(
        self, instance: str, broker: Callable[[], Broker], models: Callable[[], Mapping[str, ModelSpec]]
    ) -> None:
        self._instance = instance
        self._broker = broker
        self._models = models

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Read. A run for a tenant gets no events of another tenant's rows.

        Raises:
            InputError: A parameter is wrong.
            MissedEventsError: Events are gone that had yet to be read.
            BrokerUnavailableError: The broker cannot be reached.
        """
        bound = self.spec.bind(inputs)
        limit, wait, since = bound["limit"], float(bound["wait"]), _since(bound["since"])
        if limit < 1 or wait < 0:
            raise InputError("EventSourceNode: 'limit' is at least 1, and 'wait' at least 0.")
        selection = self._selection(bound)
        on_loss: OnLoss = bound["on_loss"]

        def open_at(place: Since) -> FollowingReader:
            return FollowingReader(
                self._instance, self._broker(), self._models(), selection, since=place, on_loss=on_loss
            )

        if bound["reader"] is not None:
            by_runs = RunReader(self._broker(), self._instance, bound["reader"], open_at, since)
            taken = await by_runs.take(context.idempotency_key, limit, wait)
        else:
            reader = open_at(since)
            try:
                taken = await take(reader, limit, wait)
            finally:
                await reader.aclose()
        tenant = context.tenant_id
        events = [
            event_inputs(event) for event in taken.events if tenant is None or event.source.tenant in (None, tenant)
        ]
        return {"events": events, "count": len(events), "cursor": taken.cursor}

    def _selection(self, bound: Mapping[str, Any]) -> Selection:
        types = bound["event_types"]
        asked = {"filter": bound["filter"], "transition": bound["transition"]}
        if bound["source"] == "application":
            if not types:
                raise _missing("event_types", "types of messages, such as order_created")
            return Selection(self._models(), [MESSAGE + name.removeprefix(MESSAGE) for name in types], **asked)
        subjects = [bound[name] for name in ("table", "model") if bound[name] is not None]
        if len(subjects) != 1:
            raise _missing("table", "one of table and model")
        return Selection(self._models(), subjects, operations=types, **asked)


def _missing(name: str, what: str) -> MissingParameterError:
    return MissingParameterError(f"EventSourceNode needs {what}.", parameter=name)


def _since(given: Any) -> Since:
    """Where to begin, as JSON can say it."""
    if given == "now":
        return None
    if isinstance(given, float | int):
        return timedelta(seconds=given)
    if isinstance(given, str) and ":" in given:
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            raise InputError(f"EventSourceNode: {given!r} is no moment.", hint="Write 2026-11-22T03:00:00Z.") from None
    if isinstance(given, datetime) and given.tzinfo is None:
        return given.replace(tzinfo=UTC)
    result: Since = given
    return result
