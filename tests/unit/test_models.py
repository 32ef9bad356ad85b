"""From classes to ModelSpecs."""

import warnings
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar, Optional
from uuid import UUID

import pytest

from dataflow.errors import ConfigurationError, ModelError, ModelValidationError, UnknownFieldError
from dataflow.models import Field, Kind, ModelSpec, declare
from dataflow.models.naming import table_name
from dataflow.models.spec import MISSING
from dataflow.models.validation import DataFlowValidationWarning


class Status(Enum):
    NEW = "new"
    DONE = "done"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Everything:
    """All types a field can have."""

    a_str: str
    a_int: int
    a_float: float
    a_bool: bool
    a_decimal: Decimal
    a_datetime: datetime
    a_date: date
    a_time: time
    a_timedelta: timedelta
    a_uuid: UUID
    a_bytes: bytes
    a_dict: dict[str, Any]
    a_list: list[str]
    a_any: Any
    a_status: Status
    a_level: Level
    not_a_field: ClassVar[int] = 3
    _private: int = 4


def test_every_type_becomes_a_field() -> None:
    spec = declare(Everything)
    assert {item.name: item.type.kind for item in spec.fields} == {
        "id": Kind.INT,
        "a_str": Kind.STR,
        "a_int": Kind.INT,
        "a_float": Kind.FLOAT,
        "a_bool": Kind.BOOL,
        "a_decimal": Kind.DECIMAL,
        "a_datetime": Kind.DATETIME,
        "a_date": Kind.DATE,
        "a_time": Kind.TIME,
        "a_timedelta": Kind.TIMEDELTA,
        "a_uuid": Kind.UUID,
        "a_bytes": Kind.BYTES,
        "a_dict": Kind.JSON,
        "a_list": Kind.JSON,
        "a_any": Kind.JSON,
        "a_status": Kind.STR,
        "a_level": Kind.INT,
        "created_at": Kind.DATETIME,
        "updated_at": Kind.DATETIME,
    }
    assert spec.doc == "All types a field can have."


def test_defaults_optional_and_required() -> None:
    class User:
        name: str
        active: bool = True
        nickname: str | None
        title: Optional[str] = "Dr"  # noqa: UP045
        tags: list[str] = []  # noqa: RUF012
        token: str = Field(default_factory=lambda: "t")
        joined: datetime = datetime(2026, 1, 1)

    spec = declare(User)
    required = [item.name for item in spec.fields if item.required]
    assert required == ["name"]
    assert spec.field("active").new_default() is True
    assert spec.field("nickname").new_default() is None
    assert spec.field("nickname").default is MISSING
    assert spec.field("title").nullable
    first, second = spec.field("tags").new_default(), spec.field("tags").new_default()
    assert first == second == []
    assert first is not second
    assert spec.field("token").new_default() == "t"
    assert spec.field("joined").new_default() == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_callable_default_is_called_for_each_row() -> None:
    class Event:
        at: datetime = lambda: datetime.now(UTC)

    assert declare(Event).field("at").new_default().tzinfo is UTC


def test_primary_keys() -> None:
    class Implicit:
        name: str

    class Text:
        id: str

    class Number:
        id: int

    class Unique:
        id: UUID

    assert declare(Implicit).primary_key.generated
    assert declare(Number).primary_key.generated
    assert declare(Text).primary_key.required
    key = declare(Unique).primary_key
    assert not key.required
    assert key.new_default() < key.new_default() or key.new_default().version == 7
    assert declare(Implicit).names[0] == "id"


@pytest.mark.parametrize("annotation", [float, list[int], Status, int | None])
def test_a_primary_key_of_another_type_is_refused(annotation: Any) -> None:
    bad = type("Bad", (), {"__annotations__": {"id": annotation}})
    with pytest.raises(ModelError, match=r"Bad\.id"):
        declare(bad)


def test_specs_are_immutable() -> None:
    spec = declare(Everything)
    with pytest.raises(FrozenInstanceError):
        spec.name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.by_name["x"] = spec.fields[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("User", "users"),
        ("OrderItem", "order_items"),
        ("Category", "categories"),
        ("Person", "people"),
        ("HTTPServer", "http_servers"),
        ("Status", "statuses"),
        ("Bus", "buses"),
        ("Data", "data"),
        ("Day", "days"),
        ("Box", "boxes"),
    ],
)
def test_table_names(name: str, table: str) -> None:
    assert table_name(name) == table


def test_tablename_and_inheritance() -> None:
    class Base:
        name: str

    class Child(Base):
        __tablename__ = "kids"
        age: int = 3

    spec = declare(Child)
    assert spec.table_name == "kids"
    assert spec.names == ("id", "name", "age", "created_at", "updated_at")


