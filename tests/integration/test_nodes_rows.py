"""Create, Read, Update and Delete mean the same on every database."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest

from dataflow.databases.interface import Capabilities
from dataflow.errors import (
    ForeignKeyViolationError,
    InputError,
    MissingParameterError,
    MultipleRecordsError,
    NotNullViolationError,
    RecordNotFoundError,
    TypeMismatchError,
    UniqueViolationError,
    UnknownParameterError,
    UpdateParameterError,
)
from dataflow.models import Field
from tests.integration.bench import Bench, open_bench


class Status(Enum):
    NEW = "new"
    SOLD = "sold"


class Everything:
    name: str
    nickname: str | None = None
    age: int = 18
    weight: float = 0.5
    active: bool = True
    price: Decimal = Field(Decimal("9.90"), precision=12, scale=2)
    born: datetime | None = None
    day: date | None = None
    hour: time | None = None
    waited: timedelta | None = None
    token: UUID | None = None
    raw: bytes = b""
    data: dict = {}  # noqa: RUF012
    tags: list[str] = Field(default_factory=list)
    status: Status = Status.NEW


class User:
    email: str = Field(unique=True)
    name: str = "nobody"
    visits: int = 0
    filter: str | None = None


class Team:
    id: str
    title: str
    __indexes__ = [{"name": "uq_title", "fields": ["title", "id"], "unique": True}]  # noqa: RUF012


class Player:
    id: UUID
    team_id: str = Field(references="Team")
    number: int | None = None


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(database_url, Everything, User, Team, Player) as bench:
        yield bench


async def user(bench: Bench, email: str = "a@x.org", **fields: Any) -> dict[str, Any]:
    return await bench.run("UserCreateNode", email=email, **fields)


# Create


async def test_create_returns_the_stored_row(bench: Bench) -> None:
    before = datetime.now(UTC)
    row = await bench.run("EverythingCreateNode", name="Ann")
    assert row == {
        "id": 1,
        "name": "Ann",
        "nickname": None,
        "age": 18,
        "weight": 0.5,
        "active": True,
        "price": Decimal("9.90"),
        "born": None,
        "day": None,
        "hour": None,
        "waited": None,
        "token": None,
        "raw": b"",
        "data": {},
        "tags": [],
        "status": Status.NEW,
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
    }
    assert before <= row["created_at"] <= datetime.now(UTC)
    assert next(iter(row)) == "id"


VALUES = {
    "name": "Ærøskøbing 'quoted' \\ 100% 🎈 trailing  ",
    "nickname": "",
    "age": -(2**63),
    "weight": 1.0000000000000002,
    "active": False,
    "price": Decimal("-1234567890.12"),
    "born": datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC),
    "day": date(1, 1, 1),
    "hour": time(23, 59, 59, 999999),
    "waited": timedelta(days=-3, microseconds=1),
    "token": UUID("12345678-1234-5678-9234-567812345678"),
    "raw": bytes(range(256)),
    "data": {"a": [1, 2.5, None, True, "é"], "$inc": {"b": {}}},
    "tags": ["x", ""],
    "status": Status.SOLD,
}


async def test_values_come_back_as_they_went(bench: Bench) -> None:
    created = await bench.run("EverythingCreateNode", **VALUES)
    read = await bench.run("EverythingReadNode", id=created["id"])
    for row in (created, read):
        assert {name: row[name] for name in VALUES} == VALUES
        assert {name: type(row[name]) for name in VALUES} == {name: type(value) for name, value in VALUES.items()}
        assert str(row["price"]) == "-1234567890.12"
        assert row["born"].tzinfo is UTC or row["born"].utcoffset() == timedelta(0)
    assert read == {**created, "found": True}


@pytest.mark.parametrize("moment", [datetime.min, datetime.max], ids=["first", "last"])
async def test_the_first_and_the_last_moment(bench: Bench, moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    created = await bench.run("EverythingCreateNode", name="x", born=moment)
    read = await bench.run("EverythingReadNode", id=created["id"])
    assert created["born"] == read["born"] == moment
    assert (await bench.run("EverythingCountNode", filter={"born": moment})) == {"count": 1}


async def test_other_spellings_of_values(bench: Bench) -> None:
    token = uuid4()
    row = await bench.run(
        "EverythingCreateNode",
        name="x",
        born=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        day="2026-01-31",
        hour="12:30",
        token=str(token),
        price="7",
        weight=3,
        status="sold",
    )
    assert row["born"] == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert (row["day"], row["hour"], row["token"]) == (date(2026, 1, 31), time(12, 30), token)
    assert (str(row["price"]), repr(row["weight"]), row["status"]) == ("7.00", "3.0", Status.SOLD)
    row = await bench.run("EverythingUpdateNode", id=row["id"], weight={"$inc": 1})
    assert repr(row["weight"]) == "4.0"
    naive = await bench.run("EverythingCreateNode", name="x", born=datetime(2026, 1, 1))
    assert naive["born"] == datetime(2026, 1, 1, tzinfo=UTC)


async def test_defaults_are_made_anew(bench: Bench) -> None:
    first = await bench.run("EverythingCreateNode", name="x")
    first["tags"].append("changed")
    first["data"]["k"] = 1
    second = await bench.run("EverythingCreateNode", name="x")
    assert (second["tags"], second["data"]) == ([], {})


async def test_create_refuses_what_it_does_not_know(bench: Bench) -> None:
    with pytest.raises(UnknownParameterError, match="Did you mean 'name'"):
        await bench.run("UserCreateNode", email="a", nmae="x")
    with pytest.raises(MissingParameterError, match="needs the parameter 'email'"):
        await bench.run("UserCreateNode", name="x")
    with pytest.raises(TypeMismatchError, match=r"User\.visits is int"):
        await bench.run("UserCreateNode", email="a", visits="5")
    with pytest.raises(NotNullViolationError, match=r"User\.name must not be None"):
        await bench.run("UserCreateNode", email="a", name=None)
    assert await bench.run("UserCountNode") == {"count": 0}


async def test_explicit_ids_do_not_collide_with_generated_ones(bench: Bench) -> None:
    assert (await user(bench, "1"))["id"] == 1
    assert (await user(bench, "2", id=7))["id"] == 7
    assert (await user(bench, "3"))["id"] == 8
    assert (await user(bench, "4", id=5))["id"] == 5
    assert (await user(bench, "5", id=None))["id"] == 9
    assert (await user(bench, "6", id=-3))["id"] == -3
    assert (await user(bench, "0", id=0))["id"] == 0
    assert (await user(bench, "7"))["id"] == 10


async def test_ids_of_other_types(bench: Bench) -> None:
    assert (await bench.run("TeamCreateNode", id="7", title="x"))["id"] == "7"
    with pytest.raises(MissingParameterError, match="'id'"):
        await bench.run("TeamCreateNode", title="x")
    player = await bench.run("PlayerCreateNode", team_id="7")
    assert type(player["id"]) is UUID
    assert player["id"].version == 7
    assert await bench.run("PlayerReadNode", id=str(player["id"])) == {**player, "found": True}


async def test_unique_violation_names_model_field_and_value(bench: Bench) -> None:
    await user(bench)
    with pytest.raises(UniqueViolationError, match=r"A User with email 'a@x\.org' exists already") as caught:
        await user(bench)
    context = caught.value.context
    assert (context["model"], context["field"], context["value"]) == ("User", "email", "a@x.org")
    await bench.run("TeamCreateNode", id="a", title="x")
    with pytest.raises(UniqueViolationError, match="A Team with id 'a' exists already"):
        await bench.run("TeamCreateNode", id="a", title="y")
    other = await user(bench, "b@x.org")
    with pytest.raises(UniqueViolationError, match=r"email 'a@x\.org'"):
        await bench.run("UserUpdateNode", id=other["id"], fields={"email": "a@x.org"})


async def test_foreign_keys(bench: Bench) -> None:
    with pytest.raises(ForeignKeyViolationError, match=r"Player\.team_id 'nowhere' refers to a row") as caught:
        await bench.run("PlayerCreateNode", team_id="nowhere")
    assert caught.value.context["model"] == "Player"
    assert caught.value.context["field"] == "team_id"
    await bench.run("TeamCreateNode", id="a", title="x")
    await bench.run("PlayerCreateNode", team_id="a")
    with pytest.raises(ForeignKeyViolationError, match="still refer to this Team"):
        await bench.run("TeamDeleteNode", id="a")


async def test_managed_timestamps_are_stripped_with_one_warning(bench: Bench) -> None:
    with pytest.warns(UserWarning, match=r"AUTO-STRIPPED: Fields \['created_at'\]"):
        row = await user(bench, created_at=datetime(2000, 1, 1, tzinfo=UTC))
    assert row["created_at"].year > 2000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        changed = await bench.run(
            "UserUpdateNode", filter={"id": row["id"]}, fields={"name": "x", "updated_at": "2000-01-01T00:00:00Z"}
        )
    assert changed["updated_at"] > row["updated_at"]


# Read


async def test_read(bench: Bench) -> None:
    row = {**await user(bench, name="Ann"), "found": True}
    await user(bench, "b@x.org")
    assert await bench.run("UserReadNode", id=1) == row
    assert await bench.run("UserReadNode", record_id=1) == row
    assert await bench.run("UserReadNode", conditions={"id": 1}) == row
    assert await bench.run("UserReadNode", filter={"id": {"$eq": 1}}) == row
    assert await bench.run("UserReadNode", filter={"email": "a@x.org"}) == row
    assert await bench.run("UserReadNode", id=1, include_deleted=False, raise_on_not_found=True) == row


async def test_read_not_found(bench: Bench) -> None:
    with pytest.raises(RecordNotFoundError, match="there is no User with id 5") as caught:
        await bench.run("UserReadNode", id=5)
    assert caught.value.context["id"] == 5
    assert await bench.run("UserReadNode", id=5, raise_on_not_found=False) == {"id": 5, "found": False}
    missing = await bench.run("UserReadNode", filter={"name": "x"}, raise_on_not_found=False)
    assert missing == {"id": None, "found": False}
    token = uuid4()
    missing = await bench.run("PlayerReadNode", id=str(token), raise_on_not_found=False)
    assert missing == {"id": token, "found": False}


async def test_read_refuses(bench: Bench) -> None:
    await user(bench)
    await user(bench, "b@x.org")
    with pytest.raises(MultipleRecordsError, match="UserListNode"):
        await bench.run("UserReadNode", filter={"name": "nobody"})
    with pytest.raises(MissingParameterError, match="'id'"):
        await bench.run("UserReadNode")
    with pytest.raises(InputError, match="both say which row"):
        await bench.run("UserReadNode", id=1, filter={"id": 1})
    with pytest.raises(InputError, match="every row"):
        await bench.run("UserReadNode", filter={})
    with pytest.raises(TypeMismatchError, match=r"User\.id is int"):
        await bench.run("UserReadNode", id="1 OR 1=1")
    with pytest.raises(NotNullViolationError):
        await bench.run("UserReadNode", id=None)
    with pytest.raises(UnknownParameterError, match="another name"):
        await bench.run("UserReadNode", id=1, record_id=1)
    for later in ({"read_preference": "replica"}, {"enable_cache": True}, {"cache_ttl": 5}):
        with pytest.raises(InputError, match="not in this version yet"):
            await bench.run("UserReadNode", id=1, **later)


# Update


async def test_update_by_every_way(bench: Bench) -> None:
    row = await user(bench, name="a")
    for name, inputs in {
        "b": {"filter": {"id": 1}, "fields": {"name": "b"}},
        "c": {"id": 1, "name": "c"},
        "d": {"record_id": 1, "fields": {"name": "d"}},
        "e": {"filter": {"email": "a@x.org"}, "fields": {"name": "e"}},
        "f": {"filter": {"id": 1, "name": "e"}, "fields": {"name": "f"}},
        "g": {"id": 1, "fields": {"filter": "own"}, "name": "g"},
    }.items():
        changed = await bench.run("UserUpdateNode", **inputs)
        assert changed["updated"] is True
        assert changed["name"] == name
        assert changed["created_at"] == row["created_at"]
        assert changed["updated_at"] > row["updated_at"]
        stored = await bench.run("UserReadNode", id=1)
        del stored["found"], changed["updated"]
        assert stored == changed
        row = changed
    assert row["filter"] == "own"


async def test_old_parameters_of_update_still_work(bench: Bench) -> None:
    await user(bench)
    with pytest.warns(DeprecationWarning, match="'conditions' is now called 'filter'|'updates' is now called 'fields'"):
        changed = await bench.run("UserUpdateNode", conditions={"id": 1}, updates={"name": "b"})
    assert changed["name"] == "b"


async def test_update_of_every_type(bench: Bench) -> None:
    row = await bench.run("EverythingCreateNode", name="x")
    changed = await bench.run("EverythingUpdateNode", filter={"id": row["id"]}, fields=VALUES)
    assert {name: changed[name] for name in VALUES} == VALUES
    nothing = dict.fromkeys(("nickname", "born", "day", "hour", "waited", "token"))
    changed = await bench.run("EverythingUpdateNode", filter={"id": row["id"]}, fields=nothing)
    assert {name: changed[name] for name in nothing} == nothing
    assert changed["data"] == VALUES["data"]


async def test_update_not_found(bench: Bench) -> None:
    assert await bench.run("UserUpdateNode", id=5, name="x") == {"id": 5, "updated": False}
    assert await bench.run("UserUpdateNode", id=5, visits={"$inc": 1}) == {"id": 5, "updated": False}
    missing = await bench.run("UserUpdateNode", filter={"email": "x"}, fields={"name": "x"})
    assert missing == {"id": None, "updated": False}
    with pytest.raises(RecordNotFoundError):
        await bench.run("UserUpdateNode", id=5, name="x", raise_on_not_found=True)


async def test_update_to_the_same_values_is_an_update(bench: Bench) -> None:
    row = await user(bench)
    changed = await bench.run("UserUpdateNode", id=1, name=row["name"])
    assert changed["updated"] is True


async def test_update_refuses(bench: Bench) -> None:
    await user(bench)
    await user(bench, "b@x.org")
    with pytest.raises(MultipleRecordsError, match="UserBulkUpdateNode"):
        await bench.run("UserUpdateNode", filter={"name": "nobody"}, fields={"name": "x"})
    with pytest.raises(UpdateParameterError, match="nothing to change"):
        await bench.run("UserUpdateNode", id=1)
    with pytest.raises(UpdateParameterError, match="nothing to change"):
        await bench.run("UserUpdateNode", id=1, fields={})
    with pytest.raises(UpdateParameterError, match="beside it"):
        await bench.run("UserUpdateNode", id=1, fields={"name": "x"}, name="y")
    with pytest.raises(UpdateParameterError, match="cannot be changed"):
        await bench.run("UserUpdateNode", filter={"id": 1}, fields={"id": 2})
    with pytest.raises(MissingParameterError):
        await bench.run("UserUpdateNode", name="x")
    with pytest.raises(TypeMismatchError, match="a dict"):
        await bench.run("UserUpdateNode", id=1, fields=[1])
    with pytest.raises(UnknownParameterError, match="no parameter 'version'"):
        await bench.run("UserUpdateNode", id=1, name="x", version=3)
    assert await bench.ids("User", {"name": "nobody"}) == [1, 2]


class Numbers:
    whole: int | None = None
    real: float | None = None
    price: Decimal | None = Field(None, precision=10, scale=2)
    waited: timedelta | None = None
    word: str | None = None
    at: datetime | None = None
    day: date | None = None


@pytest.mark.parametrize(
    ("field", "start", "expression", "result"),
    [
        ("whole", 5, {"$inc": -2}, 3),
        ("whole", 5, {"$multiply": 3}, 15),
        ("whole", None, {"$inc": 1}, None),
        ("whole", None, {"$multiply": 2}, None),
        ("whole", 5, {"$min": 3}, 3),
        ("whole", 5, {"$min": 8}, 5),
        ("whole", None, {"$min": 8}, 8),
        ("whole", 5, {"$max": 8}, 8),
        ("whole", None, {"$max": -8}, -8),
        ("whole", 5, {"$unset": True}, None),
        ("whole", 5, {"$set": None}, None),
        ("real", 1.5, {"$inc": 1}, 2.5),
        ("real", 1.5, {"$multiply": 0.5}, 0.75),
        ("price", "0.10", {"$inc": 0.2}, Decimal("0.30")),
        ("price", "19.99", {"$multiply": 0.9}, Decimal("17.99")),
        ("price", "0.15", {"$multiply": "0.5"}, Decimal("0.08")),
        ("price", "-0.15", {"$multiply": "0.5"}, Decimal("-0.08")),
        ("price", "99999999.99", {"$multiply": 1}, Decimal("99999999.99")),
        ("price", None, {"$multiply": 2}, None),
        ("price", "9.50", {"$min": "10"}, Decimal("9.50")),
        ("price", "9.50", {"$max": "10"}, Decimal("10.00")),
        ("waited", timedelta(hours=1), {"$inc": timedelta(seconds=-5)}, timedelta(minutes=59, seconds=55)),
        ("word", "b", {"$max": "a"}, "b"),
        ("word", "b", {"$min": "B"}, "B"),
    ],
)
async def test_update_expressions(bench: Bench, field: str, start: Any, expression: Any, result: Any) -> None:
    bench.add(Numbers)
    row = await bench.run("NumbersCreateNode", **{field: start})
    changed = await bench.run("NumbersUpdateNode", filter={"id": row["id"]}, fields={field: expression})
    assert (changed[field], type(changed[field])) == (result, type(result))
    assert str(changed[field]) == str(result)
    assert (await bench.run("NumbersReadNode", id=row["id"]))[field] == result


async def test_now(bench: Bench) -> None:
    bench.add(Numbers)
    before = datetime.now(UTC)
    row = await bench.run("NumbersCreateNode")
    changed = await bench.run("NumbersUpdateNode", id=row["id"], at={"$now": True}, day={"$now": True})
    assert before <= changed["at"] <= datetime.now(UTC)
    assert before.date() <= changed["day"] <= datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("field", "start", "expression"),
    [
        ("whole", 2**63 - 1, {"$inc": 1}),
        ("whole", 2**62, {"$multiply": 2}),
        ("real", 1e308, {"$multiply": 10.0}),
        ("price", "99999999.99", {"$inc": "0.01"}),
        ("price", "99999999.99", {"$multiply": 2}),
    ],
)
async def test_overflow_changes_nothing(bench: Bench, field: str, start: Any, expression: Any) -> None:
    bench.add(Numbers)
    row = await bench.run("NumbersCreateNode", **{field: start})
    with pytest.raises(TypeMismatchError):
        await bench.run("NumbersUpdateNode", filter={"id": row["id"]}, fields={field: expression})
    assert (await bench.run("NumbersReadNode", id=row["id"]))[field] == row[field]


async def test_concurrent_increments_return_what_each_made(bench: Bench) -> None:
    await user(bench)
    by_id = [bench.run("UserUpdateNode", id=1, visits={"$inc": 1}) for _ in range(15)]
    by_filter = [
        bench.run("UserUpdateNode", filter={"email": "a@x.org"}, fields={"visits": {"$inc": 1}}) for _ in range(10)
    ]
    rows = await asyncio.gather(*by_id, *by_filter)
    assert sorted(row["visits"] for row in rows) == list(range(1, 26))


# Delete


async def test_delete_by_every_way(bench: Bench) -> None:
    for number, inputs in enumerate(
        (
            {"id": 1},
            {"record_id": 2},
            {"filter": {"id": 3}},
            {"conditions": {"id": 4}},
            {"filter": {"email": "5"}},
            {"id": 6, "soft_delete": False},
        ),
        start=1,
    ):
        await user(bench, str(number))
        assert await bench.run("UserDeleteNode", **inputs) == {"id": number, "deleted": True, "soft": False}
        assert await bench.run("UserCountNode") == {"count": 0}


async def test_delete_of_what_is_not_there(bench: Bench) -> None:
    assert await bench.run("UserDeleteNode", id=5) == {"id": 5, "deleted": False, "soft": False}
    assert await bench.run("UserDeleteNode", filter={"email": "x"}) == {"id": None, "deleted": False, "soft": False}


async def test_delete_refuses(bench: Bench) -> None:
    await user(bench)
    await user(bench, "b@x.org")
    with pytest.raises(MultipleRecordsError, match="UserBulkDeleteNode"):
        await bench.run("UserDeleteNode", filter={"name": "nobody"})
    with pytest.raises(InputError, match="every row"):
        await bench.run("UserDeleteNode", filter={"$or": [{}, {"id": 1}]})
    with pytest.raises(MissingParameterError):
        await bench.run("UserDeleteNode")
    with pytest.raises(InputError, match="cannot be soft-deleted"):
        await bench.run("UserDeleteNode", id=1, soft_delete=True)
    assert await bench.run("UserCountNode") == {"count": 2}


# Checks when a workflow is built


async def test_builds_refuse_what_cannot_run(bench: Bench) -> None:
    bench.check("UserCreateNode", "name", email="x", created_at="whatever")
    bench.check("UserUpdateNode", filter={"id": 1}, fields={"visits": {"$inc": 1}})
    bench.check("UserUpdateNode", id=1, visits={"$inc": 1})
    for node, params in (
        ("UserCreateNode", {"nmae": "x"}),
        ("UserCreateNode", {"visits": "x"}),
        ("UserReadNode", {"filter": {"nmae": 1}}),
        ("UserReadNode", {"id": "x"}),
        ("UserReadNode", {"raise_on_not_found": 1}),
        ("UserUpdateNode", {"fields": {"visits": {"$incr": 1}}}),
        ("UserUpdateNode", {"visits": "many"}),
        ("UserUpdateNode", {"version": 1}),
        ("UserDeleteNode", {"soft_delete": True}),
        ("UserDeleteNode", {"filter": {"visits": {"$gtt": 1}}}),
    ):
        with pytest.raises(InputError):
            bench.check(node, **params)
    with pytest.raises(UnknownParameterError):
        bench.check("UserCreateNode", "nmae")


# Servers that return nothing from an INSERT (MySQL)


async def test_create_without_returning(mysql_db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(mysql_db_url, Everything, Team) as bench:
        known = await bench.database.capabilities()

        async def capabilities() -> Capabilities:
            return replace(known, insert_returning=False)

        monkeypatch.setattr(bench.database, "capabilities", capabilities)
        for values in ({"name": "x"}, VALUES, {**VALUES, "id": 40}, {**VALUES, "data": {"b": 1, "a": 1.0}}):
            created = await bench.run("EverythingCreateNode", **values)
            assert {**created, "found": True} == await bench.run("EverythingReadNode", id=created["id"])
        assert [record["id"] for record in (await bench.run("EverythingListNode"))["records"]] == [41, 40, 2, 1]
        team = await bench.run("TeamCreateNode", id="a", title="x")
        assert {**team, "found": True} == await bench.run("TeamReadNode", id="a")
