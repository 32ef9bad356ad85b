"""Filters into JSON documents: each meaning on every database, then random ones against a few lines of Python."""

import math
import operator
import random
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.bench import Bench, open_bench

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}

TEXTS = [
    "red",
    "Red",
    "red ",
    "",
    "z",
    "é",
    "É",
    "日本",
    "🎈",
    "a%b",
    "a_b",
    'a "b"',
    "back\\slash",
    "tab\t",
    "3",
    "true",
]
NUMBERS = [0, 1, -1, 3, 3.5, 1e300, 5e-324, 2**53 + 1, 2**63 - 1, 0.1 + 0.2, 1.7976931348623157e308]


class Doc:
    meta: dict | None = None
    tags: list | None = None
    anything: Any = None


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(database_url, Doc) as bench:
        yield bench


async def store(bench: Bench, *values: Any) -> None:
    """Rows 1, 2, … with each value at ``meta.x``; ``...`` is a document without it."""
    for value in values:
        await bench.run("DocCreateNode", meta={} if value is ... else {"x": value})


KINDS = ["red", 3, 3.0, True, False, None, ..., [], {}, "3", "true", "null", "", 0, [3], {"x": 3}, ["red"]]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("red", ["red"]),
        ("", [""]),
        (3, [3, 3.0]),
        (Decimal("3.00"), [3, 3.0]),
        (0, [0]),
        (True, [True]),
        (False, [False]),
        (None, [None, ...]),
        ({"$exists": False}, [None, ...]),
        ({"$null": True}, [None, ...]),
        ({"$in": [3, "red", True, None]}, ["red", 3, 3.0, True, None, ...]),
        ({"$in": ["true", "3", "null"]}, ["3", "true", "null"]),
        ({"$in": [0, 1]}, [0]),
        ({"$in": []}, []),
        ({"$gt": 0}, [3, 3.0]),
        ({"$gte": 0, "$lt": 3}, [0]),
        ({"$between": [0, 3]}, [3, 3.0, 0]),
        ({"$gt": ""}, ["red", "3", "true", "null"]),
        ({"$lte": "3"}, ["3", ""]),
        ({"$between": ["a", "s"]}, ["red", "null"]),
        ({"$gt": None}, []),
        ({"$like": "%"}, ["red", "3", "true", "null", ""]),
        ({"$contains": "e"}, ["red", "true"]),
        ({"$ilike": "R_D"}, ["red"]),
        ({"$startswith": "nul"}, ["null"]),
        ({"$endswith": "3"}, ["3"]),
        ({"$regex": "^[a-z]+$"}, ["red", "true", "null"]),
        ({"$regex": ""}, ["red", "3", "true", "null", ""]),
        ({"$regex": None}, []),
    ],
)
async def test_the_operand_decides_the_type_and_not_is_the_complement(bench, condition, wanted):
    await store(bench, *KINDS)
    ids = [number for number, kind in enumerate(KINDS, 1) if any(same(kind, item) for item in wanted)]
    others = [number for number in range(1, len(KINDS) + 1) if number not in ids]
    assert await bench.ids("Doc", {"meta.x": condition}) == ids
    assert await bench.ids("Doc", {"meta": {"x": condition}}) == ids
    assert await bench.ids("Doc", {"$not": {"meta.x": condition}}) == others
    assert await bench.ids("Doc", {"meta.x": {"$not": condition}}) == others


def same(left: Any, right: Any) -> bool:
    return left is right or (type(left) is type(right) and left == right)


async def test_unequal_includes_null_and_other_types(bench):
    await store(bench, *KINDS)
    count = len(KINDS)
    assert len(await bench.ids("Doc", {"meta.x": {"$ne": "red"}})) == count - 1
    assert len(await bench.ids("Doc", {"meta.x": {"$ne": 3}})) == count - 2
    assert len(await bench.ids("Doc", {"meta.x": {"$ne": True}})) == count - 1
    assert len(await bench.ids("Doc", {"meta.x": {"$ne": None}})) == count - 2
    assert len(await bench.ids("Doc", {"meta.x": {"$nin": [3, "red"]}})) == count - 3
    assert len(await bench.ids("Doc", {"meta.x": {"$nin": [3, None]}})) == count - 4
    assert len(await bench.ids("Doc", {"meta.x": {"$nin": []}})) == count


