"""WorkflowBuilder: the forms it takes, and what a built workflow is."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from dataflow.errors import InputError, WorkflowValidationError
from dataflow.nodes import BaseDataFlowNode, CustomNode, PythonCodeNode, SwitchNode
from dataflow.nodes.registry import Catalog
from dataflow.workflows import WorkflowBuilder, dependencies, resolve_step
from tests.unit.sample_nodes import Source, catalog

ALICE = {"name": "Alice", "email": "alice@example.com"}


@pytest.fixture
def builder() -> WorkflowBuilder:
    return WorkflowBuilder(catalog=catalog())


def test_add_node_forms(builder):
    assert builder.add_node("UserCreateNode", "a", ALICE) == "a"
    assert builder.add_node(node_type="UserCreateNode", node_id="b", config=ALICE) == "b"
    assert builder.add_node("UserCreateNode", "c", name="Alice", email="a@x.org") == "c"
    with_params = builder.add_node("UserCreateNode", ALICE)
    bare = builder.add_node("UserListNode")
    for generated in (with_params, bare):
        assert re.fullmatch("node_[0-9a-f]{8}", generated)

    workflow = builder.build()

    assert [step.id for step in workflow.steps] == ["a", "b", "c", with_params, bare]
    assert dict(workflow.by_id[with_params].params) == ALICE
    assert dict(workflow.by_id["c"].params) == {"name": "Alice", "email": "a@x.org"}


def test_guides_spellings_are_usual_types_once_built(builder):
    builder.add_node("User_Create", "create", ALICE)
    builder.add_node("ReadNode", "read", {"model": "User", "filter": {"email": "a@x.org"}})
    builder.add_node("BulkCreateNode", "bulk", {"model": "User", "data": []})

    steps = builder.build().by_id

    assert [steps[name].type for name in ("create", "read", "bulk")] == [
        "UserCreateNode",
        "UserReadNode",
        "UserBulkCreateNode",
    ]
    assert dict(steps["read"].params) == {"filter": {"email": "a@x.org"}}


def test_database_leaves_the_parameters():
    builder = WorkflowBuilder(catalog=catalog(Source("primary"), Source("other")))
    builder.add_node("UserCreateNode", "a", {**ALICE, "database": "primary"})

    step = builder.build().by_id["a"]

    assert step.database == "primary"
    assert "database" not in step.params


def test_quick_start_orders_list_after_create(builder):
    builder.add_node("UserListNode", "list", {"filter": {"active": True}})
    builder.add_node("UserCreateNode", "create", ALICE)
    assert builder.add_connection("create", "result", "list", "input") is builder

    assert [step.id for step in builder.build().steps] == ["create", "list"]


def test_several_nodes_may_come_before_one(builder):
    builder.add_node("UserCreateNode", "a", ALICE)
    builder.add_node("UserCreateNode", "b", ALICE)
    builder.add_node("UserListNode", "list")
    builder.connect("a", "list").connect("b", "list")

    assert dependencies(builder.build())["list"] == {"a", "b"}


def test_connect_with_a_mapping(builder):
    builder.add_node("UserReadNode", "read", {"id": 1})
    builder.add_node("UserCreateNode", "copy")
    builder.connect("read", "copy", {"name": "name", "email": "email"})

    edges = builder.build().edges

    assert [(edge.output, edge.input) for edge in edges] == [("name", "name"), ("email", "email")]


def test_later_changes_do_not_reach_a_built_workflow(builder):
    rows = [{"name": "Alice"}]
    builder.add_node("UserBulkCreateNode", "bulk", {"data": rows})
    workflow = builder.build()
    rows[0]["name"] = "Mallory"
    rows.append({})
    builder.add_node("UserListNode", "list")

    assert workflow.by_id["bulk"].params["data"] == [{"name": "Alice"}]
    assert len(workflow.steps) == 1
    assert len(builder.build().steps) == 2
    with pytest.raises(TypeError):
        workflow.by_id["bulk"].params["data"] = []


def test_empty_workflow():
    assert WorkflowBuilder().build().steps == ()


def test_workflow_inputs_give_required_parameters(builder):
    builder.add_node("UserCreateNode", "create")
    builder.add_workflow_inputs("create", {"name": "customer"}).add_workflow_inputs("create", ["email"])

    assert dict(builder.build().by_id["create"].params) == {"name": "{{customer}}", "email": "{{email}}"}


def test_connection_overrides_parameter_and_its_template(builder):
    builder.add_node("UserReadNode", "read", {"id": 1})
    builder.add_node("UserReadNode", "unused", {"id": 1})
    builder.add_node("UserReadNode", "again", {"id": "{{unused.id}}"})
    builder.add_connection("read", "id", "again", "record_id")

    workflow = builder.build()

    assert dict(workflow.by_id["again"].params) == {}
    assert dependencies(workflow)["again"] == {"read"}


class Doubler(BaseDataFlowNode):
    def __init__(self, node_id: str, factor: int = 2) -> None:
        super().__init__(node_id)
        self.factor = factor

    def execute(self, input_data: dict[str, Any]) -> Any:
        return self.factor * input_data["x"]


def test_registered_class_becomes_its_name():
    registered = CustomNode(Doubler, "Doubler")
    known = Catalog({}, (Source(nodes={"Doubler": registered}),))
    builder = WorkflowBuilder(catalog=known)
    builder.add_node(Doubler, "a", {"x": 1})

    step = builder.build().by_id["a"]

    assert (step.type, step.node) == ("Doubler", None)
    assert resolve_step(step, known) is registered


def test_built_in_class_becomes_its_name(builder):
    builder.add_node(SwitchNode, "a", {"input_data": 1, "value": 1})
    step = builder.build().by_id["a"]
    assert (step.type, step.node) == ("SwitchNode", None)


def test_unregistered_class_and_objects_stay_in_the_workflow(builder):
    def shout(text: str) -> str:
        return text.upper()

    builder.add_node(Doubler, "cls", {"x": 1})
    builder.add_node(Doubler("obj", 3), "obj", {"x": 1})
    builder.add_node(PythonCodeNode.from_function(shout), "function", {"text": "a"})

    steps = builder.build().by_id

    assert all(steps[name].node is not None for name in ("cls", "obj", "function"))


def test_duplicate_id_is_refused_at_once(builder):
    builder.add_node("UserListNode", "a")
    with pytest.raises(WorkflowValidationError, match="node 'a' already"):
        builder.add_node("UserListNode", "a")


@pytest.mark.parametrize("ends", [("create", "nowhere"), ("nowhere", "create")])
def test_unknown_endpoint_is_refused_at_once(builder, ends):
    builder.add_node("UserCreateNode", "create", ALICE)
    with pytest.raises(WorkflowValidationError, match="'nowhere'"):
        builder.add_connection(ends[0], "id", ends[1], "name")


def test_unknown_endpoint_has_a_suggestion(builder):
    builder.add_node("UserCreateNode", "create", ALICE)
    with pytest.raises(WorkflowValidationError, match="Did you mean 'create'"):
        builder.add_connection("crate", "id", "create", "name")


@pytest.mark.parametrize(
    "arguments",
    [
        ("a", SwitchNode),
        ("UserListNode", "a", [1]),
        ("UserListNode", ""),
        ("UserListNode", {}, {}),
        (3, "a"),
        ("UserListNode", "a", {1: 2}),
        ("UserListNode", "a", {"database": 3}),
    ],
)
def test_wrong_arguments(builder, arguments: tuple[Any, ...]):
    with pytest.raises(InputError):
        builder.add_node(*arguments)


def test_parameters_may_be_any_mapping(builder):
    class Lazy(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return ALICE[key]

        def __iter__(self):
            return iter(ALICE)

        def __len__(self) -> int:
            return len(ALICE)

    builder.add_node("UserCreateNode", "a", Lazy())
    assert dict(builder.build().by_id["a"].params) == ALICE
