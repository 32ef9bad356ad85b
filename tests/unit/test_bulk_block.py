"""Rows become blocks: defaults, timestamps, unions of columns, and errors that name the row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, MissingParameterError, TypeMismatchError, UnknownFieldError
from dataflow.models import Field, declare
from dataflow.nodes.generated.bulk_repeats import Batch, merge_repeats
from dataflow.nodes.generated.bulk_rows import batches, check_batch_size, check_data
from dataflow.nodes.generated.bulk_writer import Conflict
from dataflow.queries.bulk_block import Stamp
from dataflow.queries.bulk_reader import BlockReader
from dataflow.queries.codecs import ModelCodec
from dataflow.queries.conflict import check_update_fields, conflict_key, default_conflict_key

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
_tags = iter(range(1_000))


class Person:
    email: str = Field(unique=True)
    name: str
    age: int = 18
    tag: int = Field(default_factory=lambda: next(_tags))
    note: str | None

    __indexes__ = [{"name": "uq", "fields": ["name", "age"], "unique": True}]  # noqa: RUF012


class Tag:
    id: str
    label: str


PERSON, TAG = declare(Person), declare(Tag)


def reader(stripped: list[str] | None = None, spec: Any = PERSON) -> BlockReader:
    seen = stripped if stripped is not None else []
    return BlockReader(ModelCodec(spec, Dialect.POSTGRESQL), seen.extend)


def test_defaults_and_timestamps_are_filled_in_and_absent_nullable_fields_left_out() -> None:
    rows = [{"email": "a", "name": "A"}, {"name": "B", "email": "b"}]
    (block,) = reader().new_rows(rows, range(2), Stamp(MOMENT))
    assert block.names == ("email", "name", "age", "tag", "created_at", "updated_at")
    assert block.column("age") == [18, 18]
    assert len(set(block.column("tag"))) == 2
    assert block.column("created_at") == block.column("updated_at") == [MOMENT, MOMENT]
    assert block.given == {"email", "name"}
    assert list(block.rows(["email", "name"])) == [("a", "A"), ("b", "B")]


def test_columns_are_the_union_over_all_rows() -> None:
    rows = [{"email": "a", "name": "A"}, {"email": "b", "name": "B", "age": 3, "note": "n", "tag": -1}]
    (block,) = reader().new_rows(rows, range(2), Stamp(MOMENT))
    assert list(block.rows(["age", "note"])) == [(18, None), (3, "n")]
    assert block.column("tag")[1] == -1
    assert block.column("tag")[0] >= 0


def test_rows_with_an_id_come_first_in_a_block_of_their_own() -> None:
    rows = [{"email": "a", "name": "A"}, {"id": 7, "email": "b", "name": "B"}, {"id": None, "email": "c", "name": "C"}]
    first, second = reader().new_rows(rows, range(10, 13), Stamp(MOMENT))
    assert (first.column("id"), list(first.positions)) == ([7], [11])
    assert "id" not in second.names
    assert list(second.positions) == [10, 12]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([{"email": "a", "name": "A"}, {"email": "b", "nmae": "B"}], UnknownFieldError, "Row 6: .*'nmae'.* 'name'"),
        ([{"email": "a", "name": "A"}, {"email": "b"}], MissingParameterError, r"Row 6: Person\.name is required"),
        ([{"email": "a"}, {"email": "b"}], MissingParameterError, r"Row 5: Person\.name is required"),
        ([{"email": "a", "name": "A"}, {"email": "b", "name": 3}], TypeMismatchError, r"Row 6: Person\.name is str"),
        ([{"email": "a", "name": "A"}, "x"], InputError, "Row 6: .* a row is a dict, got str"),
        ([{"email": "a", "name": "A", 3: 4}], UnknownFieldError, "Row 5: Person has no field 3"),
    ],
)
def test_bad_rows_are_named(rows: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reader().new_rows(rows, range(5, 5 + len(rows)), Stamp(MOMENT))


def test_managed_timestamps_are_stripped_and_told() -> None:
    stripped: list[str] = []
    (block,) = reader(stripped).new_rows([{"email": "a", "name": "A", "updated_at": "x"}], range(1), Stamp(MOMENT))
    assert stripped == ["updated_at"]
    assert block.column("updated_at") == [MOMENT]
    assert "updated_at" not in block.given


def test_parts_keep_their_row_numbers() -> None:
    rows = [{"email": str(i), "name": "A"} for i in range(4)]
    (block,) = reader().new_rows(rows, range(100, 104), Stamp(MOMENT))
    assert list(block.part(1, 3).positions) == [101, 102]
    assert block.part(1, 3).column("email") == ["1", "2"]
    assert list(block.take([3, 0]).positions) == [103, 100]
    assert block.take([3, 0]).column("email") == ["3", "0"]


def test_changed_rows_hold_what_is_given_and_the_moment() -> None:
    (block,) = reader().changed_rows([{"id": 1, "age": 3}], range(1), Stamp(MOMENT))
    assert block.names == ("id", "age", "updated_at")


def merged(rows: list[dict[str, Any]], conflict: Conflict, spec: Any = PERSON) -> Batch:
    return merge_repeats(reader(spec=spec), Batch(rows, range(10, 10 + len(rows))), conflict)


def test_of_rows_with_the_same_key_the_last_wins_field_by_field() -> None:
    rows = [
        {"email": "a", "name": "A", "age": 1},
        {"email": "b", "name": "B"},
        {"email": "a", "name": "A2", "note": "n"},
    ]
    batch = merged(rows, Conflict(("email",), update=True))
    assert batch.rows == [{"email": "a", "name": "A2", "age": 1, "note": "n"}, rows[1]]
    assert batch.positions == [10, 11]
    assert batch.repeats == {12: 10}


def test_a_repeat_changes_only_what_an_update_may_set() -> None:
    rows = [{"email": "a", "name": "A", "age": 1}, {"email": "a", "name": "A2", "age": 2}]
    batch = merged(rows, Conflict(("email",), update=True, fields=frozenset({"age"})))
    assert batch.rows == [{"email": "a", "name": "A", "age": 2}]


def test_of_rows_with_the_same_key_the_first_is_kept_when_skipping() -> None:
    rows = [{"email": "a", "name": "A"}, {"email": "a", "name": "A2"}]
    assert merged(rows, Conflict(("email",), update=False)).rows == rows[:1]


def test_a_key_is_compared_as_it_is_stored() -> None:
    class Day:
        day: datetime = Field(unique=True)

    rows = [{"day": "2026-01-31T12:00:00Z"}, {"day": MOMENT}]
    assert merged(rows, Conflict(("day",), update=True), declare(Day)).repeats == {11: 10}


def test_a_key_that_is_left_out_is_its_default() -> None:
    rows = [{"email": "a", "name": "A"}, {"email": "b", "name": "A", "age": 18}]
    assert merged(rows, Conflict(("name", "age"), update=True)).repeats == {11: 10}


def test_rows_without_a_key_are_all_different() -> None:
    rows = [{"email": "a", "name": "A"}, {"email": "b", "name": "B"}]
    assert merged(rows, Conflict(("id",), update=True)).repeats == {}


def test_rows_that_give_other_fields_can_come_apart() -> None:
    rows = [{"email": "a", "name": "A"}, {"email": "b", "name": "B", "age": 1}, {"name": "C", "email": "c"}]
    blocks = reader().new_rows(rows, range(3), Stamp(MOMENT), apart=True)
    assert [(list(block.positions), sorted(block.given)) for block in blocks] == [
        ([0, 2], ["email", "name"]),
        ([1], ["age", "email", "name"]),
    ]
    changed = reader().changed_rows(
        [{"id": 1, "age": 1}, {"id": 2, "name": "B"}, {"id": 3, "age": 2}], range(3), Stamp(MOMENT)
    )
    assert [(list(block.positions), block.names) for block in changed] == [
        ([0, 2], ("id", "age", "updated_at")),
        ([1], ("id", "name", "updated_at")),
    ]


def test_conflict_keys_need_a_unique_index() -> None:
    assert conflict_key(PERSON, ["email"]) == ("email",)
    assert conflict_key(PERSON, "id") == ("id",)
    assert conflict_key(PERSON, ["age", "name"]) == ("name", "age")
    with pytest.raises(InputError, match=r"'note: str = Field\(unique=True\)'"):
        conflict_key(PERSON, ["note"])
    with pytest.raises(InputError, match=r'__indexes__ = \[\{"fields": \["name", "note"\], "unique": True\}\]'):
        conflict_key(PERSON, ["name", "note"])
    with pytest.raises(UnknownFieldError, match="Did you mean 'email'"):
        conflict_key(PERSON, ["emial"])
    with pytest.raises(TypeMismatchError, match="list of field names"):
        conflict_key(PERSON, [])


def test_the_default_conflict_key_is_never_a_guess() -> None:
    assert default_conflict_key(TAG) == ("id",)
    with pytest.raises(MissingParameterError, match="several unique keys"):
        default_conflict_key(PERSON)

    class Account:
        email: str = Field(unique=True)

    assert default_conflict_key(declare(Account)) == ("email",)


def test_update_fields_are_checked() -> None:
    assert check_update_fields(PERSON, ["age"], ("email",)) == {"age"}
    for name in ("email", "id", "created_at"):
        with pytest.raises(InputError, match="never sets"):
            check_update_fields(PERSON, [name], ("email",))
    with pytest.raises(UnknownFieldError):
        check_update_fields(PERSON, ["aeg"], ("email",))


async def asynchronous(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def lazily(count: int, taken: list[int]) -> Iterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6])
async def test_batches_of_every_kind_of_data(count: int) -> None:
    expected = [(start, list(range(start, min(start + 3, count)))) for start in range(0, count, 3)]
    for data in (list(range(count)), tuple(range(count)), iter(range(count)), asynchronous(count)):
        assert [(start, list(rows)) async for start, rows in batches(data, 3)] == expected


async def test_an_iterator_is_read_one_batch_at_a_time() -> None:
    taken: list[int] = []
    async for _ in batches(lazily(10, taken), 3):
        break
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("data", ["text", b"x", {"name": "A"}, 3, None])
def test_data_that_holds_no_rows_is_refused(data: Any) -> None:
    with pytest.raises(TypeMismatchError, match="'data' takes rows"):
        check_data(data)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "10"])
def test_batch_sizes_are_whole_numbers_from_one(size: Any) -> None:
    with pytest.raises(InputError, match="batch_size"):
        check_batch_size(size)
