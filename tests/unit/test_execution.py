"""The executor: order, concurrency, failures, timeouts, branches and inputs, on small nodes written here."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from dataflow.errors import InputError, OutputPathError, TransientDatabaseError, WorkflowExecutionError
from dataflow.nodes.interface import Node, NodeSpec, Parameter, RunContext
from dataflow.nodes.registry import Catalog
from dataflow.runtime.execution import NodeEvent, NodeState, execute
from dataflow.workflows import Edge, Step, Workflow

CONTROLS = (
    Parameter("timeout", control=True),
    Parameter("retry", control=True),
    Parameter("input", control=True),
)


class Small(Node):
    """A node made from a spec and a function."""

    def __init__(self, spec: NodeSpec, run: Any) -> None:
        self._spec = spec
        self._run = run

    @property
    def spec(self) -> NodeSpec:
        return self._spec

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        result: dict[str, Any] = await self._run(self._spec.bind(inputs), context)
        return result


class Gate:
    """Nodes that wait until as many of them run at once as are expected."""

    def __init__(self, parties: int) -> None:
        self.barrier = asyncio.Barrier(parties)

    async def __call__(self, inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        async with asyncio.timeout(5):
            await self.barrier.wait()
        return {"ok": True}


async def echo(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
    return {**inputs, "node": context.node_id}


async def fail(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
    raise LookupError("nothing there")


async def hang(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def switch(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
    return {"true_output": inputs["x"]} if inputs["x"] else {"false_output": inputs["x"]}


def catalog(**nodes: Any) -> Catalog:
    made: dict[str, Node] = {
        "Echo": Small(NodeSpec("Echo", "", (Parameter("x"), Parameter("y"), *CONTROLS)), echo),
        "Fail": Small(NodeSpec("Fail", "", (Parameter("x"), *CONTROLS)), fail),
        "Hang": Small(NodeSpec("Hang", "", (Parameter("x"), *CONTROLS)), hang),
        "Switch": Small(NodeSpec("Switch", "", (Parameter("x"),), branching=True), switch),
        "Any": Small(NodeSpec("Any", "", open_parameters=True, waits_for="any"), echo),
    }
    made.update({name: Small(NodeSpec(name, "", (Parameter("x"), *CONTROLS)), run) for name, run in nodes.items()})
    return Catalog(made)


def workflow(*steps: tuple[str, str, dict[str, Any]], edges: tuple[Edge, ...] = ()) -> Workflow:
    return Workflow("test", tuple(Step(id_, type_, params) for id_, type_, params in steps), edges)


async def run(flow: Workflow, inputs: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    options.setdefault("catalog", catalog())
    return await execute(flow, inputs, run_id="run-1", **options)


async def test_outputs_feed_inputs() -> None:
    flow = workflow(
        ("a", "Echo", {"x": {"records": [{"id": 7}]}}),
        ("b", "Echo", {}),
        ("c", "Echo", {}),
        edges=(Edge("a", "x.records.0.id", "b", "x"), Edge("b", "result", "c", "y"), Edge("a", "result", "c", "input")),
    )
    results = await run(flow)
    assert results["b"] == {"x": 7, "y": None, "node": "b"}
    assert results["c"]["y"] == results["b"]


async def test_a_path_that_leads_nowhere_says_what_is_there() -> None:
    flow = workflow(("a", "Echo", {}), ("b", "Echo", {}), edges=(Edge("a", "zip", "b", "x"),))
    with pytest.raises(WorkflowExecutionError) as caught:
        await run(flow)
    assert isinstance(caught.value.__cause__, OutputPathError)
    assert "node" in str(caught.value)


async def test_independent_nodes_run_at_once() -> None:
    flow = workflow(*((f"n{i}", "Gate", {}) for i in range(8)))
    results = await run(flow, catalog=catalog(Gate=Gate(8)))
    assert all(result == {"ok": True} for result in results.values())


async def test_a_node_starts_as_soon_as_its_own_inputs_are_there() -> None:
    """b follows a; c is slow. b must not wait for c."""
    released = asyncio.Event()

    async def release(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        released.set()
        return {}

    async def wait(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        async with asyncio.timeout(5):
            await released.wait()
        return {}

    flow = workflow(
        ("a", "Echo", {}), ("c", "Wait", {}), ("b", "Release", {}), edges=(Edge("a", "result", "b", "input"),)
    )
    assert set(await run(flow, catalog=catalog(Wait=wait, Release=release))) == {"a", "b", "c"}


async def test_no_more_nodes_run_at_once_than_allowed() -> None:
    running = most = 0

    async def count(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return {}

    flow = workflow(*((f"n{i}", "Count", {}) for i in range(20)))
    await run(flow, catalog=catalog(Count=count), max_concurrent_nodes=3)
    assert most == 3


async def test_a_failure_stops_dependents_and_says_where() -> None:
    flow = workflow(("a", "Echo", {}), ("b", "Fail", {}), ("c", "Echo", {}), edges=(
        Edge("a", "x", "b", "x"), Edge("b", "result", "c", "x"),
    ))  # fmt: skip
    with pytest.raises(WorkflowExecutionError, match=r"Node 'b' \(Fail\) failed: nothing there") as caught:
        await run(flow)
    error = caught.value
    assert (error.node_id, error.node_type, error.error_code, error.run_id) == ("b", "Fail", "LookupError", "run-1")
    assert isinstance(error.__cause__, LookupError)
    assert set(error.results) == {"a"}


async def test_what_runs_when_a_node_fails_is_awaited_so_its_effect_is_known() -> None:
    failed = asyncio.Event()

    async def fail_first(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        failed.set()
        raise LookupError("first")

    async def finish_later(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        await failed.wait()
        await asyncio.sleep(0)
        return {"written": True}

    flow = workflow(("a", "FailFirst", {}), ("b", "FinishLater", {}))
    with pytest.raises(WorkflowExecutionError) as caught:
        await run(flow, catalog=catalog(FailFirst=fail_first, FinishLater=finish_later))
    assert caught.value.results == {"b": {"written": True}}


async def test_collect_goes_on_with_what_does_not_depend_on_the_failure() -> None:
    flow = workflow(
        ("a", "Fail", {}), ("b", "Echo", {}), ("c", "Echo", {}), ("d", "Echo", {}),
        edges=(Edge("a", "result", "b", "x"), Edge("b", "result", "c", "x")),
    )  # fmt: skip
    results = await run(flow, on_error="collect")
    assert results["a"]["failed"] is True
    assert results["a"]["error_type"] == "LookupError"
    assert results["b"] is None
    assert results["c"] is None
    assert results["d"]["node"] == "d"


async def test_timeout_cancels_what_runs_and_names_it() -> None:
    cancelled = asyncio.Event()

    async def slow(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    flow = workflow(("a", "Slow", {}), ("b", "Hang", {}))
    with pytest.raises(TimeoutError, match=r"exceeded its 0\.05 s"):
        await run(flow, catalog=catalog(Slow=slow), timeout=0.05)
    assert cancelled.is_set()


async def test_a_nodes_own_timeout_fails_that_node() -> None:
    with pytest.raises(WorkflowExecutionError, match="Node 'a'") as caught:
        await run(workflow(("a", "Hang", {"timeout": 0.05})), timeout=30)
    assert isinstance(caught.value.__cause__, TimeoutError)


async def test_retry_is_for_transient_errors_only() -> None:
    calls = {"Deadlock": 0, "Wrong": 0}

    async def deadlock(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        calls["Deadlock"] += 1
        if calls["Deadlock"] < 3:
            raise TransientDatabaseError("deadlock")
        return {"tries": calls["Deadlock"]}

    async def wrong(inputs: dict[str, Any], context: RunContext) -> dict[str, Any]:
        calls["Wrong"] += 1
        raise InputError("wrong")

    nodes = catalog(Deadlock=deadlock, Wrong=wrong)
    retry = {"max_attempts": 3, "base_delay": 0}
    assert (await run(workflow(("a", "Deadlock", {"retry": retry})), catalog=nodes))["a"] == {"tries": 3}
    with pytest.raises(WorkflowExecutionError):
        await run(workflow(("a", "Wrong", {"retry": retry})), catalog=nodes)
    assert calls["Wrong"] == 1


@pytest.mark.parametrize(("x", "taken", "other"), [(1, "yes", "no"), (0, "no", "yes")])
async def test_a_branch_not_taken_is_none_down_to_its_end(x: int, taken: str, other: str) -> None:
    flow = workflow(
        ("s", "Switch", {"x": x}), ("yes", "Echo", {}), ("no", "Echo", {}), ("yes2", "Echo", {}), ("no2", "Echo", {}),
        ("merge", "Any", {}),
        edges=(
            Edge("s", "true_output", "yes", "x"), Edge("s", "false_output", "no", "x"),
            Edge("yes", "result", "yes2", "x"), Edge("no", "result", "no2", "x"),
            Edge("yes2", "node", "merge", "left"), Edge("no2", "node", "merge", "right"),
        ),
    )  # fmt: skip
    results = await run(flow)
    assert results[taken]["x"] == x
    assert results[other] is None
    assert results[f"{other}2"] is None
    assert results["merge"]["left" if x else "right"] == f"{taken}2"


async def test_the_whole_output_of_a_switch_is_no_branch() -> None:
    flow = workflow(("s", "Switch", {"x": 1}), ("b", "Echo", {}), edges=(Edge("s", "result", "b", "x"),))
    assert (await run(flow))["b"]["x"] == {"true_output": 1}


async def test_a_template_that_reads_a_branch_not_taken_skips_its_step() -> None:
    flow = Workflow(
        "test",
        (
            Step("s", "Switch", {"x": 0}),
            Step("b", "Echo", {"x": "{{s.true_output}}"}),
            Step("c", "Echo", {"x": "{{b.x}}"}),
        ),
        reads={"b": frozenset({"s"}), "c": frozenset({"b"})},
    )
    results = await run(flow)
    assert results["b"] is None
    assert results["c"] is None


async def test_inputs_per_node_and_flat() -> None:
    flow = workflow(("a", "Echo", {"x": 1, "y": 2}), ("b", "Echo", {"x": 3}))
    results = await run(flow, {"a": {"x": 10}, "y": 20})
    assert results["a"] == {"x": 10, "y": 20, "node": "a"}
    assert results["b"] == {"x": 3, "y": 20, "node": "b"}


async def test_an_input_that_goes_nowhere_is_refused() -> None:
    with pytest.raises(InputError, match="input 'zz'"):
        await run(workflow(("a", "Echo", {})), {"zz": 1})


async def test_templates_read_parameters_and_outputs() -> None:
    flow = Workflow(
        "test",
        (Step("a", "Echo", {"x": "{{who}}"}), Step("b", "Echo", {"x": "Hello {{a.x}}!", "y": "{{a}}"})),
        reads={"b": frozenset({"a"})},
    )
    results = await run(flow, {"who": "Ada"})
    assert results["b"]["x"] == "Hello Ada!"
    assert results["b"]["y"]["node"] == "a"


async def test_what_a_template_reads_goes_only_where_it_says() -> None:
    flow = workflow(("a", "Echo", {"x": "{{y}}"}))
    assert (await run(flow, {"y": 5}))["a"] == {"x": 5, "y": None, "node": "a"}


async def test_the_observer_hears_every_change() -> None:
    events: list[NodeEvent] = []
    flow = workflow(("a", "Echo", {}), ("s", "Switch", {"x": 1}), ("b", "Echo", {}), edges=(
        Edge("a", "x", "s", "x"), Edge("s", "true_output", "b", "x"),
    ))  # fmt: skip
    await run(flow, {"a": {"x": 0}}, observer=events.append)
    assert [(event.node_id, event.state) for event in events] == [
        ("a", NodeState.RUNNING),
        ("a", NodeState.DONE),
        ("s", NodeState.RUNNING),
        ("s", NodeState.DONE),
        ("b", NodeState.SKIPPED),
    ]
    assert all(event.at.tzinfo for event in events)
