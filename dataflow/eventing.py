"""``db.events``, ``db.on`` and their kin: change events, who reads them, and what they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflow.jobs import Broker
from dataflow.loop_thread import run_sync
from dataflow.models import ModelSpec
from dataflow.nodes.current import tenant_of_run
from dataflow.nodes.interface import Node, RunContext

if TYPE_CHECKING:
    from dataflow.nodes.generated.transaction import NodeTransaction


class OffersEvents(ABC):
    """The part of a DataFlow instance that has events."""

    name: str
    _nodes: dict[str, Node]

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The Redis that the streams of events are in."""

    @property
    @abstractmethod
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""

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
