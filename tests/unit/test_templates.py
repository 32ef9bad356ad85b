"""Templates: where they are found, what they mean, what they read."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from dataflow.errors import InputError, MissingParameterError, OutputPathError
from dataflow.nodes import PythonCodeNode, SwitchNode
from dataflow.nodes.interface import Expression, NodeSpec, Parameter
from dataflow.workflows import WorkflowBuilder, dependencies
from dataflow.workflows.templates import compile_templates
from tests.unit.sample_nodes import catalog

NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
RESULTS = {"create": {"id": 7, "tags": ["a", "b"], "address": {"city": "Oslo"}}, "first-node": {"result": 3}}
INPUTS = {"price": Decimal("9.50"), "customer": {"email": "a@x.org"}, "name": "Alice", "nothing": None}
SPEC = NodeSpec("AnyNode", "", (Parameter("label", str | None),), open_parameters=True)


def evaluate(value: Any, spec: NodeSpec = SPEC, name: str = "p") -> Any:
    static, (template,) = compile_templates({name: value}, spec, RESULTS)
    assert static == {}
    return template.evaluate(RESULTS, INPUTS, NOW, lambda: {"HOME_CITY": "Bergen"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{price}}", Decimal("9.50")),
        ("{{ price }}", Decimal("9.50")),
        ("{{nothing}}", None),
        ("{{customer.email}}", "a@x.org"),
        ("{{create.id}}", 7),
        ("{{create.tags.1}}", "b"),
        ("{{create.tags.-1}}", "b"),
        ("{{create.result.address.city}}", "Oslo"),
        ("{{create}}", RESULTS["create"]),
        ("{{first-node.result}}", 3),
        ("{{env.HOME_CITY}}", "Bergen"),
        ("{{now}}", NOW),
        ("{{now + 1h}}", NOW + timedelta(hours=1)),
        ("{{now+30d}}", NOW + timedelta(days=30)),
        ("{{ now - 2w }}", NOW - timedelta(weeks=2)),
        ("{{now - 5m}}", NOW - timedelta(minutes=5)),
        ("{{now + 90s}}", NOW + timedelta(seconds=90)),
        ("Bearer {{env.HOME_CITY}}", "Bearer Bergen"),
        ("{{name}}: {{price}}", "Alice: 9.50"),
        ("until {{now}}", "until 2026-01-31T12:30:00+00:00"),
    ],
)
def test_values(text, value):
    assert evaluate(text) == value


def test_nested_values_keep_their_surroundings():
    value = {"to": [{"email": "{{customer.email}}", "n": 1}], "fixed": (1, "{{price}}")}
    assert evaluate(value) == {"to": [{"email": "a@x.org", "n": 1}], "fixed": [1, Decimal("9.50")]}
    assert value["to"][0]["email"] == "{{customer.email}}"


def test_now_is_text_where_text_is_taken_and_inside_of_containers():
    assert evaluate("{{now}}", name="label") == NOW.isoformat()
    assert evaluate([{"expires_at": "{{now + 1h}}"}]) == [{"expires_at": "2026-01-31T13:30:00+00:00"}]


@pytest.mark.parametrize("value", ["plain", "{", "{a} {b}", "}} {{", "costs $5 {", {"{{price}}": 1}, ["x", 1], None, 5])
def test_what_has_no_template_is_left_alone(value):
    assert compile_templates({"p": value}, SPEC, RESULTS) == ({"p": value}, [])


@pytest.mark.parametrize("text", ["{{}}", "{{now + 1y}}", "{{1 + 1}}", "{{a b}}", "{{a..b}}", "{{now + 999999999w}}"])
def test_what_is_no_template_is_refused(text):
    with pytest.raises(InputError):
        compile_templates({"p": text}, SPEC, RESULTS)


@pytest.mark.parametrize("value", ["${create_customer.id}", {"a": ["x ${name}"]}])
def test_dollar_braces_are_refused_with_the_way_out(value):
    with pytest.raises(InputError, match="add_connection"):
        compile_templates({"p": value}, SPEC, RESULTS)


def test_missing_input_names_the_nearest():
    with pytest.raises(MissingParameterError, match="Did you mean 'create'"):
        evaluate("{{crate.id}}")


def test_path_into_an_input_that_leads_nowhere():
    with pytest.raises(InputError, match="there is email"):
        evaluate("{{customer.mail}}")


def test_path_into_an_output_that_leads_nowhere():
    with pytest.raises(OutputPathError, match="there is a list of 2"):
        evaluate("{{create.tags.5}}")


def test_variable_that_is_not_allowed():
    with pytest.raises(InputError, match=r'env=\["SECRET"\]'):
        evaluate("{{env.SECRET}}")


@pytest.mark.parametrize("name", ["nothing", "customer"])
def test_values_that_are_no_text_are_not_pasted_into_text(name):
    with pytest.raises(InputError, match="not text"):
        evaluate(f"Hello {{{{{name}}}}}")


def test_values_are_not_searched_for_templates():
    static, (template,) = compile_templates({"p": "{{name}}"}, SPEC, ())
    assert template.evaluate({}, {"name": "{{price}}"}, NOW, dict) == "{{price}}"
    assert static == {}


def test_what_a_template_reads_is_known():
    _, (template,) = compile_templates({"p": "{{create.id}} {{name}} {{now}} {{env.X}}"}, SPEC, RESULTS)
    assert (template.nodes, template.parameters) == ({"create"}, {"name"})


def test_code_is_not_searched():
    code = "result = '{{name}} ${HOME}'"
    assert compile_templates({"code": code}, PythonCodeNode.spec, RESULTS) == ({"code": code}, [])


def test_conditions_keep_values_beside_the_text():
    text = "{{create.id}} != None and '{{name}}' == x"
    expression = evaluate(text, SwitchNode.spec, "condition")
    assert expression == Expression("__0 != None and '__1' == x", {"__0": 7, "__1": "Alice"}, text)


def test_templates_order_the_nodes():
    builder = WorkflowBuilder(catalog=catalog())
    builder.add_node("UserCreateNode", "second", {"name": "{{first.name}}", "email": "{{address}}"})
    builder.add_node("SwitchNode", "third", {"condition": "{{second.id}} > 1"})
    builder.add_node("UserReadNode", "first", {"id": 1})
    workflow = builder.build()
    assert [step.id for step in workflow.steps] == ["first", "second", "third"]
    assert dependencies(workflow) == {"first": frozenset(), "second": {"first"}, "third": {"second"}}


def test_date_in_text():
    _, (template,) = compile_templates({"p": "on {{day}}"}, SPEC, ())
    assert template.evaluate({}, {"day": date(2026, 1, 2)}, NOW, dict) == "on 2026-01-02"
