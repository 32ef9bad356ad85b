"""``$regex`` selects on every database what RE2 itself finds, or says that it cannot."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import pytest
import re2

from dataflow.errors import InvalidFilterError
from tests.integration.bench import Bench, open_bench
from tests.regex_patterns import TRAPS, Author

#: Seconds between two turns of the event loop at most, on a busy machine; the searches below can take minutes.
LONGEST_TURN = 0.5


class Thing:
    word: str | None = None
    size: int = 0


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(database_url, Thing) as bench:
        yield bench


async def fill(bench: Bench, words: Iterable[str | None]) -> dict[int, str | None]:
    """The words by their ids."""
    rows = [{"word": word} for word in words]
    await bench.run("ThingBulkCreateNode", data=rows)
    listed = await bench.run("ThingListNode", sort="id", limit=1000)
    return {record["id"]: record["word"] for record in listed["records"]}


def found(pattern: str, words: dict[int, str | None]) -> list[int]:
    compiled = re2.compile(pattern)
    return [key for key, word in words.items() if word is not None and compiled.search(word)]


async def test_traps(bench: Bench) -> None:
    words = await fill(bench, [None, *sorted({text for _, texts in TRAPS for text in texts})])
    for pattern, _ in TRAPS:
        assert await bench.ids("Thing", {"word": {"$regex": pattern}}) == found(pattern, words), pattern


async def test_random_patterns(bench: Bench) -> None:
    author = Author(seed=20260131)
    words = await fill(bench, [None, *(author.text() for _ in range(100))])
    selective = 0
    for pattern in author.patterns(400):
        wanted = found(pattern, words)
        assert await bench.ids("Thing", {"word": {"$regex": pattern}}) == wanted, pattern
        selective += 0 < len(wanted) < 100
    assert selective > 150


async def test_beside_other_conditions(bench: Bench) -> None:
    words = await fill(bench, [None, "abc", "abd", "xyz"])
    none, _, abd, xyz = words
    assert await bench.ids("Thing", {"word": {"$not": {"$regex": "^ab[c]"}}}) == [none, abd, xyz]
    assert await bench.ids("Thing", {"$nor": [{"word": {"$regex": "[xc]"}}]}) == [none, abd]
    assert await bench.ids("Thing", {"word": {"$regex": "^a.", "$ne": "abc"}}) == [abd]
    assert await bench.ids("Thing", {"word": {"$regex": None}}) == []
    # The same statement again, with another pattern.
    assert await bench.ids("Thing", {"word": {"$regex": "^x.", "$ne": "abc"}}) == [xyz]


#: A search of each goes back over millions of choices where an engine does that; the third then finds something.
COSTLY = [r"^(a+)+$", r"^(\w+\s?)*$", r"^(?:a|aa)+$|!$", r"^(\pL|\w\w?|a.)*b$"]


@pytest.mark.parametrize("pattern", COSTLY)
async def test_costly_pattern(bench: Bench, pattern: str) -> None:
    words = await fill(bench, [*["a" * 30 + "!"] * 20, "aaa", "ab"])
    turns: list[float] = []

    async def tick() -> None:
        while True:
            turns.append(time.perf_counter())
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    try:
        got = await bench.ids("Thing", {"word": {"$regex": pattern}})
    except InvalidFilterError as error:
        assert "too costly" in error.message  # noqa: PT017
    else:
        assert got == found(pattern, words)
    finally:
        ticking.cancel()
    turns.append(time.perf_counter())
    assert max(after - before for before, after in pairwise(turns)) < LONGEST_TURN
    assert await bench.ids("Thing", {"word": {"$regex": "^a[ab]"}}) == found("^a[ab]", words)


@pytest.fixture
async def mysql_bench(mysql_db_url: str) -> AsyncIterator[Bench]:
    async with open_bench(mysql_db_url, Thing) as bench:
        yield bench


async def test_change_by_costly_pattern_changes_nothing(mysql_bench: Bench) -> None:
    costly = {"word": {"$not": {"$regex": r"^(\w+\s?)*$"}}}
    words = await fill(mysql_bench, ["a" * 30 + "!", "-"])
    for node, inputs in [
        ("ThingBulkUpdateNode", {"fields": {"size": 1}}),
        ("ThingBulkDeleteNode", {}),
    ]:
        with pytest.raises(InvalidFilterError, match="too costly"):
            await mysql_bench.run(node, filter=costly, **inputs)
    assert await mysql_bench.ids("Thing", {"size": 0}) == list(words)


async def test_change_by_costly_pattern_leaves_its_transaction_alone(mysql_bench: Bench) -> None:
    await fill(mysql_bench, ["a" * 30 + "!", "-"])
    database = mysql_bench.database
    delete = "DELETE FROM things WHERE word NOT REGEXP %s"
    async with database.transaction() as transaction:
        await transaction.execute("UPDATE things SET size = 5", ())
        with pytest.raises(InvalidFilterError, match="too costly"):
            await transaction.execute(delete, (r"^(\w+\s?)*$",))
        assert (await transaction.execute(delete, ("-",))).rows == 1
    assert await mysql_bench.ids("Thing", {"size": 5}) == [2]


async def test_other_warnings_are_no_failed_patterns(mysql_bench: Bench) -> None:
    await fill(mysql_bench, ["a1"])
    rows = await mysql_bench.database.fetch_all("SELECT word + 1 FROM things WHERE word REGEXP %s", ("a[0-9]",))
    assert [row[0] for row in rows] == [1.0]


async def test_failed_pattern_among_many_warnings(mysql_bench: Bench) -> None:
    await fill(mysql_bench, ["1x"] * 70 + ["a" * 30 + "!"])
    with pytest.raises(InvalidFilterError, match="too costly"):
        await mysql_bench.database.fetch_all(
            "SELECT word + 1 FROM things WHERE size = 0 AND (word + 1 > 0 OR word REGEXP %s)", (r"^(\w+\s?)*$",)
        )


async def test_pattern_that_postgresql_cannot_compile(postgresql_db_url: str) -> None:
    async with open_bench(postgresql_db_url, Thing) as bench:
        await fill(bench, ["b"])
        with pytest.raises(InvalidFilterError, match="too costly for PostgreSQL"):
            await bench.ids("Thing", {"word": {"$regex": r"(?:\b|b){30}x[a]"}})
