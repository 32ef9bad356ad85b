"""The tables of the import, and how the cells of a file become values of a product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from dataflow import Field
from examples.scheduled_import.reader import Convert


class Product:
    """What the files are about."""

    __tablename__ = "import_products"

    sku: str = Field(unique=True, max_length=40)
    name: str
    price: Decimal = Field(precision=10, scale=2)
    stock: int


class FoundFile:
    """A file as it was when its content was last looked at; ``mark`` changes when the file does."""

    __tablename__ = "import_found_files"

    name: str = Field(unique=True, max_length=255)
    mark: str
    sha256: str


class ImportedFile:
    """A content that was, or is being, imported, under whichever name it came first.

    ``state`` is importing, done or stopped; ``offset`` and ``line`` say how much of the file is in the table.
    """

    __tablename__ = "import_files"
    __dataflow__ = {"versioned": True}  # noqa: RUF012

    sha256: str = Field(unique=True, max_length=64)
    name: str
    size: int
    state: str
    reason: str | None
    offset: int = 0
    line: int = 0
    rows: int = 0
    bad: int = 0
    ended_at: datetime | None


class BadRow:
    """A record that was not imported."""

    __tablename__ = "import_bad_rows"
    __indexes__ = ({"name": "import_bad_rows_line", "fields": ["file_id", "line"], "unique": True},)

    file_id: int = Field(references="ImportedFile")
    line: int
    text: str
    reason: str


def text(cell: str) -> str:
    """A cell that must not be empty."""
    if not cell.strip():
        raise ValueError("is empty")
    return cell


def number(cell: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,9}", cell):
        raise ValueError("is a whole number from 0")
    return int(cell)


def money(cell: str) -> Decimal:
    """An amount with at most two decimals."""
    if not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,2})?", cell):
        raise ValueError("is an amount such as 12.50")
    return Decimal(cell)


#: The columns of the files.
COLUMNS: Mapping[str, Convert] = {"sku": text, "name": text, "price": money, "stock": number}
