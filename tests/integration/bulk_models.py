"""Models of the tests of the bulk nodes, and nodes bound to a database without a DataFlow around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from dataflow.databases import Database, open_database
from dataflow.models import Field, declare
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.binding import ModelBinding
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import RunContext

CONTEXT = RunContext("run", "node")


class Status(Enum):
    NEW = "new"
    SOLD = "sold"


class Product:
    """A generated id, one unique field."""

    sku: str = Field(unique=True)
    name: str = "unnamed"
    price: Decimal = Decimal(0)
    stock: int | None


class Account:
    """Two unique fields, and a unique index over two."""

    email: str = Field(unique=True)
    handle: str | None = Field(None, unique=True)
    region: str = "eu"
    number: int = 0
    credit: int = 0

    __indexes__ = [{"name": "uq_account_region_number", "fields": ["region", "number"], "unique": True}]  # noqa: RUF012


class Tag:
    """An id of the user's own."""

    id: str
    label: str
    uses: int = 0


class Event:
    """An id made by the client."""

    id: UUID
    title: str


class Everything:
    """Every type."""

    text: str
    number: int
    real: float
    flag: bool
    amount: Decimal
    moment: datetime
    day: date
    hour: time
    span: timedelta
    key: UUID
    raw: bytes
    document: dict
    items: list
    status: Status
    maybe: str | None


MODELS = (Product, Account, Tag, Event, Everything)


class Shop:
    """The models on a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._schema = Schema(database, may_create=True, cursor_secret=b"test")
        self._bindings = {model: self._schema.add(declare(model)) for model in MODELS}

    def binding(self, model: type[Any]) -> ModelBinding:
        return self._bindings[model]

    def node(self, kind: type[GeneratedNode], model: type[Any]) -> GeneratedNode:
        return kind(self._bindings[model])

    async def run(self, kind: type[GeneratedNode], model: type[Any], **inputs: Any) -> dict[str, Any]:
        return await self.node(kind, model).run(inputs, CONTEXT)

    async def rows(self, model: type[Any], order: str = "id") -> list[dict[str, Any]]:
        """All rows, in the order of a column."""
        rows = self._bindings[model].rows
        plan = rows.compile(rows.select(*rows.all_columns).order_by(rows.columns[order]))
        access = await self._bindings[model].access(CONTEXT)
        return [rows.codec.row(row) for row in await access.fetch_all(plan)]


@asynccontextmanager
async def open_shop(url: str) -> AsyncIterator[Shop]:
    database = open_database(url)
    try:
        yield Shop(database)
    finally:
        await database.close()
