import base64
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError
from dataflow.queries.cursor import CursorSigner, question_of
from dataflow.queries.filters import parse_filter
from dataflow.queries.sort import parse_sort
from tests.unit.shop import ROWS, SPEC

SIGNER = CursorSigner(b"secret")
QUESTION = b"0123456789abcdef"
KEYS = [
    None,
    7,
    -(2**63),
    2**63 - 1,
    0.1,
    1e300,
    -0.5,
    True,
    "é\n🎈",
    "",
    b"\x00\xff",
    Decimal("-12345678901234567890.0123456789"),
    Decimal("1.50"),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999),
    datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
    date(1, 1, 1),
    time(23, 59, 59, 999999),
    UUID(int=1),
]


def question(conditions=None, sort=None, tenant=None, dialect=Dialect.SQLITE) -> bytes:
    rows = ROWS[dialect]
    return question_of(rows, parse_filter(rows, conditions or {}), parse_sort(SPEC, sort), tenant)


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_come_back_exactly(key):
    asked, keys = SIGNER.read(SIGNER.write(QUESTION, [key, 1]))
    assert asked == QUESTION
    assert keys == [key, 1]
    assert (type(keys[0]), str(keys[0])) == (type(key), str(key))


def test_a_cursor_is_short_and_safe_in_a_url():
    cursor = SIGNER.write(QUESTION, [2**40])
    assert len(cursor) < 60
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_processes_with_one_secret_agree():
    assert CursorSigner(b"secret").read_for(QUESTION, SIGNER.write(QUESTION, ["a"])) == ["a"]
    with pytest.raises(InputError, match="changed on its way"):
        CursorSigner(b"Secret").read(SIGNER.write(QUESTION, ["a"]))


def test_every_changed_character_is_noticed():
    cursor = SIGNER.write(QUESTION, ["name", 17])
    for place, character in enumerate(cursor):
        for other in ("A", "_", "z"):
            if other != character:
                with pytest.raises(InputError, match="changed on its way"):
                    SIGNER.read(cursor[:place] + other + cursor[place + 1 :])


def test_every_truncated_cursor_is_noticed():
    cursor = SIGNER.write(QUESTION, ["name", 17])
    for length in range(len(cursor)):
        with pytest.raises(InputError, match="changed on its way"):
            SIGNER.read(cursor[:length])


def test_an_unsigned_cursor_is_refused():
    payload = base64.urlsafe_b64decode(SIGNER.write(QUESTION, [1]) + "==")[:-16]
    for forged in (payload, payload + bytes(16), bytes(16), bytes(32), bytes(40)):
        with pytest.raises(InputError, match="changed on its way"):
            SIGNER.read(base64.urlsafe_b64encode(forged).rstrip(b"=").decode())


@pytest.mark.parametrize("garbage", ["", "a", "====", "né", "a b", "\x00", "🎈" * 20, "A" * 100_000])
def test_garbage_is_refused(garbage):
    with pytest.raises(InputError, match="changed on its way"):
        SIGNER.read(garbage)


def test_other_spellings_of_a_cursor_are_refused():
    cursor = SIGNER.write(QUESTION, [1])
    for spelling in (cursor + "=", cursor + "==", cursor + "\n", cursor[:4] + "!" + cursor[4:]):
        with pytest.raises(InputError):
            SIGNER.read(spelling)


@pytest.mark.parametrize("value", [1, b"abc", ["a"], True])
def test_a_cursor_is_text(value):
    with pytest.raises(InputError, match="the text of next_cursor"):
        SIGNER.read(value)


def test_what_makes_another_question():
    same = question({"age": {"$gt": 1}}, "name", "a")
    assert question({"age": {"$gt": 1}}, ["name", "id"], "a") == same
    others = [
        question({"age": {"$gt": 2}}, "name", "a"),
        question({"age": {"$gte": 1}}, "name", "a"),
        question({"rank": {"$gt": 1}}, "name", "a"),
        question({}, "name", "a"),
        question({"age": {"$gt": 1}}, "-name", "a"),
        question({"age": {"$gt": 1}}, ["name", "age"], "a"),
        question({"age": {"$gt": 1}}, "name", "b"),
        question({"age": {"$gt": 1}}, "name"),
    ]
    assert same not in others
    assert len(set(others)) == len(others)
    with pytest.raises(InputError, match="belongs to another list"):
        SIGNER.read_for(others[0], SIGNER.write(same, ["a", 1]))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_every_kind_of_filter_value_is_hashed(dialect):
    conditions = {
        "name": {"$in": ["a", "b"]},
        "price": Decimal("1.5"),
        "sold_at": {"$lt": datetime(2026, 1, 1, tzinfo=UTC)},
        "day": date(2026, 1, 1),
        "hour": time(1),
        "token": UUID(int=3),
        "raw": b"\xff",
        "active": True,
        "status": "new",
    }
    assert question(conditions, dialect=dialect) != question({**conditions, "raw": b"\xfe"}, dialect=dialect)
