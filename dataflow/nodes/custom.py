"""BaseDataFlowNode: the base of people's own nodes, and how it becomes a node type."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from dataflow.databases.interface import Database, Guard
from dataflow.errors import ConfigurationError, InputError
from dataflow.nodes.builtin.function import named_parameters
from dataflow.nodes.current import running_node
from dataflow.nodes.interface import Node, NodeAuthor, NodeSpec, Output, Parameter, RunContext
from dataflow.nodes.user_code import call
from dataflow.values import copy_containers


class BaseDataFlowNode(NodeAuthor):
    """Base of a node class of your own.

    Define ``execute(self, input_data)``, sync (it runs in a thread) or async; ``async_run`` is another name for it.
    Parameters of ``__init__`` after ``node_id`` are parameters of the node; all its other inputs are the dict
    ``input_data``. What ``execute`` returns is the node's output; a value that is not a dict becomes
    ``{"result": value}``. An object is made for each run of the node. The parameter name ``database`` is taken: in
    ``add_node`` it names an instance.

    Attributes:
        parameters: Declare inputs of ``execute`` here, and the node takes no others.
        outputs: Declare the keys of its output here, and connections to others are refused.
        database: The database of the instance that the class is registered with.

    Example:
        >>> class Invoices(BaseDataFlowNode):
        ...     def __init__(self, node_id, currency="EUR"):
        ...         super().__init__(node_id)
        ...         self.currency = currency
        ...
        ...     def execute(self, input_data):
        ...         return self.run_custom_query("SELECT id FROM invoices WHERE currency = ?", [self.currency])
        >>> db.register_node(Invoices)
        >>> workflow.add_node("Invoices", "usd", {"currency": "USD"})
    """

    parameters: ClassVar[Sequence[Parameter] | None] = None
    outputs: ClassVar[Sequence[str] | None] = None
    database: Database | None = None

    def __init__(self, node_id: str, **params: Any) -> None:
        self.node_id = node_id
        self.params = params

    @classmethod
    def class_node(cls) -> CustomNode:
        """The node type that this class is, where no instance has registered it."""
        return CustomNode(cls, cls.__name__)

    def instance_node(self) -> ObjectNode:
        """A node that runs this object."""
        return ObjectNode(self)

    @property
    def idempotency_key(self) -> str:
        """A text that is the same each time that this node of this run is started, and no other's: what services take
        so that they do a thing once, though a job may be started again.

        Raises:
            InputError: It is asked for outside of a run.
        """
        run = running_node.get()
        if run is None:
            raise InputError("idempotency_key is there while a workflow runs the node only.")
        return run.idempotency_key

    async def query(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a statement on the instance's database, as the driver makes them.

        Args:
            sql: The statement, with the driver's placeholders (``$1``, ``%s`` or ``?``).
            args: A value for each.

        Raises:
            ConfigurationError: The class is not registered with an instance.
            DatabaseError: The statement failed.
        """
        if self.database is None:
            raise ConfigurationError(
                f"{type(self).__name__} belongs to no database.", hint="Register it: db.register_node(…)."
            )
        return [tuple(row) for row in await self.database.fetch_all(sql, args)]

    def run_custom_query(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """``query`` for a sync ``execute``; an async one awaits ``query``.

        Raises:
            InputError: It is called outside of a run, or from async code.
            ConfigurationError: The class is not registered with an instance.
            DatabaseError: The statement failed.
        """
        bridge = _bridge.get()
        if bridge is None:
            raise InputError("run_custom_query works while a workflow runs the node only.", hint="Await query(…).")
        rows: list[tuple[Any, ...]] = bridge.wait_for(lambda: self.query(sql, args))
        return rows


class _LoopBridge:
    """Lets the thread of a node wait for coroutines on the event loop of its run, as long as the run waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending: set[Future[Any]] = set()
        self._open = True

    def wait_for(self, make: Callable[[], Awaitable[Any]]) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._submit(make).result()
        raise InputError("run_custom_query would block the event loop here.", hint="Use: await self.query(…).")

    def _submit(self, make: Callable[[], Awaitable[Any]]) -> Future[Any]:
        async def run() -> Any:
            return await make()

        if not self._open:
            raise InputError("The run of this node has ended.")
        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def close(self) -> None:
        self._open = False
        for future in list(self._pending):
            future.cancel()


_bridge: ContextVar[_LoopBridge | None] = ContextVar("dataflow_node_bridge", default=None)


@dataclass(frozen=True)
class CustomNode(Node):
    """A class of the user's as a node type.

    Attributes:
        cls: The class.
        name: Its name as a node type.
        database: What its queries run on.

    Raises:
        ConfigurationError: The class is no BaseDataFlowNode, or has no ``execute``.
    """

    cls: type[BaseDataFlowNode]
    name: str
    database: Database | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.cls, type) and issubclass(self.cls, BaseDataFlowNode)):
            raise ConfigurationError(f"{self.cls!r} is not a subclass of BaseDataFlowNode.")
        _entry(self.cls)

    @property
    def guard(self) -> Guard | None:
        """That of its database."""
        return None if self.database is None else self.database.guard

    @cached_property
    def _constructor(self) -> tuple[tuple[Parameter, ...], bool]:
        return named_parameters(self.cls.__init__, self.cls.__name__, skip=2)

    @cached_property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return _spec(self.cls, self.name, self._constructor[0])

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Make an object of the class and execute it."""
        bound = self.spec.bind(inputs)
        named, takes_all = self._constructor
        settings = {item.name: copy_containers(bound.pop(item.name)) for item in named}
        if takes_all:
            settings.update({name: copy_containers(value) for name, value in bound.items() if name != "node_id"})
        instance = self.cls(context.node_id, **settings)
        if self.database is not None:
            instance.database = self.database
        return await _execute(instance, bound, context)


@dataclass(frozen=True)
class ObjectNode(Node):
    """An object of the user's as a node: it was made by the user, and serves every run."""

    instance: BaseDataFlowNode

    def __post_init__(self) -> None:
        _entry(type(self.instance))

    @cached_property
    def spec(self) -> NodeSpec:
        """Its declaration."""
        return _spec(type(self.instance), type(self.instance).__name__, ())

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Execute the object."""
        return await _execute(self.instance, self.spec.bind(inputs), context)


def _spec(cls: type[BaseDataFlowNode], name: str, settings: tuple[Parameter, ...]) -> NodeSpec:
    return NodeSpec(
        type=name,
        description=(inspect.getdoc(cls) or name).partition("\n")[0],
        parameters=(*settings, *(cls.parameters or ())),
        outputs=tuple(Output(output) for output in cls.outputs or ()),
        open_parameters=cls.parameters is None,
        open_outputs=cls.outputs is None,
    )


def _entry(cls: type[BaseDataFlowNode]) -> str:
    """Name of the method that does the node's work."""
    for name in ("async_run", "execute"):
        if callable(getattr(cls, name, None)):
            return name
    raise ConfigurationError(f"{cls.__name__} has no method execute(self, input_data).")


async def _execute(instance: BaseDataFlowNode, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
    bridge = _LoopBridge()
    token = _bridge.set(bridge)
    run = running_node.set(context)
    try:
        output = await call(getattr(instance, _entry(type(instance))), copy_containers(dict(inputs)))
    finally:
        running_node.reset(run)
        _bridge.reset(token)
        bridge.close()
    return output if isinstance(output, dict) else {"result": output}
