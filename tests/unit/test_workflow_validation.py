"""What build() refuses, and how it says so."""

import pytest

from dataflow.errors import (
    AmbiguousNodeError,
    ConfigurationError,
    MissingParameterError,
    NodeNotFoundError,
    OutputPathError,
    TypeMismatchError,
    UnknownParameterError,
    WorkflowValidationError,
)
from dataflow.workflows import WorkflowBuilder
from tests.unit.sample_nodes import Source, catalog

ALICE = {"name": "Alice", "email": "alice@example.com"}


@pytest.fixture
def builder() -> WorkflowBuilder:
    return WorkflowBuilder("signup", catalog())


def refusal(builder: WorkflowBuilder) -> WorkflowValidationError:
    with pytest.raises(WorkflowValidationError) as caught:
        builder.build()
    return caught.value


def test_unknown_type_has_a_suggestion(builder):
    builder.add_node("UserCreatNode", "create", ALICE)
    error = refusal(builder)
    assert isinstance(error.__cause__, NodeNotFoundError)
    assert "node 'create'" in str(error)
    assert "Did you mean 'UserCreateNode'?" in str(error)


def test_unknown_model_in_a_guides_spelling_has_a_suggestion(builder):
    builder.add_node("ReadNode", "read", {"model": "Usr"})
    assert "'UserReadNode'" in str(refusal(builder))


def test_ambiguous_type_lists_the_instances():
    builder = WorkflowBuilder(catalog=catalog(Source("a"), Source("b")))
    builder.add_node("UserCreateNode", "create", ALICE)
    error = refusal(builder)
    assert isinstance(error.__cause__, AmbiguousNodeError)
    assert error.__cause__.context["instances"] == ["a", "b"]


def test_unknown_database(builder):
    builder.add_node("UserCreateNode", "create", {**ALICE, "database": "defualt"})
    error = refusal(builder)
    assert isinstance(error.__cause__, ConfigurationError)
    assert "Did you mean 'default'?" in str(error)


def test_missing_required_parameter(builder):
    builder.add_node("UserCreateNode", "create", {"name": "Alice"})
    error = refusal(builder)
    assert isinstance(error.__cause__, MissingParameterError)
    assert "'email'" in str(error)
    assert "add_workflow_inputs('create', ['email'])" in str(error)


@pytest.mark.parametrize("value", ["{{email}}", "{{other.email}}"])
def test_template_gives_a_required_parameter(builder, value):
    builder.add_node("UserReadNode", "other", {"id": 1})
    builder.add_node("UserCreateNode", "create", {"name": "Alice", "email": value})
    assert len(builder.build().steps) == 2


def test_unknown_parameter_has_a_suggestion(builder):
    builder.add_node("UserCreateNode", "create", {**ALICE, "joind": 1})
    error = refusal(builder)
    assert isinstance(error.__cause__, UnknownParameterError)
    assert "Did you mean 'joined'?" in str(error)


def test_unknown_connected_parameter(builder):
    builder.add_node("UserReadNode", "read", {"id": 1})
    builder.add_node("UserCreateNode", "create", ALICE)
    builder.add_connection("read", "name", "create", "nmae")
    assert "Did you mean 'name'?" in str(refusal(builder))


def test_wrong_type(builder):
    builder.add_node("UserReadNode", "read", {"id": "seven"})
    assert isinstance(refusal(builder).__cause__, TypeMismatchError)


def test_all_problems_are_listed(builder):
    builder.add_node("UserCreateNode", "create", {"name": 5, "emial": "x", "joined": "${other.id}"})
    builder.add_node("UserCreateNode", "second", {"name": 5, "emial": "x"})
    builder.add_node("UserReedNode", "read")
    builder.add_node("UserListNode", "list", {"limit": "many"})
    error = refusal(builder)
    found = {(issue["node_id"], issue["code"]) for issue in error.context["issues"]}
    assert found == {
        ("read", "DF-202"),
        ("create", "DF-100"),
        ("second", "DF-102"),
        ("second", "DF-103"),
        ("second", "DF-101"),
        ("list", "DF-102"),
    }
    assert isinstance(error.__cause__, NodeNotFoundError)


def test_two_connections_into_one_parameter(builder):
    builder.add_node("UserReadNode", "a", {"id": 1})
    builder.add_node("UserReadNode", "b", {"id": 1})
    builder.add_node("UserReadNode", "c")
    builder.add_connection("a", "id", "c", "id")
    builder.add_connection("b", "id", "c", "record_id")
    assert "Two connections lead to 'id': a.id and b.id" in str(refusal(builder))


def test_output_that_a_node_cannot_have(builder):
    builder.add_node("UserReadNode", "read", {"id": 1})
    builder.add_node("UserCreateNode", "create", ALICE)
    builder.add_connection("read", "nam", "create", "name")
    error = refusal(builder)
    assert isinstance(error.__cause__, OutputPathError)
    assert "Did you mean 'name'?" in str(error)


def test_output_that_a_template_cannot_read(builder):
    builder.add_node("UserReadNode", "read", {"id": 1})
    builder.add_node("UserCreateNode", "create", {**ALICE, "name": "{{read.nam}}"})
    assert isinstance(refusal(builder).__cause__, OutputPathError)


@pytest.mark.parametrize("path", ["", "records..id", "records.", 3])
def test_path_that_is_none(builder, path):
    builder.add_node("UserListNode", "list")
    builder.add_node("UserReadNode", "read")
    builder.add_connection("list", path, "read", "id")
    assert isinstance(refusal(builder).__cause__, OutputPathError)


@pytest.mark.parametrize("output", ["result", "result.records", "records.0.id", "count"])
def test_paths_that_are_fine(builder, output):
    builder.add_node("UserListNode", "list")
    builder.add_node("UserReadNode", "read")
    builder.add_connection("list", output, "read", "id")
    assert len(builder.build().edges) == 1


def test_cycle_is_shown(builder):
    for name in ("a", "b", "c"):
        builder.add_node("UserReadNode", name)
    builder.add_connection("a", "id", "b", "id")
    builder.add_connection("b", "id", "c", "id")
    builder.add_connection("c", "id", "a", "id")
    assert "a → b → c → a" in str(refusal(builder))


def test_cycle_through_templates(builder):
    builder.add_node("UserReadNode", "a", {"id": "{{b.id}}"})
    builder.add_node("UserReadNode", "b", {"id": "{{a.id}}"})
    assert set(refusal(builder).__cause__.context["cycle"]) == {"a", "b"}


def test_node_connected_to_itself(builder):
    builder.add_node("UserReadNode", "a")
    builder.add_connection("a", "id", "a", "id")
    assert "a → a" in str(refusal(builder))


@pytest.mark.parametrize("name", ["timeout", "retry"])
def test_settings_of_a_step_come_from_the_step(builder, name):
    builder.add_node("UserReadNode", "a", {"id": 1})
    builder.add_node("UserReadNode", "b", {"id": 1})
    builder.add_connection("a", "id", "b", name)
    builder.add_node("UserReadNode", "c", {"id": 1, name: "{{seconds}}"})
    error = refusal(builder)
    assert [issue["node_id"] for issue in error.context["issues"]] == ["b", "c"]


def test_one_problem_names_its_node_once(builder):
    builder.add_node("UserReadNode", "read", {"id": "seven"})
    assert refusal(builder).message.startswith("Workflow 'signup' cannot be built: node 'read' (UserReadNode): ")
