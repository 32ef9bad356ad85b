"""SwitchNode: conditions, comparisons, cases; and MergeNode, which joins what a switch parted."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from dataflow.errors import InputError, TypeMismatchError, WorkflowValidationError
from dataflow.nodes import MergeNode, SwitchNode
from dataflow.nodes.interface import Expression, RunContext
from dataflow.runtime.execution import execute
from dataflow.workflows import WorkflowBuilder
from tests.unit.sample_nodes import catalog

CONTEXT = RunContext("run", "switch")


async def switch(**inputs: Any) -> dict[str, Any]:
    return await SwitchNode().run(inputs, CONTEXT)


async def holds(condition: str, data: Any = None, **templates: Any) -> bool:
    expression = Expression(condition, {f"__{name}": value for name, value in templates.items()}, condition)
    result = await switch(condition=expression, input_data=data)
    return bool(result["condition_result"])


ORDER = {"total": 150, "tier": "gold", "tags": ["new", "vip"], "customer": {"city": "Oslo", "age": None}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("total > 100", True),
        ("100 < total <= 150", True),
        ("100 < total < 150", False),
        ("total != None", True),
        ("customer.age is None", True),
        ("customer['city'] is not None", True),
        ("customer.city == 'Oslo' and tier in ['gold', 'silver']", True),
        ("tier not in ('gold',)", False),
        ("'vip' in tags", True),
        ("tags.0 == 'new'", None),
        ("tags[0] == 'new' and tags[-1] == 'vip'", True),
        ("not total > 100 or tier == 'gold'", True),
        ("customer.age > 18", False),
        ("customer.age <= 18", False),
        ("customer.age not in [1]", True),
        ("input_data.total == 150.0", True),
        ("total > -1.5", True),
        ("tags", True),
        ("True", True),
        ("total == True", False),
    ],
)
async def test_conditions(condition, expected):
    if expected is None:
        with pytest.raises(InputError, match="cannot be read"):
            await holds(condition, ORDER)
    else:
        assert await holds(condition, ORDER) is expected


async def test_templates_in_conditions_are_values_and_never_code():
    assert await holds("__0 != None", **{"0": {"id": 1}}) is True
    assert await holds("__0 != None", **{"0": None}) is False
    assert await holds("__0 == 'x' or 1 == 2", **{"0": "1 == 1"}) is False
    assert await holds("'__0' == 'admin'", **{"0": "admin"}) is True
    assert await holds("'user-__1' == 'user-7' and __10 == 3", **{"1": 7, "10": 3}) is True


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('true')",
        "total + 1 > 2",
        "[x for x in tags]",
        "lambda: 1",
        "f'{total}'",
        "total if tier else 1",
        "tags[0:1]",
        "total is 150",
        "(total := 3)",
        "total ==",
        "",
        "b'x' == total",
        "tags[total]",
        "not " * 60 + "total",
        "total == 1 or " * 200 + "total == 2",
    ],
)
def test_what_is_no_condition_is_refused_when_built(condition):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("SwitchNode", "switch", {"condition": condition})
    with pytest.raises(WorkflowValidationError, match="condition"):
        builder.build()


def test_condition_with_templates_is_checked_when_built():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("SwitchNode", "switch", {"condition": "{{customer}} !== None"})
    with pytest.raises(WorkflowValidationError, match="cannot be read"):
        builder.build()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("totla > 1", "Did you mean 'total'"),
        ("customer.name == 'x'", "there is city, age"),
        ("tier > 5", "str > int has no meaning"),
        ("5 in total", "int in int has no meaning"),
        ("tier.upper == 1", "a value of type str"),
    ],
)
async def test_conditions_that_fail_say_why(condition, message):
    with pytest.raises(InputError, match=message):
        await holds(condition, ORDER)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", 150, True),
        ("!=", 150, False),
        (">", 100, True),
        (">=", 151, False),
        ("<", Decimal("150.5"), True),
        ("<=", 150, True),
        ("in", [150, 200], True),
        ("is_null", None, False),
        ("is_not_null", None, True),
    ],
)
async def test_operators(operator, value, expected):
    result = await switch(input_data=ORDER, condition_field="total", operator=operator, value=value)
    assert result == {"true_output" if expected else "false_output": ORDER, "condition_result": expected}


async def test_comparing_the_input_itself_and_inside_of_it():
    assert (await switch(input_data=5, operator=">", value=3))["condition_result"] is True
    assert (await switch(input_data=ORDER, condition_field="customer.city", value="Oslo"))["condition_result"] is True
    assert (await switch(input_data=ORDER, condition_field="tags", operator="contains", value="vip"))["true_output"]
    assert (await switch(input_data=ORDER, condition_field="customer.age", operator=">", value=1))["false_output"]


async def test_field_that_is_not_there():
    with pytest.raises(InputError, match=r"has no 'customer\.street'"):
        await switch(input_data=ORDER, condition_field="customer.street", value=1)
    result = await switch(input_data=ORDER, condition_field="customer.street", operator="is_null")
    assert result["condition_result"] is True


@pytest.mark.parametrize(
    ("tier", "output", "chosen"),
    [("gold", "case_gold", "gold"), ("new one", "case_new_one", "new one"), ("x", "default", None)],
)
async def test_cases(tier, output, chosen):
    data = {"tier": tier}
    result = await switch(input_data=data, condition_field="tier", cases=["gold", "new one"])
    assert result == {output: data, "condition_result": chosen}


async def test_first_case_that_holds_is_taken():
    result = await switch(input_data={"n": 7}, condition_field="n", operator=">=", cases=[10, 5, 1])
    assert "case_5" in result


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "nothing to choose by"),
        ({"input_data": 1}, "nothing to choose by"),
        ({"condition": "True", "value": 1}, "exclude each other"),
        ({"cases": [1], "value": 1}, "exclude each other"),
        ({"cases": ["a b", "a-b"]}, "same output"),
        ({"value": 1, "operator": "~"}, "operator"),
        ({"condition": 5}, "condition is text"),
        ({"conditon": "True"}, "Did you mean 'condition'"),
    ],
)
def test_what_build_refuses(params, message):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("SwitchNode", "switch", params)
    with pytest.raises(WorkflowValidationError, match=message):
        builder.build()


@pytest.mark.parametrize(
    ("params", "output", "fine"),
    [
        ({"condition": "True"}, "true_output", True),
        ({"condition": "True"}, "false_output", True),
        ({"condition": "True"}, "condition_result", True),
        ({"condition": "True"}, "result", True),
        ({"condition": "True"}, "case_a", False),
        ({"condition": "True"}, "tru_output", False),
        ({"cases": ["a"]}, "case_a", True),
        ({"cases": ["a"]}, "default", True),
        ({"cases": ["a"]}, "case_b", False),
        ({"cases": ["a"]}, "true_output", False),
        ({"cases": "{{cases}}"}, "case_b", True),
        ({"cases": ["{{first}}"]}, "case_b", True),
        ({"operator": "=="}, "case_b", True),
    ],
)
def test_outputs_that_build_knows(params, output, fine):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("SwitchNode", "switch", params)
    builder.add_node("MergeNode", "merge")
    builder.add_connection("switch", output, "merge", "data1")
    if fine:
        assert len(builder.build().edges) == 1
    else:
        with pytest.raises(WorkflowValidationError, match=output):
            builder.build()


async def merge(**inputs: Any) -> Any:
    return (await MergeNode().run(inputs, CONTEXT))["merged_data"]


async def test_merging():
    assert await merge(data2=[2, 3], data1=1, data10=(4,), data3=None) == [1, 2, 3, 4]
    assert await merge(merge_type="merge_dict", data2={"a": 2}, data1={"a": 1, "b": 1}) == {"a": 2, "b": 1}
    assert await merge(merge_type="zip", data1=[1, 2], data2=("a", "b")) == [[1, "a"], [2, "b"]]
    joined = await merge(
        merge_type="merge_dict", key="id", data1=[{"id": 1, "a": 1}, {"id": 2}], data2=[{"id": 1, "b": 2}]
    )
    assert joined == [{"id": 1, "a": 1, "b": 2}, {"id": 2}]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"merge_type": "zip", "data1": [1], "data2": [1, 2]}, InputError),
        ({"merge_type": "zip", "data1": 1}, TypeMismatchError),
        ({"merge_type": "merge_dict", "data1": [1]}, TypeMismatchError),
        ({"merge_type": "merge_dict", "key": "id", "data1": [{"x": 1}]}, InputError),
        ({"merge_type": "merge_dict", "key": "id", "data1": [{"id": []}]}, TypeMismatchError),
        ({"merge_type": "sum", "data1": [1]}, TypeMismatchError),
        ({"other": [1]}, InputError),
    ],
)
async def test_what_cannot_be_merged(inputs: Mapping[str, Any], error):
    with pytest.raises(error):
        await merge(**inputs)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"data1": [], "merge_typ": "zip"}, "Did you mean 'merge_type'"),
        ({}, "nothing to merge"),
        ({"data1": [], "key": "id"}, "only for merge_type"),
    ],
)
def test_what_a_merge_is_not_built_with(params, error):
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("MergeNode", "merge", params)
    with pytest.raises(WorkflowValidationError, match=error):
        builder.build()


async def test_branches_in_a_run():
    nodes = catalog()
    builder = WorkflowBuilder(catalog=nodes)
    builder.add_node("UserReadNode", "read", {"id": 7})
    builder.add_node("SwitchNode", "switch", {"condition": "{{read.id}} > {{most}}"})
    builder.add_node("UserListNode", "many", {"limit": 1})
    builder.add_node("UserListNode", "few", {"limit": 2})
    builder.add_node("UserListNode", "after_few", {"limit": 3})
    builder.add_node("MergeNode", "merge")
    builder.connect("read", "switch", {"result": "input_data"})
    builder.add_connection("switch", "true_output", "many", "input")
    builder.add_connection("switch", "false_output", "few", "input")
    builder.connect("few", "after_few")
    builder.add_connection("many", "result", "merge", "data1")
    builder.add_connection("after_few", "result", "merge", "data2")
    workflow = builder.build()

    results = await execute(workflow, {"most": 5}, catalog=nodes, run_id="run")

    assert results["switch"]["condition_result"] is True
    assert results["few"] is None
    assert results["after_few"] is None
    assert [item["filter"] for item in results["merge"]["merged_data"]] == [None]
