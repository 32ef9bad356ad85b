"""DataFlow instances: tables on first use, schema modes, several instances, both runtimes, threads and loops."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, Field, LocalRuntime, WorkflowBuilder, WorkflowExecutionError
from dataflow.errors import (
    AmbiguousNodeError,
    ConfigurationError,
    DatabaseUnavailableError,
    MissingTableError,
    ModelError,
    SchemaMismatchError,
    WorkflowValidationError,
)


def one_node(node_type: str, params: dict[str, object]) -> WorkflowBuilder:
    builder = WorkflowBuilder()
    builder.add_node(node_type, "n", params)
    return builder


async def run(node_type: str, params: dict[str, object]) -> dict[str, object]:
    results, _ = await AsyncLocalRuntime().execute_workflow_async(one_node(node_type, params))
    output: dict[str, object] = results["n"]
    return output


async def test_tables_appear_on_first_use_and_hold_relations(database_url: str) -> None:
    async with DataFlow(database_url) as db:

        @db.model
        class Order:
            customer_id: int = Field(references="Customer")

        @db.model
        class Customer:
            name: str

        customer = await run("CustomerCreateNode", {"name": "Ada"})
        order = await run("OrderCreateNode", {"customer_id": customer["id"]})
        assert order["customer_id"] == customer["id"]
        columns = await db.database.existing_columns(["orders", "customers", "nothing"])
        assert set(columns) == {"orders", "customers"}
        with pytest.raises(WorkflowExecutionError) as caught:
            await run("OrderCreateNode", {"customer_id": 999})
        assert caught.value.error_code == "DF-512"


@pytest.mark.parametrize("settings", [{"auto_migrate": False}, {"existing_schema_mode": True}])
async def test_nothing_is_created_where_that_is_off(database_url: str, settings: dict[str, bool]) -> None:
    async with DataFlow(database_url, **settings) as db:

        @db.model
        class User:
            name: str

        with pytest.raises(WorkflowExecutionError, match="no table 'users' of User") as caught:
            await run("UserCreateNode", {"name": "Ada"})
        assert isinstance(caught.value.__cause__, MissingTableError)
        assert await db.database.existing_columns(["users"]) == {}
        assert await db.create_tables_async() == ["users"]
        assert await db.create_tables_async() == []
        assert (await run("UserCreateNode", {"name": "Ada"}))["name"] == "Ada"


async def test_a_table_that_lacks_columns_is_an_error_and_stays_as_it_is(database_url: str) -> None:
    async with DataFlow(database_url) as old:

        @old.model
        class Item:
            name: str

        await old.create_tables_async()

    class Wider:
        __tablename__ = "items"
        name: str
        price: float

    async with DataFlow(database_url) as new:
        new.model(Wider)
        with pytest.raises(WorkflowExecutionError, match="lacks 'price'") as caught:
            await run("WiderListNode", {})
        assert isinstance(caught.value.__cause__, SchemaMismatchError)


async def test_existing_tables_without_our_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("INSERT INTO notes (text) VALUES ('kept')")
    connection.close()
    async with DataFlow(f"sqlite:///{path}", existing_schema_mode=True) as db:

        @db.model
        class Note:
            text: str
            __dataflow__ = {"timestamps": False}  # noqa: RUF012

        assert (await run("NoteListNode", {}))["records"] == [{"id": 1, "text": "kept"}]
        assert await run("NoteCreateNode", {"text": "new"}) == {"id": 2, "text": "new"}


async def test_the_same_class_on_several_instances(tmp_path: Path) -> None:
    first = DataFlow(":memory:", name="first")
    second = DataFlow(f"sqlite:///{tmp_path / 'second.db'}", name="second")
    async with first, second:

        @first.model
        @second.model
        class User:
            name: str

        with pytest.raises(
            WorkflowValidationError, match="offered by 2 DataFlow instances: 'first', 'second'"
        ) as caught:
            one_node("UserCreateNode", {"name": "x"}).build()
        assert isinstance(caught.value.__cause__, AmbiguousNodeError)
        await run("UserCreateNode", {"name": "a", "database": "first"})
        await run("UserCreateNode", {"name": "b", "database": "second"})
        await run("UserCreateNode", {"name": "c", "database": "second"})
        counts = [(await run("UserCountNode", {"database": name}))["count"] for name in ("first", "second")]
        assert counts == [1, 2]
        assert list(first.models) == list(second.models) == ["User"]
        with pytest.raises(
            WorkflowValidationError, match="No DataFlow instance is named 'secnd'. Did you mean 'second'"
        ):
            one_node("UserCreateNode", {"name": "x", "database": "secnd"}).build()


async def test_models_of_one_instance_do_not_exist_on_another() -> None:
    async with DataFlow(":memory:", name="dev") as dev, DataFlow(":memory:", name="prod") as prod:

        @dev.model
        class DevModel:
            id: str

        @prod.model
        class ProdModel:
            id: str

        assert (list(dev.models), list(prod.models)) == (["DevModel"], ["ProdModel"])
        assert len([name for name in dev.nodes if name.startswith("DevModel")]) == 12
        assert not [name for name in dev.nodes if name.startswith("ProdModel")]
        with pytest.raises(WorkflowValidationError):
            one_node("DevModelListNode", {"database": "prod"}).build()


async def test_a_closed_or_dropped_instance_offers_nothing() -> None:
    def forget() -> None:
        db = DataFlow(":memory:")

        @db.model
        class Ghost:
            name: str

        one_node("GhostListNode", {}).build()

    forget()
    async with DataFlow(":memory:") as db:

        @db.model
        class Ghost:
            name: str

        one_node("GhostListNode", {}).build()
    with pytest.raises(WorkflowValidationError, match="no node type 'GhostListNode'"):
        one_node("GhostListNode", {}).build()


async def test_memory_databases_are_apart() -> None:
    async with DataFlow(":memory:", name="one") as one, DataFlow(":memory:", name="two") as two:

        @one.model
        @two.model
        class User:
            name: str

        await run("UserCreateNode", {"name": "a", "database": "one"})
        assert (await run("UserCountNode", {"database": "two"}))["count"] == 0


def test_one_instance_serves_scripts_threads_and_loops(database_url: str) -> None:
    with DataFlow(database_url) as db:

        @db.model
        class Hit:
            source: str

        flow = one_node("HitCreateNode", {}).add_workflow_inputs("n", ["source"]).build()
        runtime = LocalRuntime()

        def hit(source: str) -> None:
            results, run_id = runtime.execute(flow, {"source": source})
            assert results["n"]["source"] == source
            assert run_id

        hit("script")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(hit, [f"thread {n}" for n in range(40)]))

        async def in_a_loop() -> None:
            hit("sync call inside a running loop")
            await AsyncLocalRuntime().execute_workflow_async(flow, {"source": "loop"})
            await db.database.close()

        asyncio.run(in_a_loop())
        asyncio.run(in_a_loop())
        results, _ = runtime.execute(one_node("HitCountNode", {}))
        assert results["n"]["count"] == 1 + 40 + 4


def test_a_memory_database_is_the_same_from_every_thread_and_loop() -> None:
    with DataFlow(":memory:") as db:

        @db.model
        class Hit:
            source: str

        LocalRuntime().execute(one_node("HitCreateNode", {"source": "a"}))
        asyncio.run(run("HitCreateNode", {"source": "b"}))
        results, _ = LocalRuntime().execute(one_node("HitCountNode", {}))
        assert results["n"]["count"] == 2


async def test_making_an_instance_does_nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    threads = threading.active_count()
    db = DataFlow()

    @db.model
    class User:
        name: str

    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []
    assert await run("UserCreateNode", {"name": "Ada"})
    await db.close_async()
    assert "dataflow.db" in {path.name for path in tmp_path.iterdir()}


async def test_execution_timeout_cancels_the_statement_and_returns_the_connection(postgresql_db_url: str) -> None:
    async with DataFlow(postgresql_db_url, pool_size=1, max_overflow=0) as db:

        @db.model
        class User:
            name: str

        await db.create_tables_async()
        async with db.database.transaction() as blocker:
            await blocker.execute("LOCK TABLE users")
            other = DataFlow(postgresql_db_url, name="other", pool_size=1, max_overflow=0)
            other.model(User)
            async with other:
                flow = one_node("UserCreateNode", {"name": "x", "database": "other"}).build()
                await other.create_tables_async()
                with pytest.raises(TimeoutError, match="Running then: 'n'"):
                    await AsyncLocalRuntime(execution_timeout=0.3).execute_workflow_async(flow)
                assert other.pool_metrics()["checked_out"] == 0
                waiting = await blocker.fetch_all("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                assert waiting == []


async def test_an_unreachable_database_says_which_and_hides_the_password() -> None:
    async with DataFlow("postgresql://app:secret@127.0.0.1:1/shop") as db:

        @db.model
        class User:
            name: str

        with pytest.raises(WorkflowExecutionError) as caught:
            await run("UserListNode", {})
        assert isinstance(caught.value.__cause__, DatabaseUnavailableError)
        message = str(caught.value)
        assert "postgresql://app:***@127.0.0.1:1/shop" in message
        assert "secret" not in message


def test_wrong_declarations() -> None:
    with pytest.raises(ConfigurationError, match="No database is known by .oracle."):
        DataFlow("oracle://x")
    db = DataFlow(":memory:")

    @db.model
    class User:
        name: str

    with pytest.raises(ModelError, match="declared already"):
        db.model(User)

    class Users:
        __tablename__ = "users"
        name: str

    with pytest.raises(ModelError, match="both use the table 'users'"):
        db.model(Users)
    db.close()


async def test_the_guides_ask_for_pool_metrics_by_url(database_url: str) -> None:
    async with DataFlow(database_url) as db:

        @db.model
        class User:
            name: str

        await run("UserCreateNode", {"name": "Ada"})
        metrics = db._pool_manager.get_pool_metrics(database_url)
        assert metrics == db.pool_metrics()
        assert metrics["size"] >= 1
        assert (metrics["checked_out"], metrics["utilization_percent"], metrics["is_exhausted"]) == (0, 0.0, False)
        assert db._pool_manager.get_pool_metrics(db.database.masked_url) == metrics
        with pytest.raises(ConfigurationError, match=r"'postgresql://u:\*\*\*@h/d' is not this instance's"):
            db._pool_manager.get_pool_metrics("postgresql://u:s3cret@h/d")


def test_pool_metrics_are_asked_for_with_or_without_the_password() -> None:
    db = DataFlow("postgresql://app:s3cret@db.example/shop")
    for user in ("app:s3cret", "app:***", "app"):
        assert db._pool_manager.get_pool_metrics(f"postgresql://{user}@db.example/shop")["size"] == 0
    with pytest.raises(ConfigurationError, match="not this instance's") as caught:
        db._pool_manager.get_pool_metrics("postgresql://other:s3cret@db.example/shop")
    assert "s3cret" not in str(caught.value)
    db.close()
