"""Workflows of the guides' example gallery, as far as their node types exist, and the custom node of the guides."""

import warnings
from collections.abc import AsyncIterator

import pytest

from dataflow.app import DataFlow
from dataflow.nodes import BaseDataFlowNode
from dataflow.runtime import AsyncLocalRuntime
from dataflow.workflows import WorkflowBuilder, dependencies


@pytest.fixture
async def db() -> AsyncIterator[DataFlow]:
    async with DataFlow(":memory:", name="guides") as db:
        with warnings.catch_warnings():
            # stripe_customer_id looks like a primary key; the guides name it so.
            warnings.simplefilter("ignore")
            _declare(db)
        yield db


def _declare(db: DataFlow) -> None:
    @db.model
    class StripeCustomer:
        email: str
        name: str
        stripe_customer_id: str

    @db.model
    class User:
        email: str
        name: str
        hashed_password: str

    @db.model
    class AuthToken:
        user_id: str
        token_type: str
        token: str
        expires_at: str

    @db.model
    class FileMetadata:
        filename: str
        s3_key: str
        bucket: str
        size_bytes: int
        uploaded_at: str


def stripe_workflow() -> WorkflowBuilder:
    workflow = WorkflowBuilder()
    workflow.add_node(
        "ReadNode",
        "check_existing",
        {"model": "StripeCustomer", "filter": {"email": "alice@example.com"}, "raise_on_not_found": False},
    )
    workflow.add_node("SwitchNode", "customer_exists", {"condition": "{{check_existing.result.id}} != None"})
    workflow.add_node(
        "PythonCodeNode",
        "create_stripe_customer",
        {"code": "output_data = {'stripe_customer_id': f\"cus_{input_data['email']}_{len(os.environ) > 0}\"}"},
    )
    workflow.add_node(
        "StripeCustomerCreateNode",
        "store_customer",
        {
            "email": "alice@example.com",
            "name": "Alice Smith",
            "stripe_customer_id": "{{create_stripe_customer.stripe_customer_id}}",
        },
    )
    workflow.add_connection("customer_exists", "false_output", "create_stripe_customer", "input_data")
    workflow.add_connection("create_stripe_customer", "stripe_customer_id", "store_customer", "stripe_customer_id")
    return workflow


async def test_stripe_stores_a_new_customer_and_skips_an_old_one(db):
    inputs = {"email": "alice@example.com", "name": "Alice Smith"}
    runtime = AsyncLocalRuntime(execution_timeout=30)

    first, _ = await runtime.execute_workflow_async(stripe_workflow().build(), inputs=inputs)
    second, _ = await runtime.execute_workflow_async(stripe_workflow().build(), inputs=inputs)

    assert first["store_customer"]["stripe_customer_id"] == "cus_alice@example.com_True"
    assert second["customer_exists"]["condition_result"] is True
    assert second["create_stripe_customer"] is None
    assert second["store_customer"] is None


async def test_tokens_with_moments_in_text_fields(db):
    workflow = WorkflowBuilder()
    workflow.add_node("PythonCodeNode", "hash_password", {"code": "output_data = {'hashed': password[::-1]}"})
    workflow.add_node(
        "UserCreateNode",
        "create_user",
        {"email": "{{email}}", "name": "Alice", "hashed_password": "{{hash_password.hashed}}"},
    )
    workflow.add_node("PythonCodeNode", "generate_jwt", {"code": "output_data = {'access_token': f'for {user_id}'}"})
    workflow.add_connection("create_user", "id", "generate_jwt", "user_id")
    token = {"user_id": "u{{create_user.id}}", "token_type": "access", "token": "{{generate_jwt.access_token}}"}
    workflow.add_node("AuthTokenBulkCreateNode", "store_tokens", {"data": [{**token, "expires_at": "{{now + 1h}}"}]})
    workflow.add_node("AuthTokenListNode", "list")
    workflow.add_connection("store_tokens", "result", "list", "input")

    built = workflow.build()
    inputs = {"email": "a@x.org", "password": "secret"}
    results, _ = await AsyncLocalRuntime().execute_workflow_async(built, inputs=inputs)

    assert dependencies(built)["store_tokens"] == {"create_user", "generate_jwt"}
    (stored,) = results["list"]["records"]
    assert (stored["user_id"], stored["token"]) == ("u1", "for 1")
    assert stored["expires_at"].endswith("+00:00")
    assert results["create_user"]["hashed_password"] == "terces"


async def test_s3_builds(db):
    workflow = WorkflowBuilder()
    workflow.add_node("PythonCodeNode", "validate_file", {"code": "output_data = {'filename': 'f', 'size': 3}"})
    workflow.add_node("PythonCodeNode", "upload_to_s3", {"code": "import boto3\noutput_data = {'s3_key': 'k'}"})
    workflow.add_node(
        "FileMetadataCreateNode",
        "store_metadata",
        {
            "filename": "{{validate_file.filename}}",
            "s3_key": "{{upload_to_s3.s3_key}}",
            "bucket": "{{upload_to_s3.bucket}}",
            "size_bytes": "{{validate_file.size}}",
            "uploaded_at": "{{now}}",
        },
    )
    assert dependencies(workflow.build())["store_metadata"] == {"validate_file", "upload_to_s3"}


async def test_custom_node_of_the_guides(db):
    class CustomAnalyticsNode(BaseDataFlowNode):
        def __init__(self, node_id, custom_query):
            self.custom_query = custom_query
            super().__init__(node_id)

        def execute(self, input_data):
            return self.run_custom_query(self.custom_query)

    db.register_node(CustomAnalyticsNode)
    workflow = WorkflowBuilder()
    workflow.add_node("User_Create", "create", {"email": "a@x.org", "name": "Al", "hashed_password": "x"})
    workflow.add_node("CustomAnalyticsNode", "count", {"custom_query": "SELECT count(*) FROM users"})
    workflow.add_connection("create", "id", "count", "after")

    results, _ = await AsyncLocalRuntime().execute_workflow_async(workflow.build())

    assert results["count"] == {"result": [(1,)]}