async def test_indexes_find_array_elements_and_keys_find_members(bench):
    documents = [
        {"x": ["a", "b"]},
        {"x": {"0": "a", "1": "b"}},
        {"x": "a"},
        {"x": [["a"]]},
        {"x": [{"k": "a"}]},
        {"x": {"0": {"k": "a"}}},
        {"x": []},
    ]
    for document in documents:
        await bench.run("DocCreateNode", meta=document)
    assert await bench.ids("Doc", {"meta.x.0": "a"}) == [1]
    assert await bench.ids("Doc", {"meta.x.1": {"$in": ["b"]}}) == [1]
    assert await bench.ids("Doc", {"meta.x.0.0": "a"}) == [4]
    assert await bench.ids("Doc", {"meta.x.0.k": "a"}) == [5]
    assert await bench.ids("Doc", {"meta.x.0": {"$exists": True}}) == [1, 4, 5]
    assert await bench.ids("Doc", {"meta.x.0": None}) == [2, 3, 6, 7]
    assert await bench.ids("Doc", {"meta.0": {"$exists": True}}) == []
    assert await bench.ids("Doc", {"meta.x.999999999": {"$exists": True}}) == []


async def test_a_list_field_begins_with_an_index(bench):
    await bench.run("DocCreateNode", tags=["red", {"k": [5]}])
    await bench.run("DocCreateNode", tags=["blue"])
    await bench.run("DocCreateNode")
    assert await bench.ids("Doc", {"tags.0": "red"}) == [1]
    assert await bench.ids("Doc", {"tags": {"1": {"k.0": {"$gt": 4}}}}) == [1]
    assert await bench.ids("Doc", {"tags.0": {"$ne": "red"}}) == [2, 3]
    assert await bench.ids("Doc", {"tags": None}) == [3]
    assert await bench.ids("Doc", {"tags": {"$exists": True, "0": "blue"}}) == [2]


async def test_whole_documents_compare_by_the_same_rule(bench):
    for value in ["red", 3, True, {"a": 1}, [3], None, ""]:
        await bench.run("DocCreateNode", anything=value)
    assert await bench.ids("Doc", {"anything": "red"}) == [1]
    assert await bench.ids("Doc", {"anything": {"$gte": 3}}) == [2]
    assert await bench.ids("Doc", {"anything": True}) == [3]
    assert await bench.ids("Doc", {"anything": {"$ne": 3}}) == [1, 3, 4, 5, 6, 7]
    assert await bench.ids("Doc", {"anything.a": 1}) == [4]
    assert await bench.ids("Doc", {"anything.0": 3}) == [5]
    assert await bench.ids("Doc", {"anything": None}) == [6]
    assert await bench.ids("Doc", {"anything": {"$like": ""}}) == [7]


KEYS = [
    *["a b", "$", "$ref", "*", "**", "[0]", "[*]", "@", "?", "%s", "%(x)s", ":x", "a-b", "'", "`", "#", ",", "x; --"],
    *["é", "e\u0301", "日本", "🎈", "\u00a0", "\u2028", "A" * 64, "🎈" * 64, "{}", "(", "/"],
    *["007x", "1e5", "+1", "true", "null", "last", "strict"],
]


async def test_keys_are_taken_as_they_are(bench):
    for number, key in enumerate(KEYS):
        await bench.run("DocCreateNode", meta={"in": {key: number}, "other": {f"{key}x": number}})
    for number, key in enumerate(KEYS):
        assert await bench.ids("Doc", {f"meta.in.{key}": {"$exists": True}}) == [number + 1], key
        assert await bench.ids("Doc", {f"meta.in.{key}": number}) == [number + 1], key
        assert await bench.ids("Doc", {f"meta.other.{key}": {"$exists": True}}) == [], key


