"""Block: rows of one batch, turned into columns of driver values."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from dataflow.models.spec import Managed
from dataflow.tenants import no_tenant

#: What a user passes as one row.
InputRow = Mapping[str, Any]


class Rows(Sequence[tuple[Any, ...]]):
    """Columns read row by row. The rows are made one at a time: a driver is done with each before it takes the next."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Sequence[list[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self._columns, strict=True)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows with the same columns, as the driver takes them.

    Attributes:
        names: Fields, in column order.
        columns: For each field, its values.
        positions: For each row, its number in the input, from 0.
        given: Fields that the rows themselves gave, as against defaults and timestamps.
    """

    names: tuple[str, ...]
    columns: tuple[list[Any], ...]
    positions: Sequence[int]
    given: frozenset[str]

    def __len__(self) -> int:
        return len(self.positions)

    def column(self, name: str) -> list[Any]:
        """The values of a field."""
        return self.columns[self.names.index(name)]

    def rows(self, names: Iterable[str] | None = None) -> Rows:
        """The values row by row, of all fields or of these."""
        return Rows(self.columns if names is None else [self.column(name) for name in names])

    def part(self, start: int, stop: int) -> Block:
        """The rows from ``start`` to before ``stop``."""
        columns = tuple(column[start:stop] for column in self.columns)
        return Block(self.names, columns, self.positions[start:stop], self.given)

    def take(self, indexes: Sequence[int]) -> Block:
        """The rows at these indexes."""
        columns = tuple([column[index] for index in indexes] for column in self.columns)
        return Block(self.names, columns, [self.positions[index] for index in indexes], self.given)

    def sorted_by(self, columns: Sequence[Sequence[Any]]) -> Block:
        """The rows in the order of these columns, which hold a value for each of them."""
        keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        if all(map(operator.le, keys, islice(keys, 1, None))):
            return self
        return self.take(sorted(range(len(self)), key=keys.__getitem__))

    def as_given(self) -> Block:
        """The rows in the order of the input."""
        return self.sorted_by([self.positions])


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the managed fields of a batch get.

    Attributes:
        moment: The value of both timestamps.
        tenant: The tenant of the run; None where the model has none.
    """

    moment: datetime
    tenant: str | None = None

    @classmethod
    def now(cls, tenant: str | None) -> Stamp:
        """The stamp of this moment."""
        return cls(datetime.now(UTC), tenant)

    def value(self, managed: Managed) -> Any:
        """The value of a field of a new row."""
        match managed:
            case Managed.TENANT_ID:
                if self.tenant is None:
                    raise no_tenant()
                return self.tenant
            case Managed.VERSION:
                return 1
            case Managed.DELETED_AT:
                return None
        return self.moment
