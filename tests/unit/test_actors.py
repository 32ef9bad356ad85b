"""Actors: from a function to a node type and its parameters, and what is refused."""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, LocalRuntime, WorkflowBuilder, current_job, current_run
from dataflow.errors import (
    ConfigurationError,
    InputError,
    MissingParameterError,
    TypeMismatchError,
    UnknownParameterError,
    WorkflowExecutionError,
    WorkflowValidationError,
)
from dataflow.jobs.actor import Actor
from dataflow.workflows.codec import decode, encode


@pytest.fixture
def db() -> Iterator[DataFlow]:
    with DataFlow(":memory:") as made:
        yield made


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Address:
    street: str
    since: date


def test_it_stays_a_plain_function(db: DataFlow) -> None:
    @db.actor
    def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    assert double(21) == 42
    assert double(number=4) == 8
    assert (double.name, double.__name__, double.__doc__) == ("double", "double", "Twice as much.")
    assert db.nodes["double"].spec.description == "Twice as much."
    assert db.workflows["double"].steps[0].type == "double"


async def test_an_async_one_stays_a_coroutine_function(db: DataFlow) -> None:
    @db.actor(name="times.two")
    async def double(number: int) -> int:
        return 2 * number

    assert await double(4) == 8
    assert "times.two" in db.nodes


def test_parameters_come_from_the_signature(db: DataFlow) -> None:
    @db.actor
    def order(customer: int, total: Decimal, note: str | None = None, *, urgent: bool = False) -> None: ...

    found = {item.name: (item.annotation, item.required, item.default) for item in db.nodes["order"].spec.parameters}
    assert found["customer"] == (int, True, None)
    assert found["total"] == (Decimal, True, None)
    assert found["note"] == (str | None, False, None)
    assert found["urgent"] == (bool, False, False)
    assert {"timeout", "retry", "input"} < found.keys()


def _positional_only(a: int, /) -> None: ...
def _star(*a: int) -> None: ...
def _taken(timeout: float) -> None: ...
def _unknown_type(a: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821
def _good(customer: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "problem"),
    [
        (_positional_only, {}, "'a' has no name"),
        (_star, {}, "'a' has no name"),
        (_taken, {}, "'timeout', which every node has"),
        (_unknown_type, {}, "names 'Nowhere'"),
        (_good, {"ordering_key": "c:{custmer}"}, "'custmer', which is no parameter.*Did you mean 'customer'"),
        (_good, {"ordering_key": lambda client: client}, "'client', which is no parameter"),
        (_good, {"name": "SwitchNode"}, "'SwitchNode' is there already"),
    ],
)
def test_what_cannot_be_an_actor_is_refused(
    db: DataFlow, function: Callable[..., Any], options: dict[str, Any], problem: str
) -> None:
    before = set(db.nodes)
    with pytest.raises(ConfigurationError, match=problem):
        db.actor(**options)(function)
    assert set(db.nodes) == before
    assert not db.workflows


def test_a_name_is_given_once(db: DataFlow) -> None:
    db.actor(_good)
    with pytest.raises(ConfigurationError, match="'_good' is there already"):
        db.actor(_good)


@pytest.fixture
def order(db: DataFlow) -> Actor[..., Any]:
    @db.actor(ordering_key="customer:{customer}", retry=2, timeout=60, queue="orders")
    def order(customer: int, total: Decimal = Decimal(1), at: datetime | None = None) -> None: ...

    return order


