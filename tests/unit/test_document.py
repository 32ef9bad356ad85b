"""The workflow document: a workflow leaves the process and comes back the same, or is refused with a reason."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from dataflow.errors import InputError, NodeNotFoundError, PayloadError, WorkflowValidationError
from dataflow.nodes import PythonCodeNode
from dataflow.nodes.registry import Catalog
from dataflow.workflows import (
    Workflow,
    WorkflowBuilder,
    dependencies,
    workflow_from_document,
    workflow_to_document,
)
from dataflow.workflows.codec import decode, encode
from tests.unit.sample_nodes import USER, Source, catalog

CATALOG = catalog(Source("primary"))


def signup() -> Workflow:
    builder = WorkflowBuilder("signup", CATALOG)
    joined = datetime(2026, 1, 1, tzinfo=UTC)
    builder.add_node(
        "UserCreateNode",
        "create",
        {
            "name": "Alice",
            "email": "{{address}}",
            "joined": {"at": joined, "fee": Decimal("9.50")},
            "database": "primary",
        },
    )
    builder.add_node("UserReadNode", "read")
    builder.add_node("UserListNode", "list", {"filter": {"email": "{{read.email}}"}})
    builder.add_connection("create", "id", "read", "id")
    return builder.build()


def test_form():
    document = workflow_to_document(signup())
    assert list(document) == ["v", "name", "nodes", "edges"]
    assert document["v"] == 1
    assert document["nodes"][0]["database"] == "primary"
    assert document["nodes"][1] == {"id": "read", "type": "UserReadNode", "params": {}}
    assert document["edges"] == [["create", "id", "read", "id"]]


def test_round_trip_over_the_wire():
    workflow = signup()
    back = workflow_from_document(decode(encode(workflow_to_document(workflow))), CATALOG)
    assert (back.name, back.steps, back.edges) == (workflow.name, workflow.steps, workflow.edges)
    assert dependencies(back) == dependencies(workflow)
    assert dependencies(back)["list"] == {"read"}


def test_objects_of_this_process_cannot_leave():
    builder = WorkflowBuilder(catalog=CATALOG)
    builder.add_node(PythonCodeNode.from_function(lambda: 1), "here")
    with pytest.raises(InputError, match=r"'here'.*object of this process"):
        workflow_to_document(builder.build())


def test_unknown_node_type():
    with pytest.raises(NodeNotFoundError, match="UserCreateNode"):
        workflow_from_document(workflow_to_document(signup()), Catalog({}, (Source("primary", nodes={}),)))


def test_code_that_a_worker_does_not_allow():
    builder = WorkflowBuilder(catalog=CATALOG)
    builder.add_node("PythonCodeNode", "code", {"code": "result = 1"})
    with pytest.raises(NodeNotFoundError, match="PythonCodeNode"):
        workflow_from_document(workflow_to_document(builder.build()), Catalog({}, (Source(nodes=USER),)))


def test_what_no_longer_fits_is_refused():
    document = workflow_to_document(signup())
    document["nodes"][0]["params"]["nickname"] = "Al"
    with pytest.raises(WorkflowValidationError, match="nickname"):
        workflow_from_document(document, CATALOG)


def changed(**parts: Any) -> Any:
    return {**workflow_to_document(signup()), **parts}


NODE = {"id": "a", "type": "UserListNode", "params": {}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "is a dict"),
        (changed(v=2), "version 2, and this program reads version 1"),
        (changed(v=None), "version None"),
        (changed(name=5), "'name'"),
        (changed(nodes={}), "'nodes'"),
        (changed(nodes=["a"]), "is a dict"),
        (changed(nodes=[{**NODE, "id": None}]), "'id'"),
        (changed(nodes=[{**NODE, "type": 5}]), "node 'a' has no 'type'"),
        (changed(nodes=[{**NODE, "params": []}]), "node 'a' has no 'params'"),
        (changed(nodes=[{**NODE, "params": {1: 2}}]), "not text"),
        (changed(nodes=[{**NODE, "database": 5}]), "'database'"),
        (changed(nodes=[NODE, NODE]), "one id"),
        (changed(edges=[["create", "id", "read"]]), "is no edge"),
        (changed(edges=[["create", 1, "read", "id"]]), "is no edge"),
        (changed(edges=[["create", "id", "nowhere", "id"]]), "'nowhere'"),
    ],
)
def test_what_is_no_document(document, message):
    with pytest.raises(PayloadError, match=message):
        workflow_from_document(document, CATALOG)
