"""BaseDataFlowNode: classes of the user's as nodes."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from dataflow.databases import Database, open_database
from dataflow.errors import ConfigurationError, InputError, WorkflowExecutionError, WorkflowValidationError
from dataflow.nodes import BaseDataFlowNode, CustomNode, Parameter
from dataflow.nodes.interface import RunContext
from dataflow.runtime.execution import execute
from dataflow.workflows import WorkflowBuilder
from tests.unit.sample_nodes import Source, catalog

CONTEXT = RunContext("run", "custom")


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = open_database(":memory:")
    yield database
    await database.close()


class CustomAnalyticsNode(BaseDataFlowNode):
    """Counts what a query gives."""

    def __init__(self, node_id, custom_query):
        self.custom_query = custom_query
        super().__init__(node_id)

    def execute(self, input_data):
        return self.run_custom_query(self.custom_query)


async def test_class_of_the_guides(database):
    node = CustomNode(CustomAnalyticsNode, "CustomAnalyticsNode", database)
    query = "SELECT 1, 'a' UNION SELECT 2, 'b'"
    assert await node.run({"custom_query": query}, CONTEXT) == {"result": [(1, "a"), (2, "b")]}
    assert node.spec.description == "Counts what a query gives."


class Echo(BaseDataFlowNode):
    def __init__(self, node_id, prefix="p", *, suffix=""):
        super().__init__(node_id)
        self.prefix = prefix
        self.suffix = suffix

    def execute(self, input_data):
        thread = threading.get_ident()
        return {"id": self.node_id, "text": self.prefix + self.suffix, "input": input_data, "thread": thread}


async def test_settings_and_inputs_are_told_apart():
    output = await CustomNode(Echo, "Echo").run({"suffix": "s", "x": 1}, CONTEXT)
    assert output["text"] == "ps"
    assert output["input"] == {"x": 1}
    assert output["id"] == "custom"
    assert output["thread"] != threading.get_ident()


async def test_class_without_a_constructor_has_all_inputs_as_params():
    class Plain(BaseDataFlowNode):
        async def execute(self, input_data):
            return [self.params, input_data, threading.get_ident()]

    output = await CustomNode(Plain, "Plain").run({"x": 1}, CONTEXT)
    assert output == {"result": [{"x": 1}, {"x": 1}, threading.get_ident()]}


async def test_async_run_is_another_name(database):
    class Other(BaseDataFlowNode):
        async def async_run(self, input_data):
            return {"rows": await self.query("SELECT ? + 1", [input_data["x"]])}

    assert await CustomNode(Other, "Other", database).run({"x": 1}, CONTEXT) == {"rows": [(2,)]}


async def test_query_without_a_database():
    with pytest.raises(ConfigurationError, match="register_node"):
        await CustomAnalyticsNode.class_node().run({"custom_query": "SELECT 1"}, CONTEXT)


async def test_waiting_query_in_async_code_is_refused(database):
    class Blocking(BaseDataFlowNode):
        async def execute(self, input_data):
            return self.run_custom_query("SELECT 1")

    with pytest.raises(InputError, match=r"await self\.query"):
        await CustomNode(Blocking, "Blocking", database).run({}, CONTEXT)


def test_waiting_query_outside_of_a_run_is_refused():
    with pytest.raises(InputError, match="while a workflow runs"):
        CustomAnalyticsNode("a", "SELECT 1").run_custom_query("SELECT 1")


async def test_cancelled_run_frees_the_thread_that_waits_for_its_query(database):
    started, ended = threading.Event(), threading.Event()

    class Slow(BaseDataFlowNode):
        def execute(self, input_data):
            started.set()
            try:
                return self.run_custom_query(ENDLESS)
            finally:
                ended.set()

    run = asyncio.create_task(CustomNode(Slow, "Slow", database).run({}, CONTEXT))
    assert await asyncio.to_thread(started.wait, 5)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await asyncio.to_thread(ended.wait, 5)
    assert len(await database.fetch_all("SELECT 1")) == 1


async def test_inputs_are_copies():
    class Spoiler(BaseDataFlowNode):
        def execute(self, input_data):
            input_data["rows"].append(1)
            return {}

    rows: list[int] = []
    await CustomNode(Spoiler, "Spoiler").run({"rows": rows}, CONTEXT)
    assert rows == []


class Declared(BaseDataFlowNode):
    parameters = (Parameter("amount", int, required=True),)
    outputs = ("total",)

    def execute(self, input_data):
        return {"total": input_data["amount"]}


@pytest.mark.parametrize(
    ("params", "code"), [({}, "DF-101"), ({"amount": "x"}, "DF-102"), ({"amount": 1, "amont": 1}, "DF-103")]
)
def test_declared_parameters_are_checked_when_built(params, code):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node(Declared, "a", params)
    with pytest.raises(WorkflowValidationError) as caught:
        builder.build()
    assert [issue["code"] for issue in caught.value.context["issues"]] == [code]


def test_declared_outputs_are_checked_when_built():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node(Declared, "a", {"amount": 1})
    builder.add_node(Echo, "b")
    builder.add_connection("a", "totl", "b", "x")
    with pytest.raises(WorkflowValidationError, match="Did you mean 'total'"):
        builder.build()


def test_constructor_parameter_without_default_is_required():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node(CustomAnalyticsNode, "a")
    with pytest.raises(WorkflowValidationError, match="'custom_query'"):
        builder.build()


@pytest.mark.parametrize("cls", [int, "Echo", type("Nothing", (BaseDataFlowNode,), {})])
def test_what_is_no_node_class(cls):
    with pytest.raises(ConfigurationError):
        CustomNode(cls, "Nothing")


async def test_registered_class_and_object_in_a_run():
    nodes = catalog(Source(nodes={"Echo": CustomNode(Echo, "Echo")}))
    builder = WorkflowBuilder(catalog=nodes)
    builder.add_node("Echo", "first", {"prefix": "a"})
    builder.add_node(Echo("mine", "b"), "second")
    builder.add_connection("first", "text", "second", "from_first")

    results = await execute(builder.build(), catalog=nodes, run_id="run")

    assert results["first"]["text"] == "a"
    assert results["second"]["id"] == "mine"
    assert results["second"]["input"] == {"from_first": "a"}


async def test_failure_has_its_cause():
    class Failing(BaseDataFlowNode):
        def execute(self, input_data):
            raise LookupError("nothing")

    nodes = catalog()
    builder = WorkflowBuilder(catalog=nodes)
    builder.add_node(Failing, "a")
    with pytest.raises(WorkflowExecutionError) as caught:
        await execute(builder.build(), catalog=nodes, run_id="run")
    assert isinstance(caught.value.__cause__, LookupError)
