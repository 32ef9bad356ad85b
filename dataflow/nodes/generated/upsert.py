"""Upsert: one row that is created, or updated where it is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from dataflow.databases.interface import Dialect, Executor, Row
from dataflow.errors import (
    ConstraintError,
    InputError,
    MissingParameterError,
    TransientDatabaseError,
    TypeMismatchError,
    UniqueViolationError,
)
from dataflow.nodes.generated.arguments import TENANT_LATER, checked_by, warn_stripped
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.bulk_block import BlockReader
from dataflow.queries.conflict import conflict_key
from dataflow.queries.rows import insert_row, select_row, update_row
from dataflow.queries.updates import Updates, parse_updates
from dataflow.queries.upsert import insert_if_new, insert_or_update, select_by_key, update_by_key

#: Times a row is looked for and inserted, while others insert and delete it between the two.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Request:
    """One call, checked and bound."""

    key: tuple[str, ...]
    key_values: list[Any]
    names: tuple[str, ...]
    values: list[Any]
    updates: Updates


class UpsertNode(GeneratedNode):
    """Returns ``{"created", "record", "action"}``.

    A row is recognised by ``conflict_on``. If it is not there, ``where`` and ``create`` make it; if it is, ``update``
    alone changes it, and without an ``update`` it stays as it is. Of several calls at once, one creates.
    """

    operation = "Upsert"

    @cached_property
    def _reader(self) -> BlockReader:
        return BlockReader(self.binding.codec, lambda names: warn_stripped(self.binding, names, "upsert"))

    def describe(self) -> NodeSpec:
        name = self.binding.spec.name
        return NodeSpec(
            type=self.type,
            description=f"Creates one {name}, or updates it where it is there.",
            parameters=(
                Parameter(
                    "where",
                    dict[str, Any],
                    required=True,
                    description="Values by which the row is recognised; a new row gets them too.",
                    coerce=checked_by(self._check_where),
                ),
                Parameter(
                    "create",
                    dict[str, Any],
                    default={},
                    description="The other fields of a new row.",
                    coerce=checked_by(self._check_fields),
                ),
                Parameter(
                    "update",
                    dict[str, Any],
                    default={},
                    description="New values of a row that is there, or expressions such as {'$inc': 1}.",
                    coerce=checked_by(self._parse),
                ),
                Parameter(
                    "conflict_on",
                    list[str] | None,
                    description="Fields that make it the same row; default those of 'where'.",
                    coerce=lambda names: None if names is None else conflict_key(self.binding.spec, names),
                ),
                TENANT_LATER,
            ),
            outputs=(
                Output("created", bool, "Whether the row is new."),
                Output("record", dict[str, Any], "The stored row."),
                Output("action", str, "'created' or 'updated'."),
            ),
        )

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        super().check(params, later)
        if "where" in params and not {"conflict_on", "where"} & set(later) and params.get("conflict_on") is None:
            conflict_key(self.binding.spec, list(params["where"]))

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        request = self._request(bound)
        try:
            if self.binding.database.dialect is Dialect.POSTGRESQL:
                row, created = await self._postgresql(request, context)
            else:
                row, created = await self._in_turn(request, context)
        except ConstraintError as error:
            raise explain(error, self.binding, {**bound["where"], **bound["create"]}) from error
        record = self.binding.codec.row(row)
        return {"created": created, "record": record, "action": "created" if created else "updated"}

    async def _postgresql(self, request: _Request, context: RunContext) -> tuple[Row, bool]:
        binding = self.binding
        run = await binding.executor(context)
        at = len(binding.spec.names)
        if not request.updates.is_empty:
            plan = binding.plans.get(
                ("upsert", request.names, request.key, request.updates.shape),
                lambda: insert_or_update(binding.table, binding.codec, request.names, request.key, request.updates),
            )
            row = await run.fetch_one(plan.sql, plan.arguments([*request.values, *request.updates.values]))
            assert row is not None
            return row, row[at]
        plan = binding.plans.get(
            ("upsert", request.names, request.key),
            lambda: insert_if_new(binding.table, binding.codec, request.names, request.key),
        )
        for _ in range(ATTEMPTS):
            row = await run.fetch_one(plan.sql, request.values)
            if row is not None:
                return row, True
            row = await self._select(run, request, lock=False)
            if row is not None:
                return row, False
        raise self._unsettled(request)

    async def _in_turn(self, request: _Request, context: RunContext) -> tuple[Row, bool]:
        """Update the row, else insert it. Where somebody else inserts it between the two, start again: the insert that
        failed has left locks behind, which must go first.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._update_or_insert(request, context)
            except UniqueViolationError:
                continue
        # Now it is not that: the row violates another unique key.
        return await self._update_or_insert(request, context)

    async def _update_or_insert(self, request: _Request, context: RunContext) -> tuple[Row, bool]:
        async with self.binding.transaction(context) as transaction:
            row = await self._update(transaction, request)
            if row is not None:
                return row, False
            return await self._insert(transaction, request), True

    async def _update(self, run: Executor, request: _Request) -> Row | None:
        """The row as it is after the update, None if it is not there."""
        binding, updates = self.binding, request.updates
        dialect = binding.database.dialect
        if updates.is_empty:
            return await self._select(run, request, lock=False)
        if dialect is Dialect.SQLITE:
            plan = binding.plans.get(
                ("upsert", request.key, updates.shape),
                lambda: update_by_key(binding.table, binding.codec, request.key, updates),
            )
            return await run.fetch_one(plan.sql, plan.arguments([*updates.values, *request.key_values]))
        before = await self._select(run, request, lock=True)
        if before is None:
            return None
        row_id = before[binding.spec.names.index(binding.spec.primary_key.name)]
        plan = binding.plans.get(
            ("update", updates.shape),
            lambda: update_row(binding.table, binding.codec, dialect, updates, returning=False),
        )
        await run.execute(plan.sql, plan.arguments([*updates.values, row_id]))
        read = binding.plans.get("read", lambda: select_row(binding.table, binding.codec, dialect))
        return await run.fetch_one(read.sql, (row_id,))

    async def _insert(self, run: Executor, request: _Request) -> Row:
        binding = self.binding
        returning = (await binding.database.capabilities()).insert_returning
        plan = binding.plans.get(
            ("upsert insert", request.names),
            lambda: insert_row(
                binding.table, binding.codec, binding.database.dialect, request.names, returning=returning
            ),
        )
        if returning:
            row = await run.fetch_one(plan.sql, request.values)
        else:
            await run.execute(plan.sql, request.values)
            row = await self._select(run, request, lock=False)
        assert row is not None
        return row

    async def _select(self, run: Executor, request: _Request, *, lock: bool) -> Row | None:
        binding = self.binding
        plan = binding.plans.get(
            ("upsert select", request.key, lock),
            lambda: select_by_key(binding.table, binding.codec, binding.database.dialect, request.key, lock=lock),
        )
        return await run.fetch_one(plan.sql, request.key_values)

    def _request(self, bound: Mapping[str, Any]) -> _Request:
        where, create = bound["where"], bound["create"]
        key = bound["conflict_on"] or conflict_key(self.binding.spec, list(where))
        for name in where.keys() & create.keys():
            if where[name] != create[name]:
                raise InputError(
                    f"{self.type}: 'where' and 'create' give '{name}' different values.",
                    hint="A new row gets the values of 'where'; leave it out of 'create'.",
                    node_type=self.type,
                    field=name,
                )
        block = self._reader.new_rows([{**create, **where}], None, datetime.now(UTC))[0]
        key_values = []
        for name in key:
            value = block.column(name)[0] if name in block.names else None
            if value is None:
                raise MissingParameterError(
                    f"{self.type}: 'where' must give '{name}', by which the row is recognised, and not as None.",
                    hint=f"Write {{'where': {{'{name}': …}}}}.",
                    node_type=self.type,
                    field=name,
                )
            key_values.append(value)
        updates = self._parse(bound["update"])
        if updates.stripped:
            warn_stripped(self.binding, updates.stripped, "upsert")
        return _Request(key, key_values, block.names, [column[0] for column in block.columns], updates)

    def _parse(self, fields: Any) -> Updates:
        return parse_updates(self.binding.codec, self.binding.database.dialect, fields)

    def _check_where(self, where: Any) -> None:
        self._check_fields(where)
        if not where:
            raise MissingParameterError(
                f"{self.type}: 'where' is empty.", hint="Write {'where': {'email': …}}.", node_type=self.type
            )

    def _check_fields(self, fields: Any) -> None:
        if not isinstance(fields, Mapping):
            raise TypeMismatchError(f"{self.type}: 'where' and 'create' are dicts, got {type(fields).__name__}.")
        for name, value in fields.items():
            if self.binding.spec.field(name).managed is None:
                self.binding.codec.fields[name].bind(value)

    def _unsettled(self, request: _Request) -> TransientDatabaseError:
        return TransientDatabaseError(
            f"{self.type}: the row kept being inserted and deleted by others.",
            hint="Try again; the node's parameter 'retry' does.",
            node_type=self.type,
            fields=list(request.key),
        )