async def test_text_compares_by_code_point(bench):
    await store(bench, *TEXTS)
    for operand in TEXTS:
        for name, compare in {"$eq": operator.eq, "$ne": operator.ne, **COMPARE}.items():
            wanted = [number for number, text in enumerate(TEXTS, 1) if compare(text, operand)]
            assert await bench.ids("Doc", {"meta.x": {name: operand}}) == wanted, (name, operand)
        wanted = [number for number, text in enumerate(TEXTS, 1) if operand in text]
        assert await bench.ids("Doc", {"meta.x": {"$contains": operand}}) == wanted, operand
    assert await bench.ids("Doc", {"meta.x": {"$like": "_"}}) == [5, 6, 7, 9, 15]
    for pattern, wanted in {"^red$": [1], "(?i)^red$": [1, 2], "^red": [1, 3], "^.$": [5, 6, 7, 9, 15]}.items():
        assert await bench.ids("Doc", {"meta.x": {"$regex": pattern}}) == wanted, pattern


async def test_numbers_compare_as_doubles(bench):
    await store(bench, *NUMBERS)
    for operand in [*NUMBERS, 2**53, 2**63, 10**30, Decimal("0.3"), -0.0]:
        for name, compare in {"$eq": operator.eq, "$ne": operator.ne, **COMPARE}.items():
            wanted = [number for number, value in enumerate(NUMBERS, 1) if compare(float(value), float(operand))]
            assert await bench.ids("Doc", {"meta.x": {name: operand}}) == wanted, (name, operand)


async def test_awkward_doubles_are_found_again(bench):
    rng = random.Random(20261122)
    values = [rng.random() * 10.0 ** rng.randint(-300, 300) for _ in range(300)]
    await bench.run("DocBulkCreateNode", data=[{"meta": {"x": value}} for value in values])
    for number, value in enumerate(values, 1):
        assert await bench.ids("Doc", {"meta.x": value}) == [number], value
        assert await bench.ids("Doc", {"meta.x": math.nextafter(value, 0.0)}) == [], value


async def test_filters_into_json_change_rows(bench):
    await store(bench, *KINDS)
    changed = await bench.run("DocBulkUpdateNode", filter={"meta.x": {"$gt": 1}}, fields={"tags": ["seen"]})
    assert changed["updated"] == 2
    deleted = await bench.run("DocBulkDeleteNode", filter={"meta.x": {"$in": ["red", 0]}})
    assert deleted["deleted"] == 2
    assert await bench.run("DocCountNode", filter={"tags.0": "seen"}) == {"count": 2}
    row = await bench.run("DocReadNode", filter={"meta.x.x": 3})
    assert row["meta"] == {"x": {"x": 3}}


async def test_tables_of_others_may_have_json_text(postgresql_db_url):
    """Columns of PostgreSQL's type json, duplicate and escaped keys, and numbers that no double holds."""
    async with open_bench(postgresql_db_url, Doc) as bench:
        await bench.database.execute(
            "CREATE TABLE docs (id BIGINT PRIMARY KEY, meta JSON, tags JSON, anything JSON,"
            " created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ)"
        )
        await bench.database.execute(
            """INSERT INTO docs VALUES (1, '{"x": 1, "x": 5}'), (2, '{"caf\\u00e9": 1}'), (3, '{"x": 1e400}')"""
        )
        assert await bench.ids("Doc", {"meta.x": 5}, fields=["id"]) == [1]
        assert await bench.ids("Doc", {"meta.café": {"$lt": 5}}, fields=["id"]) == [2]
        assert await bench.ids("Doc", {"meta.x": {"$ne": 1}}, fields=["id"]) == [1, 2, 3]


# Random filters.

SCALARS = ["red", "Red", "é", "", "a ", 0, 1, 1.0, 2.5, -3, True, False]
KEYS_OF_RANDOM = ["a", "b", "0"]


