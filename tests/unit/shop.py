"""A model with a field of every kind, for tests of queries."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.models import Field, declare
from dataflow.models.tables import build_table
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.model import ModelRows


class Status(Enum):
    NEW = "new"
    SOLD = "sold"


class Item:
    name: str
    age: int
    rank: int | None = None
    weight: float | None = None
    active: bool = True
    price: Decimal | None = Field(None, precision=12, scale=2)
    status: Status = Status.NEW
    sold_at: datetime | None = None
    day: date | None = None
    hour: time | None = None
    waited: timedelta | None = None
    token: UUID | None = None
    raw: bytes | None = None
    data: dict | None = None
    customer_id: int | None = None


def unquoted(sql: str) -> str:
    """SQL as people write it: every name is quoted in what is compiled."""
    return sql.replace('"', "").replace("`", "")


SPEC = declare(Item, skip_validation=True)
TABLE = build_table(SPEC, sa.MetaData())
CODECS = {dialect: ModelCodec(SPEC, dialect) for dialect in Dialect}
ROWS = {
    dialect: ModelRows(CODECS[dialect], dialect, TABLE, lambda model: None, include_deleted=False)
    for dialect in Dialect
}