def test_relations_from_annotations_options_and_names() -> None:
    class Customer:
        id: str

    class Order:
        customer: "Customer"
        seller_id: str = Field(references="Customer", on_delete="cascade")
        parent: "Order | None"
        product_id: int

    known = {"Customer": declare(Customer)}
    spec = declare(Order, known=known)
    by_name = {relation.name: relation for relation in spec.relations}
    assert spec.field("customer_id").type.kind is Kind.STR
    assert spec.field("customer_id").references.model == "Customer"  # type: ignore[union-attr]
    assert by_name["customer"].field == "customer_id"
    assert by_name["seller"].model == "Customer"
    assert spec.field("seller_id").references.on_delete == "cascade"  # type: ignore[union-attr]
    assert by_name["parent"].model == "Order"
    assert spec.field("parent_id").nullable
    assert by_name["product"].model == "Product"
    assert spec.field("product_id").references is None


def test_models_named_in_quotes() -> None:
    class Order:
        customer: "'Customer | None'"  # noqa: F821
        seller: Optional["Customer"]  # noqa: F821

    spec = declare(Order, known={"Customer": declare(type("Customer", (), {"__annotations__": {"id": str}}))})
    assert {relation.name: relation.model for relation in spec.relations} == {
        "customer": "Customer",
        "seller": "Customer",
    }
    assert spec.field("customer_id").nullable
    assert spec.field("seller_id").nullable


def test_annotated_carries_options() -> None:
    class User:
        email: Annotated[str, Field(unique=True, max_length=50)]

    field = declare(User).field("email")
    assert field.unique
    assert field.type.max_length == 50


def test_indexes_and_key_lengths() -> None:
    class User:
        email: str = Field(unique=True)
        first: str
        last: str
        bio: str
        __indexes__: ClassVar = [{"name": "by_name", "fields": ["first", "last"], "unique": True}, {"fields": ["bio"]}]

    spec = declare(User)
    assert [index.name for index in spec.indexes] == ["by_name", "ix_users_bio"]
    assert spec.field("email").type.max_length == 640
    assert spec.field("first").type.max_length == 320
    assert spec.field("bio").type.max_length == 640


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"__annotations__": {"x": complex}}, "not a type"),
        ({"__annotations__": {"x": "Nowhere"}}, "not known here"),
        ({"__annotations__": {"timeout": int}}, "every node has a parameter 'timeout'"),
        ({"__annotations__": {"x": int}, "x": "text"}, "default 'text' is not int"),
        ({"__annotations__": {"x": int}, "x": Field(on_delete="explode")}, "on_delete"),
        ({"__annotations__": {"x": int}, "__indexes__": [{"fields": ["y"]}]}, "names the field 'y'"),
        ({"__annotations__": {"x": int}, "__indexes__": [{"name": "i"}]}, "needs 'fields'"),
        ({"__annotations__": {"x": Decimal}, "x": Field(precision=4, scale=5)}, "precision"),
        ({"__annotations__": {"größe": int, "GRÖSSE": int}}, "are one name"),
    ],
)
def test_what_cannot_be_a_model_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        declare(type("Bad", (), body))


def test_features_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not have yet"):
        declare(type("Order", (), {"__annotations__": {"x": int}, "__dataflow__": {"audit_log": True}}))
    with pytest.raises(ConfigurationError, match="Did you mean 'audit_log'"):
        declare(type("Order", (), {"__annotations__": {"x": int}, "__dataflow__": {"audit_logs": True}}))


def test_timestamps_can_be_left_out() -> None:
    bare = declare(type("Legacy", (), {"__annotations__": {"x": int}, "__dataflow__": {"timestamps": False}}))
    assert bare.names == ("id", "x")


def declared(annotations: dict[str, Any], **body: Any) -> ModelSpec:
    return declare(type("Thing", (), {"__annotations__": annotations, **body}))


@pytest.mark.parametrize(
    ("annotations", "code"),
    [
        ({"pk": str}, "VAL-003"),
        ({"created_at": datetime}, "VAL-004"),
        ({"type": str}, "VAL-006"),
        ({"userName": str}, "VAL-007"),
    ],
)
def test_validation_warns_raises_or_is_skipped(annotations: dict[str, Any], code: str) -> None:
    with pytest.warns(DataFlowValidationWarning, match=code):
        declared(annotations)
    cls = type("Thing", (), {"__annotations__": {"id": str, **annotations} if code != "VAL-003" else annotations})
    with pytest.raises(ModelValidationError, match=code):
        declare(cls, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        declare(cls, skip_validation=True)


def test_strict_wants_an_id_and_known_relations() -> None:
    class Order:
        customer_id: int = Field(references="Customer")

    with pytest.raises(ModelValidationError) as caught:
        declare(Order, strict=True)
    assert [code for code, _ in caught.value.context["issues"]] == ["VAL-002", "VAL-009"]


def test_models_that_require_each_other() -> None:
    class Husband:
        id: str
        wife_id: str = Field(references="Wife")

    class Wife:
        id: str
        husband_id: str = Field(references="Husband")

    known = {"Husband": declare(Husband)}
    with pytest.warns(DataFlowValidationWarning, match="VAL-008"):
        declare(Wife, known=known)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UnknownFieldError, match="Did you mean 'a_datetime'"):
        declare(Everything).field("a_datetme")
