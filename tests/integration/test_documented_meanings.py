"""docs/queries.md is true on every database: each line of its tables that has an example is run."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from dataflow import DataFlow

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"


def program(url: str) -> dict[str, Any]:
    """The names that the page's program defines, run against a database."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    assert code.count('DataFlow(":memory:")') == 1
    names: dict[str, Any] = {}
    exec(compile(code.replace(":memory:", url), str(PAGE), "exec"), names)
    return names


def lines(*columns: str) -> list[list[str]]:
    """Rows of the tables that end in these columns: the cells of the columns, code marks taken off."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[-len(columns) :] == list(columns):
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(cells[0]) <= {"-"}:
            found.append([cell.strip("`") for cell in cells[-len(columns) :]])
    return found


def numbers(cell: str) -> list[int]:
    return [int(number) for number in cell.split(",")] if cell else []


@pytest.fixture
def page(database_url: str):
    names = program(database_url)
    db: DataFlow = names["db"]
    yield names
    db.close()


def test_filters(page: dict[str, Any]) -> None:
    examples = lines("example", "matches")
    assert len(examples) > 25
    for example, matches in examples:
        assert page["ids"](ast.literal_eval(example)) == numbers(matches), example


def test_sorts(page: dict[str, Any]) -> None:
    examples = lines("sort", "order")
    assert len(examples) >= 5
    for example, order in examples:
        assert page["ids"]({}, sort=ast.literal_eval(example)) == numbers(order), example
