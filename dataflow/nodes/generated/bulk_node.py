"""What the bulk nodes share: their writer and reader, and the parameters that several of them have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from dataflow.databases.interface import Dialect
from dataflow.errors import DataFlowError, InputError, TransientDatabaseError, did_you_mean
from dataflow.nodes.generated.arguments import as_given, resolve, warn_stripped
from dataflow.nodes.generated.base import GeneratedNode
from dataflow.nodes.generated.bulk_import import Tally
from dataflow.nodes.generated.bulk_mysql import MySQLBulkWriter
from dataflow.nodes.generated.bulk_postgresql import PostgreSQLBulkWriter
from dataflow.nodes.generated.bulk_rows import check_batch_size, check_data, check_names
from dataflow.nodes.generated.bulk_sqlite import SQLiteBulkWriter
from dataflow.nodes.generated.bulk_writer import BulkWriter
from dataflow.nodes.interface import Output, Parameter
from dataflow.queries.bulk_reader import BlockReader
from dataflow.queries.model import ModelRows

BATCH_SIZE = Parameter(
    "batch_size",
    int,
    default=1_000,
    description="Rows in memory at a time, and per commit with on_error='continue'; lists are written in larger parts.",
    coerce=check_batch_size,
)
RETURN_IDS = Parameter("return_ids", bool, default=False, description="Add 'ids', in the order of the rows.")

_WRITERS: Mapping[Dialect, type[BulkWriter]] = {
    Dialect.POSTGRESQL: PostgreSQLBulkWriter,
    Dialect.MYSQL: MySQLBulkWriter,
    Dialect.SQLITE: SQLiteBulkWriter,
}


class BulkNode(GeneratedNode):
    """A node that works on many rows. Subclasses name their action, for warnings."""

    action: str
    writes = True

    @cached_property
    def writer(self) -> BulkWriter:
        """Writes into the rows that are seen."""
        return self._new_writer(self.binding.rows)

    @cached_property
    def full_writer(self) -> BulkWriter:
        """Writes into all rows, also those that were soft-deleted: they have their keys still."""
        return self._new_writer(self.binding.all_rows)

    def seen_writer(self, given: Mapping[str, Any]) -> BulkWriter:
        """The writer for the rows that the node sees."""
        return self.full_writer if given["include_deleted"] else self.writer

    def _new_writer(self, rows: ModelRows) -> BulkWriter:
        return _WRITERS[rows.dialect](rows)

    @cached_property
    def reader(self) -> BlockReader:
        """Checks rows of the model."""
        return BlockReader(self.binding.codec, lambda names: warn_stripped(self.binding, names, self.action))

    def may_succeed_again(self, error: DataFlowError, inputs: Mapping[str, Any]) -> bool:
        # An iterator has given away its rows.
        return isinstance(error, TransientDatabaseError) and isinstance(
            resolve(self.spec, inputs).get("data"), Sequence
        )

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        super().check(params, later)
        for name, value in params.items():
            parameter = self.spec.parameter(name)
            if parameter is not None and parameter.name == "data":
                check_names(self.reader, value)


def data_parameter(*aliases: str, required: bool, description: str) -> Parameter:
    """The parameter ``data``."""
    return Parameter("data", Any, required=required, aliases=aliases, description=description, coerce=check_data)


def choice(name: str, default: str, choices: Collection[str], description: str) -> Parameter:
    """A parameter that takes one of some words."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise InputError(f"{name}={value!r} is not known.", hint=did_you_mean(str(value), choices), parameter=name)

    return Parameter(name, str, default=default, description=description, coerce=check)


def counts(*names: str) -> tuple[Output, ...]:
    """Outputs that are numbers, with those that every bulk node has."""
    found = [Output(name, int) for name in ("processed", *names, "batch_size")]
    return (*found, Output("operation", str), Output("success", bool))


def ids_of(node: BulkNode, tally: Tally) -> list[Any]:
    """Ids in the order of the rows; None for rows that failed."""
    rows = range(tally.processed)
    if node.binding.codec.fields[node.binding.spec.primary_key.name].decode is None:
        return list(map(tally.ids.get, rows))
    return [as_given(node.binding, tally.ids.get(row)) for row in rows]
