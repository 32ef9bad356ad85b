"""PythonCodeNode: what a snippet sees and gives, and how it fails; functions as nodes."""

import asyncio
import sys
import threading
from typing import Any

import pytest

from dataflow.errors import InputError, MissingParameterError, WorkflowExecutionError, WorkflowValidationError
from dataflow.nodes import PythonCodeNode
from dataflow.nodes.interface import RunContext
from dataflow.runtime.execution import execute
from dataflow.runtime.ledger import CodecRecord
from dataflow.workflows import WorkflowBuilder
from tests.unit.sample_nodes import catalog

CONTEXT = RunContext("run", "snippet")


async def run(code: str, **inputs: Any) -> dict[str, Any]:
    return await PythonCodeNode().run({"code": code, **inputs}, CONTEXT)


@pytest.mark.parametrize(
    ("code", "inputs", "output"),
    [
        ("result = x + 1", {"x": 1}, {"result": 2}),
        ("result = None", {}, {"result": None}),
        ("output_data = {'a': x}\ny = 2", {"x": 1}, {"a": 1}),
        ("result = 1\noutput_data = {'a': 1}", {}, {"result": 1}),
        ("output_data = 5", {}, {"output_data": 5}),
        ("y = x * 2\n_hidden = 1", {"x": 2}, {"y": 4}),
        ("x = x + 1", {"x": 2}, {"x": 3}),
        ("import math\nfrom datetime import datetime\ndef f(): pass\nclass C: pass\ny = math.floor(2.5)", {}, {"y": 2}),
        ("pass", {"x": 1}, {}),
        ("result = sorted(input_data)", {"b": 1, "a": 2}, {"result": ["a", "b"]}),
        ("result = input_data", {"input_data": {"a": 1}, "b": 2}, {"result": {"a": 1, "b": 2}}),
        ("result = input_data", {"input_data": [1], "b": 2}, {"result": [1]}),
        ("result = input_data['b']", {"input_data": None, "b": 2}, {"result": 2}),
        (
            "def double(n): return n * factor\nresult = [double(n) for n in ns]",
            {"ns": [1], "factor": 2},
            {"result": [2]},
        ),
        ("result = result * 2", {"result": 3}, {"result": 6}),
        ("result = os.path.basename('/a/b')", {}, {"result": "b"}),
        ("template = 'Hello {{name}}'\nresult = template.replace('{{name}}', n)", {"n": "Al"}, {"result": "Hello Al"}),
    ],
)
async def test_what_a_snippet_gives(code, inputs, output):
    assert await run(code, **inputs) == output


async def test_inputs_are_copies():
    rows = [{"n": 1}]
    assert await run("rows[0]['n'] = 2\nrows.append(1)\nresult = rows", rows=rows) == {"result": [{"n": 2}, 1]}
    assert rows == [{"n": 1}]


async def test_snippets_run_at_the_same_time_outside_of_the_loop():
    barrier = threading.Barrier(2, timeout=5)
    waiting = [run("barrier.wait()\nimport threading\nresult = threading.get_ident()", barrier=barrier) for _ in "ab"]
    threads = {output["result"] for output in await asyncio.gather(*waiting)}
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_exception_keeps_its_type_and_names_the_line():
    with pytest.raises(ZeroDivisionError) as caught:
        await run("x = 1\n\ndef f(n):\n    return 1 / n\n\nf(0)")
    assert caught.value.__notes__ == ["In line 4 of the code of node 'snippet': return 1 / n"]


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise StopIteration"])
async def test_code_cannot_end_the_process(code):
    with pytest.raises(InputError, match="The code of a node ended with"):
        await run(code)


@pytest.mark.parametrize(
    ("code", "message"), [("x = (", "line 1"), ("x = 1\ny y", "line 2"), (5, "is text"), ("\0", "null bytes")]
)
def test_code_that_cannot_be_compiled_is_refused_when_built(code, message):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("PythonCodeNode", "code", {"code": code})
    with pytest.raises(WorkflowValidationError, match=message):
        builder.build()


def test_code_is_required():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("PythonCodeNode", "code", {"x": 1})
    with pytest.raises(WorkflowValidationError, match="'code'"):
        builder.build()


async def test_code_of_the_future_is_not_inherited():
    assert await run("def f(x: int): pass\nresult = f.__annotations__['x'] is int") == {"result": True}


def add(a: int, b: int = 2) -> int:
    return a + b


async def send(**fields: Any) -> dict[str, Any]:
    return fields


async def test_functions_in_a_run():
    nodes = catalog()
    builder = WorkflowBuilder(catalog=nodes)
    builder.add_node(PythonCodeNode.from_function(add), "add", {"a": 1})
    builder.add_node(PythonCodeNode.from_function(send, name="sender"), "send", {"to": "x"})
    builder.add_connection("add", "result", "send", "amount")

    results = await execute(builder.build(), catalog=nodes, run_id="run")

    assert results == {"add": {"result": 3}, "send": {"result": {"to": "x", "amount": 3}}}


def test_parameters_of_a_function_are_known_when_built():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node(PythonCodeNode.from_function(add), "missing")
    builder.add_node(PythonCodeNode.from_function(add), "unknown", {"a": 1, "c": 1})
    with pytest.raises(WorkflowValidationError) as caught:
        builder.build()
    assert [issue["code"] for issue in caught.value.context["issues"]] == ["DF-101", "DF-103"]
    assert isinstance(caught.value.__cause__, MissingParameterError)


@pytest.mark.parametrize("function", [5, lambda *items: items, lambda x, /: x, dict])
def test_what_is_no_function_for_a_node(function):
    with pytest.raises(InputError):
        PythonCodeNode.from_function(function)


async def test_failure_in_a_run_has_its_cause():
    nodes = catalog()
    builder = WorkflowBuilder(catalog=nodes)
    builder.add_node("PythonCodeNode", "code", {"code": "raise FileNotFoundError('gone')"})
    with pytest.raises(WorkflowExecutionError) as caught:
        await execute(builder.build(), catalog=nodes, run_id="run")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_limits_of_the_process_are_left_alone():
    limit = sys.getrecursionlimit()
    asyncio.run(run("result = 1"))
    assert sys.getrecursionlimit() == limit


async def test_a_snippet_knows_a_key_that_stays() -> None:
    context = RunContext("job", "charge", record=CodecRecord("token"))
    node, code = PythonCodeNode(), "key = idempotency_key"
    assert await node.run({"code": code}, context) == {"key": "token:charge"}
    assert await node.run({"code": code, "idempotency_key": "mine"}, context) == {"key": "mine"}
    assert await node.run({"code": "a = 1"}, context) == {"a": 1}
