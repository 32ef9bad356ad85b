"""Random filters select the same rows on every database as a few lines of Python say they should."""

import operator
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from dataflow.models import Field
from tests.integration.bench import open_bench


class Thing:
    word: str | None = None
    number: int | None = None
    price: Decimal | None = Field(None, precision=10, scale=2)
    real: float | None = None
    moment: datetime | None = None
    yes: bool | None = None
    size: int = 0


WORDS = ["", "a", "A", "a ", "ab", "Ab", "b", "é", "É", "z%", "z_", "[a]", "a*b", "?", "\\", "!", "🎈", "ß", "~"]
START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES: dict[str, list[Any]] = {
    "word": WORDS,
    "number": [-5, 0, 1, 2, 9, 10, 100],
    "price": [Decimal(text) for text in ("-1.50", "0.00", "0.05", "9.50", "10.00", "100.00")],
    "real": [-0.5, 0.0, 0.1, 2.0, 1e10],
    "moment": [START + timedelta(microseconds=step * 500_000) for step in range(4)],
    "yes": [True, False],
    "size": [0, 1, 2],
}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(conditions: dict[str, Any], row: dict[str, Any]) -> bool:
    for name, condition in conditions.items():
        if name == "$and":
            holds = all(matches(part, row) for part in condition)
        elif name == "$or":
            holds = any(matches(part, row) for part in condition)
        elif name == "$nor":
            holds = not any(matches(part, row) for part in condition)
        elif name == "$not":
            holds = not matches(condition, row)
        elif isinstance(condition, dict):
            holds = all(holds_for(row[name], operator, operand) for operator, operand in condition.items())
        else:
            holds = row[name] == condition
        if not holds:
            return False
    return True


def holds_for(value: Any, name: str, operand: Any) -> bool:
    match name:
        case "$eq":
            return bool(value == operand)
        case "$ne":
            return bool(value != operand)
        case "$in":
            return value in operand
        case "$nin":
            return value not in operand
        case "$null":
            return (value is None) == operand
        case "$exists":
            return (value is not None) == operand
        case "$not":
            inner = operand if isinstance(operand, dict) else {"$eq": operand}
            return not all(holds_for(value, *item) for item in inner.items())
    if value is None or operand is None:
        return False
    match name:
        case "$between":
            return bool(operand[0] <= value <= operand[1])
        case "$contains":
            return operand in value
        case "$startswith":
            return bool(value.startswith(operand))
        case "$endswith":
            return bool(value.endswith(operand))
        case "$like":
            return re.fullmatch(like_to_regex(operand), value, re.DOTALL) is not None
        case "$ilike":
            return re.fullmatch(like_to_regex(operand.lower()), value.lower(), re.DOTALL) is not None
    return COMPARE[name](value, operand)


def like_to_regex(pattern: str) -> str:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)


class Author:
    """Writes random filters."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def conditions(self, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            kind = self.random.random()
            if depth < 3 and kind < 0.3:
                name = self.random.choice(["$and", "$or", "$nor"])
                found[name] = [self.conditions(depth + 1) for _ in range(self.random.randint(1, 3))]
            elif depth < 3 and kind < 0.4:
                found["$not"] = self.conditions(depth + 1)
            else:
                name = self.random.choice(list(VALUES))
                found[name] = self.condition(name, 0)
        return found

    def condition(self, name: str, depth: int) -> Any:
        if self.random.random() < 0.25:
            return self.value(name)
        return {key: self.operand(name, key, depth) for key in self.operators(name)}

    def operators(self, name: str) -> list[str]:
        known = ["$eq", "$ne", "$in", "$nin", "$null", "$exists", "$not", "$between", *COMPARE]
        if name == "word":
            known += ["$contains", "$startswith", "$endswith", "$like", "$ilike"]
        return self.random.sample(known, self.random.choice([1, 1, 2]))

    def operand(self, name: str, key: str, depth: int) -> Any:
        match key:
            case "$null" | "$exists":
                return self.random.choice([True, False])
            case "$in" | "$nin":
                return [self.value(name) for _ in range(self.random.randint(0, 5))]
            case "$not":
                return self.condition(name, depth + 1) if depth < 2 else self.value(name)
            case "$between":
                return sorted(self.random.choices(VALUES[name], k=2))
            case "$contains" | "$startswith" | "$endswith":
                return self.random.choice(WORDS)
            case "$like" | "$ilike":
                return self.random.choice(
                    ["%", "_", "a%", "%B", "_b", "\\%%", "%\\_", "%*%", "[%", "?", "!%", "É", "\\\\"]
                )
        return self.value(name)

    def value(self, name: str) -> Any:
        return None if self.random.random() < 0.15 else self.random.choice(VALUES[name])

    def row(self) -> dict[str, Any]:
        row = {name: self.value(name) for name in VALUES}
        return {**row, "size": row["size"] or 0}


async def test_random_filters(database_url: str) -> None:
    author = Author(seed=20260131)
    async with open_bench(database_url, Thing) as bench:
        rows = [await bench.run("ThingCreateNode", **author.row()) for _ in range(60)]
        selective = 0
        for _ in range(400):
            conditions = author.conditions()
            wanted = [row["id"] for row in rows if matches(conditions, row)]
            assert await bench.ids("Thing", conditions) == wanted, conditions
            selective += 0 < len(wanted) < len(rows)
        assert selective > 150
