"""EventPublishNode: a message of the application, told by the transaction that causes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.databases.interface import Database, Dialect
from dataflow.events.payloads import checked_type, payload_json
from dataflow.events.sources.triggers import now_ms
from dataflow.events.tables import OUTBOX, OUTBOX_TABLE, ensure_tables, marked
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext

#: The outbox as far as the node goes: its name begins that of the node type.
_EVENTS = ModelSpec("Event", OUTBOX, (FieldSpec("seq", FieldType(Kind.INT, int), primary_key=True, generated=True),))


class EventPublishNode(GeneratedNode):
    """Writes a message into the outbox: within ``db.transaction()`` where it runs there, and once in a job."""

    operation = "Publish"
    writes = True
    #: Whether the outbox is created when it is first needed.
    may_create = False

    def __init__(self, binding: ModelBinding) -> None:
        super().__init__(binding)
        dialect = binding.database.dialect
        tx = "txid_current()::text" if dialect is Dialect.POSTGRESQL else "NULL"
        self._insert = marked(
            dialect,
            f"INSERT INTO {OUTBOX} (op, name, row_before, row_after, tx, created_ms) "
            f"VALUES ('m', ?, ?, ?, {tx}, {now_ms(dialect)})",
        )

    @classmethod
    def of(cls, schema: Schema, database: Database, *, may_create: bool) -> EventPublishNode:
        """The node of an instance.

        Args:
            schema: Its models.
            database: Where they are.
            may_create: Whether the outbox is created when it is first needed.
        """

        async def prepare() -> None:
            await ensure_tables(database, may_create=may_create)

        node = cls(schema.bind(_EVENTS, OUTBOX_TABLE, prepare))
        node.may_create = may_create
        return node

    def describe(self) -> NodeSpec:
        return NodeSpec(
            self.type,
            "Publishes a message of the application.",
            (
                Parameter("event_type", str, required=True, description="Its type, such as order_created.",
                          coerce=checked_type),
                Parameter("payload", Mapping[str, Any], default={}, description="What it says."),
            ),
            (Output("published", bool),),
        )  # fmt: skip

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """See GeneratedNode."""
        bound = self.spec.bind(inputs)
        values = (bound["event_type"], context.tenant_id, payload_json(bound["payload"]).decode())
        database = self.binding.database
        if context.executor is not None and database.dialect is Dialect.SQLITE and not self.binding.ready:
            # The transaction is the one writer there is: nobody else can make the table meanwhile.
            await ensure_tables(database, may_create=self.may_create, within=context.executor)
            await context.executor.execute(self._insert, values)
        else:
            access = await self.binding.access(context)
            await access.executor.execute(self._insert, values)
        return {"published": True}