def resolve(document: Any, path: str) -> Any:
    """What is there; nothing and null are both None."""
    for part in path.split("."):
        if part.isdigit():
            found = document[int(part)] if isinstance(document, list) and int(part) < len(document) else None
        else:
            found = document.get(part) if isinstance(document, dict) else None
        document = found
    return document


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def holds(value: Any, name: str, operand: Any) -> bool:
    match name:
        case "$eq":
            return kind(value) == kind(operand) and value == operand
        case "$ne":
            return not holds(value, "$eq", operand)
        case "$in":
            return any(holds(value, "$eq", item) for item in operand)
        case "$nin":
            return not holds(value, "$in", operand)
        case "$null":
            return (value is None) == operand
        case "$exists":
            return (value is not None) == operand
        case "$not":
            inner = operand if isinstance(operand, dict) else {"$eq": operand}
            return not all(holds(value, *item) for item in inner.items())
        case "$between":
            return holds(value, "$gte", operand[0]) and holds(value, "$lte", operand[1])
        case "$contains":
            return isinstance(value, str) and operand in value
        case "$ilike":
            return isinstance(value, str) and operand.lower() == value.lower()
    return operand is not None and kind(value) == kind(operand) and COMPARE[name](value, operand)


def matches(conditions: dict[str, Any], document: Any) -> bool:
    for name, condition in conditions.items():
        if name == "$or":
            result = any(matches(part, document) for part in condition)
        elif name == "$nor":
            result = not any(matches(part, document) for part in condition)
        else:
            value = resolve({"meta": document}, name)
            condition = condition if isinstance(condition, dict) else {"$eq": condition}
            result = all(holds(value, *item) for item in condition.items())
        if not result:
            return False
    return True


class Author:
    """Writes random documents and filters."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int) -> Any:
        draw = self.random.random()
        if depth < 3 and draw < 0.35:
            keys = self.random.sample(KEYS_OF_RANDOM, self.random.randint(0, 3))
            return {key: self.value(depth + 1) for key in keys}
        if depth < 3 and draw < 0.6:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        return self.random.choice([*SCALARS, None])

    def document(self) -> dict[str, Any]:
        return {key: self.value(1) for key in "abc"}

    def conditions(self, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.random.choice([1, 1, 2])):
            if depth < 2 and self.random.random() < 0.3:
                parts = [self.conditions(depth + 1) for _ in range(self.random.randint(1, 3))]
                found[self.random.choice(["$or", "$nor"])] = parts
            else:
                found[".".join(["meta", *self.path()])] = self.condition(0)
        return found

    def path(self) -> list[str]:
        """Mostly one that leads somewhere in some document."""
        if self.random.random() < 0.2:
            return self.random.choices(KEYS_OF_RANDOM, k=3)
        parts: list[str] = []
        inside: Any = self.document()
        while isinstance(inside, dict | list) and inside and (not parts or self.random.random() < 0.7):
            keys = list(inside) if isinstance(inside, dict) else range(len(inside))
            key = self.random.choice(keys)
            parts.append(str(key))
            inside = inside[key]
        return parts

    def condition(self, depth: int) -> Any:
        if self.random.random() < 0.25:
            return self.scalar()
        names = ["$eq", "$ne", "$in", "$nin", "$null", "$exists", "$not", "$between", "$contains", "$ilike", *COMPARE]
        return {name: self.operand(name, depth) for name in self.random.sample(names, self.random.choice([1, 1, 2]))}

    def operand(self, name: str, depth: int) -> Any:
        match name:
            case "$null" | "$exists":
                return self.random.choice([True, False])
            case "$in" | "$nin":
                return [self.scalar() for _ in range(self.random.randint(0, 4))]
            case "$not":
                return self.condition(depth + 1) if depth < 2 else self.scalar()
            case "$between":
                of = self.random.choice(["number", "str"])
                return sorted(self.random.choices([item for item in SCALARS if kind(item) == of], k=2))
            case "$contains" | "$ilike":
                return self.random.choice(["red", "R", "É", "", "a "])
            case "$eq" | "$ne":
                return self.scalar()
        return self.random.choice([item for item in [*SCALARS, None] if kind(item) != "bool"])

    def scalar(self) -> Any:
        return self.random.choice([*SCALARS, None])


async def test_random_filters_into_json(bench):
    author = Author(seed=20261122)
    documents = [author.document() for _ in range(80)]
    for document in documents:
        await bench.run("DocCreateNode", meta=document)
    selective = 0
    for _ in range(500):
        conditions = author.conditions()
        wanted = [number for number, document in enumerate(documents, 1) if matches(conditions, document)]
        assert await bench.ids("Doc", conditions) == wanted, conditions
        selective += 0 < len(wanted) < len(documents)
    assert selective > 150
