"""How a writing node runs where its effect must happen once: the effect and its ledger entry are committed together.

A start that comes second finds the entry, before it does anything or when its own commit fails on the entry's key, and
returns the output that is recorded there. The same look into the ledger tells what became of a commit whose answer was
lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from dataflow.databases.interface import Arguments, Dialect, Executor, PairExecutor, Row
from dataflow.databases.sessions import Runner
from dataflow.errors import BreakerOpenError, DatabaseUnavailableError, DataFlowError, PoolTimeoutError
from dataflow.nodes.generated.ledger import DatabaseLedger, recorded, restored
from dataflow.nodes.generated.tries import tried_again
from dataflow.nodes.interface import RunContext
from dataflow.nodes.ledger import Entry, RunRecord

if TYPE_CHECKING:
    from dataflow.nodes.generated.base import GeneratedNode

#: What begins an output that is the row of SQLite's one statement.
_RAW = b"R"


async def run_once(
    node: GeneratedNode, inputs: Mapping[str, Any], context: RunContext, record: RunRecord
) -> dict[str, Any]:
    """Run a node, unless the run's ledger has its output already; returns its output.

    Raises:
        MissingTableError: A table is missing, perhaps the ledger's own.
        InputError: The output cannot be kept.
        DataFlowError: What the node raises.
    """
    ledger = node.binding.ledger
    # Before the transaction: it may hold the only connection that there is.
    await node.binding.access(context)
    await ledger.prepare()
    entry = record.entry(context.node_id)
    if record.again:
        found = await ledger.find(entry)
        if found is not None:
            return await _restore(node, inputs, context, record, found)

    async def attempt() -> dict[str, Any]:
        try:
            output = await _perform(node, inputs, context, record, entry)
        except DataFlowError as error:
            found = await _committed_anyway(ledger, entry, error)
            if found is None:
                raise
            return await _restore(node, inputs, context, record, found)
        record.written.append((ledger, entry))
        return output

    return await tried_again(attempt, lambda error: node.may_succeed_again(error, inputs))


async def _committed_anyway(ledger: DatabaseLedger, entry: Entry, error: DataFlowError) -> bytes | None:
    """The output that is in the ledger although a try has failed; None where there is none.

    Raises:
        DataFlowError: ``error``, where there is nothing to look for or an outage keeps on; else what the look met.
    """
    if isinstance(error, BreakerOpenError | PoolTimeoutError) or error.context.get("unreached"):
        raise error  # nothing was asked of the database
    try:
        return await ledger.find(entry)
    except DataFlowError:
        # Outages that a job may have caused are counted, so the first must not be taken for the second.
        if isinstance(error, DatabaseUnavailableError):
            raise error from None
        raise


async def _perform(
    node: GeneratedNode, inputs: Mapping[str, Any], context: RunContext, record: RunRecord, entry: Entry
) -> dict[str, Any]:
    ledger = node.binding.ledger
    if node.takes_one_statement(inputs):
        executor = node.binding.executor(context.tenant_id)
        both: Runner
        if node.binding.database.dialect is Dialect.POSTGRESQL:
            both = _OneStatement(executor, ledger, entry)
        else:
            both = _OneCall(cast(PairExecutor, executor), ledger, entry, record)
        return await node.perform(inputs, replace(context, executor=both))
    async with node.binding.transaction(context) as access:
        output = await node.perform(inputs, replace(context, executor=access.executor))
        await ledger.write(access.executor, entry, record.pack(output, context.node_id))
    return output


async def _restore(
    node: GeneratedNode, inputs: Mapping[str, Any], context: RunContext, record: RunRecord, data: bytes
) -> dict[str, Any]:
    """The output that was recorded."""
    spec = node.binding.spec
    if data[:1] == _RAW:
        values = record.unpack(data[1:])["row"]
        return await node.perform(inputs, replace(context, executor=_Replayed(values)))
    if data and data[:1] != b"{":
        output = record.unpack(data)
        for row in node.rows_in(output):
            for item in spec.fields:
                if item.type.enum is not None and row.get(item.name) is not None:
                    row[item.name] = item.type.enum(row[item.name])  # only its value was kept
        return output
    # The node makes its output of the row that its statement returned, now as it did then.
    kept = await node.binding.database.fetch_one(restored(spec.table_name, spec.names), (data,)) if data else None
    return await node.perform(inputs, replace(context, executor=_Replayed(kept)))


class _OneCall(Runner):
    """An Executor for one statement of SQLite, which commits together with the ledger entry in a single call.

    Values of SQLite's own types are kept as they are, so the row is known before anything decodes it.
    """

    def __init__(self, executor: PairExecutor, ledger: DatabaseLedger, entry: Entry, record: RunRecord) -> None:
        self._executor = executor
        self._ledger = ledger
        self._entry = entry
        self._record = record

    async def _run(self, name: str, *args: Any) -> Any:
        sql, values = args
        return await self._executor.fetch_one_then(sql, values, self._ledger.insert, self._values)

    def _values(self, row: Row | None) -> Arguments:
        kept = {"row": None if row is None else list(row)}
        return self._ledger.values(self._entry, _RAW + self._record.pack(kept, self._entry.node))


class _OneStatement(Runner):
    """An Executor for one statement of PostgreSQL, which writes the ledger entry as well."""

    def __init__(self, executor: Executor, ledger: DatabaseLedger, entry: Entry) -> None:
        self._executor = executor
        self._ledger = ledger
        self._entry = entry

    async def _run(self, name: str, *args: Any) -> Any:
        sql, values = args
        return await getattr(self._executor, name)(
            recorded(sql, len(values)), [*values, *self._ledger.arguments(self._entry)]
        )


class _Replayed(Runner):
    """An Executor that answers with the row of a statement that ran before."""

    def __init__(self, row: Row | None) -> None:
        self._row = row

    async def _run(self, name: str, *args: Any) -> Any:
        return self._row
