"""DataFlow: the one object a user holds. It wires the rooms together and does no work of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from dataflow.actors import OffersActors
from dataflow.databases.interface import PoolMetrics
from dataflow.errors import NodeNotFoundError, did_you_mean
from dataflow.eventing import OffersEvents
from dataflow.jobs import Broker, Job, JobQueue
from dataflow.jobs.actor import Actor
from dataflow.jobs.breakers import BrokerStore
from dataflow.loop_thread import close_at_exit, run_sync
from dataflow.models import ModelSpec, declare
from dataflow.nodes import BaseDataFlowNode, CustomNode, process_catalog
from dataflow.nodes.current import tenant_of_run
from dataflow.nodes.interface import Node
from dataflow.resilience import Breakers, CircuitBreaker, CircuitBreakerConfig
from dataflow.scheduling import OffersSchedules
from dataflow.workflows import Workflow, WorkflowBuilder

if TYPE_CHECKING:
    from dataflow.nodes.generated.explain import Explanation
    from dataflow.nodes.generated.transaction import NodeTransaction

Model = TypeVar("Model", bound=type[Any])
WorkflowFactory = TypeVar("WorkflowFactory", bound=Callable[[], Workflow | WorkflowBuilder])


class DataFlow(OffersActors, OffersSchedules, OffersEvents):
    """Models on a database, and the nodes, workflows and queues that belong to them.

    Making one, and declaring models, opens no connection, starts no thread and writes no file.

    Args:
        database_url: ``postgresql://…``, ``mysql://…``, ``sqlite:///path`` or ``:memory:``; default ``DATABASE_URL``,
            else the file ``dataflow.db`` in the working directory.
        name: What ``"database"`` in a node's parameters calls this instance.
        settings: See :class:`dataflow.settings.Settings`; each can also be given as ``DATAFLOW_…`` in the environment.

    Raises:
        ConfigurationError: The URL or a setting is wrong.

    Example:
        >>> db = DataFlow(":memory:")
        >>> @db.model
        ... class User:
        ...     name: str
    """

    def __init__(self, database_url: str | None = None, *, name: str = "default", **settings: Any) -> None:
        # What only an instance needs is imported by the first one: it is half of what the library takes to import.
        from dataflow.databases import open_database
        from dataflow.databases.pool_manager import PoolManager
        from dataflow.events.nodes import event_nodes
        from dataflow.nodes.generated import generated_nodes
        from dataflow.nodes.generated.schema import Schema
        from dataflow.settings import database_breaker, load_settings

        if database_url is not None:
            settings["database_url"] = database_url
        self.name = name
        self.settings = load_settings(settings)
        self.breakers = Breakers(BrokerStore(lambda: self.broker) if self.settings.redis_url else None)
        self.database = open_database(
            self.settings.database_url, self.settings.database_options(), database_breaker(self.settings, self.breakers)
        )
        self._pool_manager = PoolManager(self.database)
        self._schema = Schema(
            self.database, may_create=self.settings.may_create_tables, cursor_secret=self.settings.cursor_key
        )
        self._generate = generated_nodes
        self._nodes: dict[str, Node] = event_nodes(self, self._schema)
        self._workflows: dict[str, Workflow] = {}
        self._factories: dict[str, Callable[[], Any]] = {}
        self._actors: dict[str, Actor[..., Any]] = {}
        self._broker: Broker | None = None
        self._signing_keys = self.settings.signatures()
        process_catalog.add(self)
        close_at_exit(self)

    def __repr__(self) -> str:
        return f"DataFlow({self.database.masked_url!r}, name={self.name!r}, models={list(self.models)})"

    # Models and nodes

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Model name → ModelSpec."""
        return self._schema.models

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Node type → node: twelve per model, those for events, and those registered."""
        return MappingProxyType(self._nodes)

    @property
    def environment(self) -> tuple[str, ...]:
        """Names of environment variables that ``{{env.NAME}}`` in workflows may read."""
        return self.settings.env

    @overload
    def model(self, cls: Model) -> Model: ...

    @overload
    def model(self, *, strict: bool = False, skip_validation: bool = False) -> Callable[[Model], Model]: ...

    def model(
        self, cls: Model | None = None, *, strict: bool = False, skip_validation: bool = False
    ) -> Model | Callable[[Model], Model]:
        """Declare a model: ``@db.model``, or ``@db.model(strict=True)``. The class itself is left as it is, so that
        several instances may decorate it.

        Args:
            cls: A class with annotations.
            strict: Raise on everything that validation finds, instead of warning.
            skip_validation: Do not look for problems.

        Raises:
            ModelError: The class cannot be a model.
            ModelValidationError: ``strict`` and validation found problems.
        """
        local_names = sys._getframe(1).f_locals

        def register(cls: Model) -> Model:
            spec = declare(
                cls,
                known=self.models,
                strict=strict,
                skip_validation=skip_validation,
                multi_tenant=self.settings.multi_tenant,
                local_names=local_names,
            )
            self._nodes.update(self._generate(self._schema.add(spec)))
            return cls

        return register if cls is None else register(cls)

    def register_node(self, cls: type[BaseDataFlowNode], name: str | None = None) -> type[BaseDataFlowNode]:
        """Offer a class of yours as a node type, under its own name or ``name``; also usable as a decorator."""
        self._nodes[name or cls.__name__] = CustomNode(cls, name or cls.__name__, self.database)
        return cls

    # Rows and statements

    def stream(
        self,
        model: str,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        sort: Any = None,
        fields: Sequence[str] | None = None,
        page_size: int = 2_000,
        tenant_id: str | None = None,
        include_deleted: bool = False,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """All rows of a list, one at a time, in the memory of one page: for exports, and as ``data`` of bulk nodes.

        It is not one snapshot: each page is read when its turn comes, and no connection is held in between, so rows
        that are inserted or deleted meanwhile may be there or not; a row that stays, and whose sort keys do, comes
        exactly once. A ``:memory:`` database has one connection, so what holds a transaction of it, as a bulk node
        without ``on_error="continue"`` does, cannot read a stream of it meanwhile.

        Args:
            model: Name of a model, or type of its List node.
            filter: As List takes it.
            sort: As List takes it; default newest id first.
            fields: As List takes it.
            page_size: Rows read at a time.
            tenant_id: Whose rows, of a multi-tenant model.
            include_deleted: Also rows that were soft-deleted.

        Raises:
            NodeNotFoundError: There is no such model.
            InputError: A parameter is wrong.

        Example:
            >>> async for user in db.stream("User", filter={"active": True}):
            ...     print(user["name"])
        """
        from dataflow.nodes.generated.stream import stream_rows

        return stream_rows(
            self._nodes,
            model,
            filter=filter,
            sort=sort,
            fields=fields,
            page_size=page_size,
            tenant_id=tenant_id,
            include_deleted=include_deleted,
        )

    def transaction(self, *, tenant_id: str | None = None) -> NodeTransaction:
        """Nodes that commit together: ``async with db.transaction() as transaction: await transaction.run(…)``.

        It is committed when the block ends, and undone when the block raises or a node of it failed. Isolation is the
        database's default (read committed on PostgreSQL, repeatable read on MySQL; SQLite has one writer at a time).
        Before the first one begins, the tables of all models of the instance are looked for, as on their first use.

        Args:
            tenant_id: Whose rows; default those of the run that this is called in.

        Raises:
            TenantError: The run is for another tenant.

        Example:
            >>> async with db.transaction() as transaction:
            ...     order = await transaction.run("OrderCreateNode", {"customer": "Ada", "total": 120.0})
            ...     await transaction.run("StockUpdateNode", {"id": 7, "fields": {"left": {"$inc": -1}}})
        """
        from dataflow.nodes.generated.transaction import NodeTransaction

        return NodeTransaction(self._schema, self._nodes, tenant_of_run(tenant_id))

    def explain(self, node_type: str, params: Mapping[str, Any], *, tenant_id: str | None = None) -> Explanation:
        """What a node of a model would do in the database: its statements, their values, and the database's plans.

        Nothing is changed. The node's reads are run; at its first write the explanation ends, with the plan of it.

        Args:
            node_type: Such as ``"UserListNode"``.
            params: The node's parameters.
            tenant_id: Whose rows, of a multi-tenant model.

        Raises:
            NodeNotFoundError: There is no such node type.
            InputError: The node is not a model's, or a parameter is wrong.
            MissingTableError: The model's table is not there yet.

        Example:
            >>> print(db.explain("UserListNode", {"filter": {"email": "a@b.example"}}))
        """
        return run_sync(self.explain_async(node_type, params, tenant_id=tenant_id))

    async def explain_async(
        self, node_type: str, params: Mapping[str, Any], *, tenant_id: str | None = None
    ) -> Explanation:
        """``explain`` for async code."""
        from dataflow.nodes.generated.explain import explain_node

        return await explain_node(self._schema, self._nodes, node_type, params, tenant_id)

    # Workflows

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """Name → workflow, of those registered."""
        return MappingProxyType(self._workflows)

    def register_workflow(self, name: str, workflow: Workflow | WorkflowBuilder) -> Workflow:
        """Give a workflow a name that jobs, schedules and triggers can call it by."""
        built = workflow.build() if isinstance(workflow, WorkflowBuilder) else workflow
        self._workflows[name] = built
        return built

    def workflow(self, factory: WorkflowFactory) -> WorkflowFactory:
        """Register what a function returns under the function's name (decorator)."""
        self.register_workflow(factory.__name__, factory())
        self._factories[factory.__name__] = factory
        return factory

    def find_workflow(self, name: str) -> Workflow:
        """The workflow registered under a name.

        Raises:
            NodeNotFoundError: There is none; the message names the nearest.
        """
        try:
            return self._workflows[name]
        except KeyError:
            raise NodeNotFoundError(
                f"No workflow is registered as {name!r}.", hint=did_you_mean(name, self._workflows)
            ) from None

    # Jobs

    @property
    def broker(self) -> Broker:
        """The Redis that this instance's queues are in; connects when first used."""
        if self._broker is None:
            self._broker = Broker(self.settings.broker_url())
        return self._broker

    def queue(self, name: str = "default", url: str | None = None, *, default_timeout: float | None = None) -> JobQueue:
        """A queue of workflows, in this instance's broker or the one at ``url``.

        Args:
            name: Its name.
            url: ``redis://…``.
            default_timeout: Seconds that a job may run where it does not say; None leaves it to the worker.
        """
        broker = Broker(self.settings.broker_url(url)) if url else self.broker
        return JobQueue(
            name,
            broker,
            self.find_workflow,
            default_timeout=default_timeout,
            signing_keys=self._signing_keys,
            limits=self.settings.payload_limits(),
        )

    def job(self, job_id: str) -> Job:
        """A job by its id; nothing is asked of the broker yet."""
        return Job(job_id, self.broker, self.find_workflow)

    # Dependencies

    def breaker(self, name: str, config: CircuitBreakerConfig | None = None, *, shared: bool = False) -> CircuitBreaker:
        """The circuit breaker of a dependency of yours: ``await db.breaker("payments").execute(charge, order)``.

        It is made when first asked for; ``breakers`` has them all. ``shared`` ones of one name act as one.

        Raises:
            ConfigurationError: It exists with another config, or is to be shared and REDIS_URL is not set.
        """
        return self.breakers.provide(name, config, shared=shared)

    # Tables and connections

    def create_tables(self) -> list[str]:
        """Create all missing tables now; returns the names of those created. Existing ones are not touched."""
        return run_sync(self.create_tables_async())

    async def create_tables_async(self) -> list[str]:
        """``create_tables`` for async code."""
        return await self._schema.create_all()

    def pool_metrics(self) -> PoolMetrics:
        """State of this instance's connection pool; the guides' ``db._pool_manager.get_pool_metrics(url)``."""
        return self.database.pool_metrics()

    def close(self) -> None:
        """Close all connections; its nodes are no longer offered to workflows built without naming it."""
        run_sync(self.close_async())

    async def close_async(self) -> None:
        """``close`` for async code."""
        process_catalog.remove(self)
        await self.database.close()
        if self._broker is not None:
            await self._broker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async()
