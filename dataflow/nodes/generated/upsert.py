"""Upsert: one row that is created, or updated where it is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dataflow.databases.interface import Dialect, Row
from dataflow.errors import (
    ConstraintError,
    DataFlowError,
    InputError,
    MissingParameterError,
    TransientDatabaseError,
    TypeMismatchError,
    UniqueViolationError,
)
from dataflow.models.spec import Managed
from dataflow.nodes.generated.access import Access
from dataflow.nodes.generated.arguments import checked_by, warn_stripped
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.violations import explain
from dataflow.nodes.interface import NodeSpec, Output, Parameter, RunContext
from dataflow.queries.bulk_block import Stamp
from dataflow.queries.bulk_reader import BlockReader
from dataflow.queries.conflict import conflict_key
from dataflow.queries.model import ModelRows
from dataflow.queries.one_row import insert_row, select_row, update_row
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
    alone changes it, and without an ``update`` it stays as it is. A row that was soft-deleted comes back. Of several
    calls at once, one creates.
    """

    operation = "Upsert"
    writes = True

    @property
    def _rows(self) -> ModelRows:
        # A soft-deleted row has its keys still.
        return self.binding.all_rows

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

    def may_succeed_again(self, error: DataFlowError, inputs: Mapping[str, Any]) -> bool:
        return isinstance(error, UniqueViolationError) and self.binding.database.dialect is not Dialect.POSTGRESQL

    def rows_in(self, output: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return (output["record"],)

    async def perform(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        bound = self.spec.bind(inputs)
        access = await self.binding.access(context)
        request = self._request(bound, access)
        try:
            if self.binding.database.dialect is Dialect.POSTGRESQL:
                row, created = await self._postgresql(request, access)
            else:
                row, created = await self._in_turn(request, context)
        except ConstraintError as error:
            raise explain(error, self.binding, {**bound["where"], **bound["create"]}) from error
        record = self.binding.codec.row(row)
        return {"created": created, "record": record, "action": "created" if created else "updated"}

    async def _postgresql(self, request: _Request, access: Access) -> tuple[Row, bool]:
        rows = self._rows
        at = len(rows.spec.names)
        if not request.updates.is_empty:
            plan = rows.plans.get(
                ("upsert", request.names, request.key, request.updates.shape),
                lambda: insert_or_update(rows, request.names, request.key, request.updates),
            )
            row = await access.fetch_one(plan, [*request.values, *request.updates.values])
            assert row is not None
            return row, row[at]
        plan = rows.plans.get(
            ("upsert", request.names, request.key), lambda: insert_if_new(rows, request.names, request.key)
        )
        for _ in range(ATTEMPTS):
            row = await access.fetch_one(plan, request.values)
            if row is not None:
                return row, True
            row = await self._select(access, request, lock=False)
            if row is not None and self._is_deleted(row):
                row = await self._change(access, row, self._restoring())
            if row is not None:
                return row, False
        raise self._unsettled(request)

    async def _in_turn(self, request: _Request, context: RunContext) -> tuple[Row, bool]:
        """Update the row, else insert it. Where somebody else inserts it between the two, start again: the insert that
        failed has left locks behind, which must go first.
        """
        if context.executor is not None:
            # Only who opened the transaction can give its locks back.
            return await self._update_or_insert(request, context)
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._update_or_insert(request, context)
            except UniqueViolationError:
                continue
        # Now it is not that: the row violates another unique key.
        return await self._update_or_insert(request, context)

    async def _update_or_insert(self, request: _Request, context: RunContext) -> tuple[Row, bool]:
        async with self.binding.transaction(context) as access:
            row = await self._update(access, request)
            if row is not None:
                return row, False
            return await self._insert(access, request), True

    async def _update(self, access: Access, request: _Request) -> Row | None:
        """The row as it is after the update, None if it is not there."""
        rows, updates = self._rows, request.updates
        if updates.is_empty:
            row = await self._select(access, request, lock=False)
            if row is None or not self._is_deleted(row):
                return row
            return await self._change(access, row, self._restoring())
        if rows.dialect is Dialect.SQLITE:
            plan = rows.plans.get(
                ("upsert", request.key, updates.shape), lambda: update_by_key(rows, request.key, updates)
            )
            return await access.fetch_one(plan, [*updates.values, *request.key_values])
        before = await self._select(access, request, lock=True)
        return None if before is None else await self._change(access, before, updates)

    async def _change(self, access: Access, row: Row, updates: Updates) -> Row | None:
        """A row that is there, after an update; None if it has gone meanwhile."""
        rows = self._rows
        returning = rows.dialect is not Dialect.MYSQL
        row_id = row[rows.spec.names.index(rows.spec.primary_key.name)]
        plan = rows.plans.get(("update", updates.shape, False), lambda: update_row(rows, updates, returning=returning))
        if returning:
            return await access.fetch_one(plan, [*updates.values, row_id])
        await access.execute(plan, [*updates.values, row_id])
        return await access.fetch_one(rows.plans.get("read", lambda: select_row(rows)), (row_id,))

    async def _insert(self, access: Access, request: _Request) -> Row:
        rows = self._rows
        returning = (await self.binding.database.capabilities()).insert_returning
        plan = rows.plans.get(
            ("upsert insert", request.names), lambda: insert_row(rows, request.names, returning=returning)
        )
        if returning:
            row = await access.fetch_one(plan, request.values)
        else:
            await access.execute(plan, request.values)
            row = await self._select(access, request, lock=False)
        assert row is not None
        return row

    async def _select(self, access: Access, request: _Request, *, lock: bool) -> Row | None:
        rows = self._rows
        plan = rows.plans.get(("upsert select", request.key, lock), lambda: select_by_key(rows, request.key, lock=lock))
        return await access.fetch_one(plan, request.key_values)

    def _is_deleted(self, row: Row) -> bool:
        spec = self.binding.spec
        return spec.features.soft_delete and row[spec.names.index(Managed.DELETED_AT)] is not None

    def _restoring(self) -> Updates:
        return self._parse({Managed.DELETED_AT.value: None})

    def _request(self, bound: Mapping[str, Any], access: Access) -> _Request:
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
        block = self._reader.new_rows([{**create, **where}], None, Stamp.now(access.tenant))[0]
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
        if not updates.is_empty and self.binding.spec.features.soft_delete:
            updates = self._parse({**bound["update"], Managed.DELETED_AT.value: None})
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
