"""NodeTransaction: nodes of the models of one instance that commit together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

from dataflow.databases.interface import Transaction
from dataflow.errors import (
    ConstraintError,
    DatabaseError,
    InputError,
    NodeNotFoundError,
    RecordError,
    SchemaError,
    did_you_mean,
)
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node, RunContext

#: Errors after which a savepoint can be gone back to. After others the database may have undone the whole transaction.
_HARMLESS = (ConstraintError, InputError, RecordError)


class NodeTransaction:
    """What ``async with db.transaction()`` gives.

    A node that fails takes the transaction with it: even where its error is caught, nothing is committed. What may fail
    is run within a ``savepoint``.
    """

    def __init__(self, schema: Schema, nodes: Mapping[str, Node], tenant: str | None) -> None:
        self._schema = schema
        self._nodes = nodes
        self._tenant = tenant
        self._turn = asyncio.Lock()
        self._scope: AbstractAsyncContextManager[Transaction] | None = None
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        if self._scope is not None:
            raise DatabaseError("A transaction is entered once.", hint="Ask for another: db.transaction().")
        # Before it begins: it may hold the only connection that there is.
        self._unfit: Mapping[str, SchemaError] = await self._schema.prepare_each()
        self._scope = self._schema.transaction(self._tenant)
        self._transaction = await self._scope.__aenter__()
        self._context = RunContext("transaction", "transaction", self._tenant, executor=self._transaction)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._scope is not None
        if error is None:
            try:
                self._check()
            except DatabaseError as lost:
                await self._scope.__aexit__(type(lost), lost, None)
                raise
        await self._scope.__aexit__(kind, error, trace)

    async def run(self, node_type: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run a node of a model; its output. Nodes run one after the other, also where several tasks ask.

        Args:
            node_type: Such as ``"OrderCreateNode"``.
            params: Its parameters, with values only: no templates, ``timeout`` or ``retry``.

        Raises:
            NodeNotFoundError: The instance has no such node type.
            InputError: The node is not a model's, or a parameter is wrong.
            SchemaError: The model's table is missing, or does not fit.
            DatabaseError: An earlier node failed, or the transaction is over.
            DataFlowError: What the node raises.
        """
        node = self._node(node_type, params or {})
        async with self._turn:
            self._check()
            try:
                return await node.run(params or {}, self._context)
            except BaseException as error:
                self._failure = error
                raise

    @property
    def executor(self) -> Transaction:
        """What runs statements of your own within it, with the driver's placeholders (``$1``, ``%s`` or ``?``)."""
        return self._transaction

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that may fail: when its block raises, only what the block did is undone, and the transaction goes on.

        That holds for errors about rows (constraints, input, records that are not there). After a deadlock or an outage
        the whole transaction is lost.

        Raises:
            DatabaseError: A node of the block failed and the block caught its error, or one failed before.

        Example:
            >>> async with db.transaction() as transaction:
            ...     try:
            ...         async with transaction.savepoint():
            ...             await transaction.run("UserCreateNode", {"email": "a@b.example"})
            ...     except UniqueViolationError:
            ...         ...  # it is there already
        """
        self._check()
        try:
            async with self._transaction.savepoint():
                yield
                self._check()
        except BaseException:
            if isinstance(self._failure, _HARMLESS):
                self._failure = None
            raise

    def _node(self, node_type: str, params: Mapping[str, Any]) -> GeneratedNode:
        node = self._nodes.get(node_type)
        if node is None:
            raise NodeNotFoundError(
                f"There is no node type {node_type!r}.", hint=did_you_mean(node_type, self._nodes), node_type=node_type
            )
        if not isinstance(node, GeneratedNode):
            raise InputError(
                f"{node_type} is not a node of a model, so it cannot be part of a transaction.",
                hint="Run it before or after the transaction.",
                node_type=node_type,
            )
        for name in params:
            parameter = node.spec.by_name.get(name)
            if parameter is not None and parameter.control:
                raise InputError(
                    f"{node_type}: '{name}' has no meaning in a transaction, which goes on or ends as a whole.",
                    node_type=node_type,
                    parameter=name,
                )
        if node.binding.spec.name in self._unfit:
            raise self._unfit[node.binding.spec.name]
        return node

    def _check(self) -> None:
        if self._failure is not None:
            raise DatabaseError(
                f"The transaction is lost, since a node of it failed: {self._failure}",
                hint="Let the error leave the block, or run what may fail within `async with transaction.savepoint()`.",
            ) from self._failure
