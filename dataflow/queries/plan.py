"""Plan: compiled SQL for one shape. PlanCache: the plans of one model on one database, by shape."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter

from dataflow.databases.dialects import new_dialect
from dataflow.databases.interface import Dialect
from dataflow.queries.codecs import RowDecoder
from dataflow.tenants import no_tenant

#: Name of the parameter that stands for the tenant of the run; it may occur several times in a statement.
TENANT = "tenant"
#: Where its value is, in an order: behind the shape's values.
_LAST = -1

#: Plans kept per model and database; past it the oldest goes, so that a caller with endless shapes costs time only.
MAX_PLANS = 2_000

_DIALECTS = {dialect: new_dialect(dialect) for dialect in Dialect}


def sqlalchemy_dialect(dialect: Dialect) -> sa.Dialect:
    """SQLAlchemy's compiler for a database; it imports no driver."""
    return _DIALECTS[dialect]


@dataclass(frozen=True, slots=True)
class Plan:
    """Compiled SQL for one shape.

    Attributes:
        sql: Text with the driver's placeholders.
        order: For each placeholder, the position of its value among the shape's values; None if they agree.
        decode: Row → dict, for statements that return rows.
        needs_tenant: Some placeholders stand for the tenant of the run.
    """

    sql: str
    order: tuple[int, ...] | None = None
    decode: RowDecoder | None = None
    needs_tenant: bool = False

    def arguments(self, values: Sequence[Any], tenant: str | None = None) -> Sequence[Any]:
        """Values in the order of the placeholders.

        Raises:
            TenantError: The plan needs a tenant, and there is none.
        """
        if self.needs_tenant:
            if tenant is None:
                raise no_tenant()
            values = [*values, tenant]
        return values if self.order is None else [values[index] for index in self.order]


class Binds:
    """Hands out the numbered bind parameters of a statement while it is compiled."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, type_: sa.types.TypeEngine[Any]) -> BindParameter[Any]:
        """The parameter of the shape's next value."""
        name = f"p{self.count}"
        self.count += 1
        return sa.bindparam(name, type_=type_, unique=False)


def compile_plan(statement: sa.sql.ClauseElement, dialect: Dialect, decode: RowDecoder | None = None) -> Plan:
    """Compile a statement whose parameters came from Binds (``p0``, ``p1``, … in the order of the shape's values)."""
    compiled = statement.compile(dialect=sqlalchemy_dialect(dialect))
    assert isinstance(compiled, SQLCompiler)
    names = compiled.positiontup or []
    order = tuple(_LAST if name == TENANT else int(name[1:]) for name in names)
    as_given = order == tuple(range(len(compiled.params)))
    return Plan(str(compiled), None if as_given else order, decode, needs_tenant=TENANT in names)


class PlanCache:
    """Plans by shape."""

    def __init__(self) -> None:
        self._plans: dict[Hashable, Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def get(self, shape: Hashable, make: Callable[[], Plan]) -> Plan:
        """The plan of a shape, compiled when it is new."""
        plan = self._plans.get(shape)
        if plan is None:
            plan = make()
            if len(self._plans) >= MAX_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[shape] = plan
        return plan
