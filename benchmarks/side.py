"""What is measured: the table's rows, and the calls that each side offers on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

FIELDS = ("name", "email", "age", "score", "active")
COLUMNS = (*FIELDS, "created_at", "updated_at")
ALL = ("id", *COLUMNS)
#: Rows that single reads and updates work on; their ids count from 1.
TABLE_ROWS = 1_000
#: Least age of a listed row.
LISTED_AGE = 5

Rows = Sequence[dict[str, Any]]


def values(number: int) -> dict[str, Any]:
    """The fields of benchmark row ``number``."""
    return {
        "name": f"name {number}",
        "email": f"user{number}@example.com",
        "age": number % 90,
        "score": number / 7,
        "active": number % 2 == 0,
    }


def one_of(number: int) -> int:
    """The id of the row that call ``number`` reads or updates."""
    return number % TABLE_ROWS + 1


class Side(Protocol):
    """One way of doing each thing on the table ``bench_rows``.

    Single calls get a number. Creates and updates return the stored row as a dict, lists a list of dicts. A bulk call
    takes effect as a whole, and returns how many rows it took or matched.
    """

    async def create(self, number: int) -> object:
        """Insert row ``number``; its id is made by the database."""
        ...

    async def read(self, number: int) -> object:
        """The row ``one_of(number)``."""
        ...

    async def update(self, number: int) -> object:
        """Set the age of row ``one_of(number)``."""
        ...

    async def delete(self, number: int) -> object:
        """Delete the row whose id is ``number + 1``."""
        ...

    async def list_rows(self, number: int) -> object:
        """The newest 100 rows from LISTED_AGE on."""
        ...

    async def bulk_create(self, rows: Rows) -> int:
        """Insert rows without ids."""
        ...

    async def bulk_upsert(self, rows: Rows) -> int:
        """Insert rows with ids, or update those that are there."""
        ...

    async def bulk_update(self, rows: Rows) -> int:
        """Set the ages of rows that are named by their ids."""
        ...

    async def update_where(self, age: int, score: float) -> int:
        """Set the score of all rows from an age on."""
        ...

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        """Delete the rows with these ids."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class RawSide(Side, Protocol):
    """The side that also prepares the table."""

    async def empty(self) -> None:
        """Remove all rows."""
        ...

    async def analyze(self) -> None:
        """Bring the planner's statistics up to date."""
        ...