def test_a_call_becomes_a_request(order: Actor[..., Any]) -> None:
    request = order.request(7, total=Decimal("1.50"))
    assert (request.workflow, request.inputs) == ("order", {"order": {"customer": 7, "total": Decimal("1.50")}})
    assert (request.ordering_key, request.retry, request.timeout) == ("customer:7", 2, 60)
    other = order.with_options(delay=5, job_id="x", ordering_key="mine").request(customer=7)
    assert (other.delay, other.job_id, other.ordering_key, other.retry) == (5, "x", "mine", 2)


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, MissingParameterError),
        (("7",), {}, TypeMismatchError),
        ((7,), {"totl": 1}, UnknownParameterError),
        ((7, Decimal(1), None, 4), {}, InputError),
        ((7,), {"customer": 7}, InputError),
        ((7,), {"at": "yesterday"}, TypeMismatchError),
    ],
)
def test_a_wrong_call_is_refused_before_it_is_sent(
    order: Actor[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: type[InputError]
) -> None:
    with pytest.raises(error):
        order.request(*args, **kwargs)
    with pytest.raises(InputError, match="no option 'inputs'"):
        order.with_options(inputs={})


def test_the_key_may_be_a_function_of_some_arguments(db: DataFlow) -> None:
    @db.actor(ordering_key=lambda customer, region: f"{region}/{customer}" if customer else None)
    def order(customer: int, total: int = 0, region: str = "eu") -> None: ...

    assert order.request(7).ordering_key == "eu/7"
    assert order.request(7, region="us").ordering_key == "us/7"
    assert order.request(0).ordering_key is None


def test_further_arguments_go_through(db: DataFlow) -> None:
    @db.actor(ordering_key="{tag}")
    def collect(first: int, **rest: Any) -> None: ...

    request = collect.request(1, tag="a", more=[2])
    assert request.inputs == {"collect": {"first": 1, "tag": "a", "more": [2]}}
    assert request.ordering_key == "a"
    with pytest.raises(InputError, match="needs the argument 'tag'"):
        collect.request(1)


async def test_values_of_other_types_travel_as_json_and_are_made_again(db: DataFlow) -> None:
    @db.actor
    def ship(to: Address, sizes: set[Size], point: tuple[int, int], at: datetime, raw: bytes = b"\xff") -> list[Any]:
        return [to, sizes, point, at, raw]

    at = datetime(2026, 1, 2, tzinfo=UTC)
    home = Address("Elm", date(2020, 5, 6))
    request = ship.request(home, {Size.SMALL}, point=(1, 2), at=at)
    inputs = decode(encode(dict(request.inputs or {})))
    assert inputs["ship"] == {"to": {"street": "Elm", "since": "2020-05-06"}, "sizes": ["s"], "point": [1, 2], "at": at}

    results, _ = await AsyncLocalRuntime().execute_workflow_async(db.workflows["ship"], inputs)
    assert results["ship"]["result"] == [home, {Size.SMALL}, (1, 2), at, b"\xff"]
    with pytest.raises(TypeMismatchError, match="'point'"):
        ship.request(home, {Size.SMALL}, point=("1", 2), at=at)  # type: ignore[arg-type]


def test_actors_are_nodes_in_workflows(db: DataFlow) -> None:
    seen: list[Any] = []

    @db.actor
    async def price(items: list[int]) -> dict[str, Any]:
        run = current_run()
        assert run is not None
        seen.append((run.run_id, run.node_id, current_job()))
        return {"total": sum(items)}

    @db.actor
    def receipt(total: int) -> str:
        seen.append(threading.current_thread() is threading.main_thread())
        return f"{total} EUR"

    workflow = WorkflowBuilder()
    workflow.add_node("price", "first", {"items": [1, 2, 3]})
    workflow.add_node("receipt", "second", {"timeout": 5})
    workflow.add_connection("first", "result.total", "second", "total")
    results, run_id = LocalRuntime().execute(workflow.build())
    assert results == {"first": {"result": {"total": 6}}, "second": {"result": "6 EUR"}}
    assert seen == [(run_id, "first", None), False]
    assert current_run() is None

    wrong = WorkflowBuilder()
    wrong.add_node("price", "first", {"items": "123"})
    with pytest.raises(WorkflowValidationError, match="items"):
        wrong.build()


async def test_a_failing_actor_keeps_its_error(db: DataFlow) -> None:
    @db.actor
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("nobody there")

    with pytest.raises(WorkflowExecutionError, match="nobody there") as caught:
        await AsyncLocalRuntime().execute_workflow_async(db.workflows["fail"])
    assert isinstance(caught.value.__cause__, LookupError)
