"""WebhookNode: tells an event to a server of others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dataflow.errors import DataFlowError, InputError, TriggerNotFoundError, WebhookGoneError
from dataflow.events.dead_letters import letter_fields
from dataflow.events.envelope import Op
from dataflow.events.payloads import to_json
from dataflow.events.webhooks.webhooks import Webhooks
from dataflow.jobs.scripts import Argument
from dataflow.nodes.current import current_job
from dataflow.nodes.generated.base import CONTROLS
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext
from dataflow.resilience.classes import is_final

#: Pauses a listener: its name, the reason.
Pause = Callable[[str, str], Awaitable[object]]
#: Adds a dead letter of these fields.
Park = Callable[[Mapping[str, Argument]], Awaitable[object]]

#: What happened, in the type of a webhook.
_VERBS = {
    Op.CREATE: "created", Op.UPDATE: "updated", Op.DELETE: "deleted", Op.READ: "read", Op.TRUNCATE: "truncated",
    Op.SCHEMA: "altered",
}  # fmt: skip
_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class WebhookNode(Node):
    """Posts one event.

    Args:
        webhooks: Sends it.
        pause: Pauses the listener whose server is gone.
        park: Keeps what could not be delivered.
    """

    def __init__(self, webhooks: Webhooks, pause: Pause, park: Park) -> None:
        self._webhooks = webhooks
        self._pause = pause
        self._park = park
        self._spec = NodeSpec(
            "WebhookNode",
            "Posts an event to a URL, signed as Standard Webhooks.",
            (
                Parameter("url", str, required=True, description="Where to, https://…"),
                Parameter("event", dict[str, Any], required=True, description="An event, or any data."),
                Parameter("event_type", str | None, description="Its type; default that of the event: orders.created."),
                Parameter("listener", str | None, description="The CDCListenerNode that it is sent for."),
                *CONTROLS,
            ),
            (
                Output("delivered", bool),
                Output("status", int, "What the server answered, 200 to 299."),
                Output("webhook_id", str, "The same each time that it is delivered."),
            ),
        )

    @property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return self._spec

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Deliver it.

        Raises:
            InputError: It may not be sent there, or cannot be sent at all.
            ConfigurationError: There is no secret to sign it with.
            WebhookError: It was not taken.
        """
        bound = self._spec.bind(inputs)
        event, listener = bound["event"], bound["listener"]
        source = _source(event)
        webhook_id = _header(f"{source[0]}:{source[1]}:{event['id']}" if source else context.idempotency_key)
        try:
            body = to_json({"type": _type(bound["event_type"], event), "timestamp": _moment(event), "data": event})
            status = await self._webhooks.deliver(bound["url"], webhook_id, body)
        except DataFlowError as error:
            await self._failed(error, event, source, listener)
            raise
        return {"delivered": True, "status": status, "webhook_id": webhook_id}

    async def _failed(
        self, error: DataFlowError, event: Mapping[str, Any], source: tuple[str, str] | None, listener: str | None
    ) -> None:
        if isinstance(error, WebhookGoneError) and listener is not None:
            with contextlib.suppress(TriggerNotFoundError):  # it was removed
                await self._pause(listener, error.message)
        job = current_job()
        if source is not None and (job is None or not job.retries_left or is_final(error)):
            again = f" (dataflow jobs requeue {job.id})" if job is not None else ""
            reader = f"webhook:{listener or ''}"
            text, reason = to_json(event), error.message + again
            await self._park(letter_fields(source[1], str(event["id"]), text, reader, reason, 1))


def _source(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """The instance that an event is of, and its stream; None of data that is no event."""
    match event:
        case {"id": str(), "op": str(op), "source": {"db": str(db), "table": str(table)}}:
            return db, f"@{table}" if op == Op.MESSAGE else table
    return None


def _type(given: str | None, event: Mapping[str, Any]) -> str:
    if given is None and _source(event) is not None:
        table, op = event["source"]["table"], event["op"]
        given = table if op == Op.MESSAGE else f"{table}.{_VERBS.get(op, op)}"
    if given is None:
        raise InputError("WebhookNode needs an event_type for what is no event of a table or of the application.")
    if not _TYPE.fullmatch(given):
        raise InputError(f"The type of a webhook is up to 200 letters, digits, '_', '.' and '-', got {given!r}.")
    return given


def _moment(event: Mapping[str, Any]) -> datetime:
    """When it happened."""
    ms = event.get("ts_ms")
    return datetime.fromtimestamp(ms / 1000, UTC) if isinstance(ms, int) else datetime.now(UTC)


def _header(text: str) -> str:
    """A text as an id that may be in a header and in what is signed, where dots part the fields."""
    return quote(text, safe="@:_-").replace(".", "%2E")
