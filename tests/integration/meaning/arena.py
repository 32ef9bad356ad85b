"""One model on the three databases and in the oracle: every step is run on all four, and must mean the same."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from math import copysign, isclose
from typing import Any
from unittest import mock

from dataflow.databases.interface import Database, Dialect
from dataflow.errors import DataFlowError
from dataflow.models import Kind
from dataflow.nodes.generated import generated_nodes
from dataflow.nodes.generated.schema import Schema
from dataflow.nodes.interface import Node
from tests.integration.bench import CONTEXT
from tests.integration.meaning.coercion import Refused, Undecided
from tests.integration.meaning.models import Model
from tests.integration.meaning.oracle import Oracle

#: What a result has that the oracle does not foresee.
_IGNORED = ("next_cursor", "batch_size", "operation")
#: Operations whose result is a row.
ROWS = ("Create", "Read", "Update", "Delete")
#: Operations that only look.
READING = ("List", "Count", "Aggregate", "Read")


@dataclass(frozen=True)
class Step:
    """A node and what it is given."""

    operation: str
    inputs: dict[str, Any]

    def __repr__(self) -> str:
        return f"Step({self.operation!r}, {self.inputs!r})"


@dataclass
class Side:
    """The model on one database; ids that it makes are known by their rank, since each database skips some."""

    database: Database
    nodes: Mapping[str, Node]
    actual: dict[int, int] = field(default_factory=dict)

    async def run(self, model: Model, step: Step) -> Any:
        """The result, with the oracle's ids; or the class of the error."""
        node = self.nodes[f"{model.spec.name}{step.operation}Node"]
        inputs = translated(step, self.actual) if model.generated else step.inputs
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return await node.run(dict(inputs), CONTEXT)
        except DataFlowError as error:
            return error


class Clock(datetime):
    """Stands in for datetime where nodes ask for the time."""

    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.moment


@contextlib.contextmanager
def stopped_clock() -> Iterator[None]:
    """Every node takes the time from ``Clock.moment``."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            asks = name.startswith(("dataflow.queries.", "dataflow.nodes.generated.")) and not name.endswith(".codecs")
            if asks and getattr(module, "datetime", None) is datetime:
                stack.enter_context(mock.patch.object(module, "datetime", Clock))
        yield


class Arena:
    """Runs steps on all sides and compares."""

    def __init__(self, model: Model, sides: Sequence[Side]) -> None:
        self.model = model
        self.oracle = Oracle(model)
        self.sides = sides

    async def play(self, step: Step) -> None:
        """Run a step everywhere; after a change compare the whole table."""
        Clock.moment += timedelta(seconds=1)
        self.oracle.now = Clock.moment
        expected: Any
        try:
            expected = self.oracle.run(step.operation, step.inputs)
        except Refused as refused:
            expected = refused
        except Undecided:
            return
        for side in self.sides:
            found = await side.run(self.model, step)
            if step.operation not in READING:
                await self._compare_table(side, step, found)
            self._compare(side, step, expected, found)

    async def _compare_table(self, side: Side, step: Step, outcome: Any) -> None:
        every = {"sort": self.oracle.key, "limit": 10_000}
        if self.model.spec.features.soft_delete:
            every["include_deleted"] = True
        found = await side.run(self.model, Step("List", every))
        if self.model.generated and isinstance(found, dict):
            self._learn(side, [row[self.oracle.key] for row in found["records"]])
        expected = self.oracle.list_rows(every)
        try:
            self._compare(side, Step("List", every), expected, found)
        except AssertionError as difference:
            raise AssertionError(f"after {step}, which came to {outcome!r}: {difference}") from None

    def _learn(self, side: Side, ids: Sequence[int]) -> None:
        """Ids that are new stand for the oracle's new ids, in their order."""
        known = set(side.actual.values())
        new = [row_id for row_id in sorted(self.oracle.rows) if row_id not in side.actual]
        side.actual.update(zip(new, [row_id for row_id in ids if row_id not in known], strict=False))

    def _compare(self, side: Side, step: Step, expected: Any, found: Any) -> None:
        where = f"{side.database.dialect.value}: {step}"
        if isinstance(expected, Refused):
            assert isinstance(found, DataFlowError), f"{where} should be refused as {expected}, but came to {found!r}"
            assert type(found) in expected.errors, f"{where} should be refused as {expected}, not as {found!r}"
            return
        assert not isinstance(found, DataFlowError), f"{where} should come to {expected!r}, but was refused: {found!r}"
        if self.model.generated:
            found = with_ranks(step, found, {actual: rank for rank, actual in side.actual.items()})
        if step.operation not in ROWS:  # a row's own fields may be called so too
            found = {key: value for key, value in found.items() if key not in _IGNORED}
            if found.get("errors"):
                found["errors"] = [{"row": error["row"]} for error in found["errors"]]
        elif step.operation != "Create" and not found.get("found", found.get("updated", False)):
            found = {key: value for key, value in found.items() if key in expected}
        rough = self._rough_names(step)
        difference = differing(expected, found, rough)
        assert difference is None, f"{where}: {difference}\nexpected {expected!r}\nfound    {found!r}"

    def _rough_names(self, step: Step) -> set[str]:
        """Aliases whose last digits depend on the order in which floats are added."""
        if step.operation != "Aggregate":
            return set()
        asked = {alias: next(iter(given.items())) for alias, given in step.inputs.get("aggregate", {}).items()}
        fields = self.oracle.fields
        return {
            alias
            for alias, (operator, name) in asked.items()
            if operator in ("$sum", "$avg") and name in fields and fields[name].type.kind in (Kind.INT, Kind.FLOAT)
        }


def differing(expected: Any, found: Any, rough: Collection[str] = (), at: str = "") -> str | None:
    """Where two results are not the same, in value or type; None if they are."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{at or 'result'} has the keys {sorted(found)}, not {sorted(expected)}"
        pairs = [(f"{at}.{key}", value, found[key]) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{at} has {len(found)} items, not {len(expected)}"
        pairs = [(f"{at}[{number}]", *pair) for number, pair in enumerate(zip(expected, found, strict=True))]
    else:
        if at.rpartition(".")[2] in rough and isinstance(expected, float) and isinstance(found, float):
            return (
                None if isclose(expected, found, rel_tol=1e-9, abs_tol=1e-6 * abs(expected)) else f"{at} is {found!r}"
            )
        return None if _same(expected, found) else f"{at} is {found!r}, not {expected!r}"
    problems = (differing(value, other, rough, key) for key, value, other in pairs)
    return next((problem for problem in problems if problem), None)


def _same(expected: Any, found: Any) -> bool:
    if type(expected) is not type(found) or expected != found:
        return False
    if isinstance(expected, float):
        return copysign(1, expected) == copysign(1, found)
    if isinstance(expected, datetime):
        return found.tzinfo is UTC
    return isinstance(expected, Enum) or repr(expected) == repr(found)


def translated(step: Step, actual: Mapping[int, int]) -> dict[str, Any]:
    """Inputs with a database's own ids in place of the oracle's."""

    def swap(value: Any) -> Any:
        # An id that no row has yet is above all that are there.
        return actual.get(value, value + 2**40) if type(value) is int and 0 < value < 2**40 else value

    def walk(value: Any, *, is_id: bool) -> Any:
        if isinstance(value, dict):
            return {
                key: walk(item, is_id=key == "id" or (is_id and key.startswith("$"))) for key, item in value.items()
            }
        if isinstance(value, list):
            return [walk(item, is_id=is_id) for item in value]
        return swap(value) if is_id else value

    inputs = dict(step.inputs)
    if step.operation in ("Create", "Upsert"):
        return inputs
    for name in ("id", "ids", "filter"):
        if name in inputs and (name != "ids" or step.operation == "BulkDelete"):
            inputs[name] = walk(inputs[name], is_id=name != "filter")
    if step.operation in ("BulkUpdate", "BulkDelete") and isinstance(inputs.get("data"), list):
        inputs["data"] = [{k: swap(v) if k == "id" else v for k, v in row.items()} for row in inputs["data"]]
    return inputs


def with_ranks(step: Step, result: dict[str, Any], ranks: Mapping[int, int]) -> dict[str, Any]:
    """A result with the oracle's ids in place of a database's own."""

    def named(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "id": ranks.get(row["id"], row["id"])} if "id" in row else row

    result = dict(result)
    if step.operation in ("List", "Aggregate"):
        return {**result, "records": [named(row) for row in result["records"]]} if "records" in result else result
    if step.operation == "Upsert":
        return {**result, "record": named(result["record"])}
    if step.operation in ("BulkCreate", "BulkUpsert") and "ids" in result:
        return {**result, "ids": [ranks.get(row_id, row_id) for row_id in result["ids"]]}
    return named(result) if step.operation in ROWS else result


@contextlib.asynccontextmanager
async def open_arena(model: Model, databases: Sequence[Database]) -> AsyncIterator[Arena]:
    """A model with its table on every database, until the block ends."""
    sides = []
    for database in databases:
        schema = Schema(database, may_create=True, cursor_secret=b"meaning")
        sides.append(Side(database, dict(generated_nodes(schema.add(model.spec)))))
    try:
        with stopped_clock():
            yield Arena(model, sides)
    finally:
        quote = {Dialect.MYSQL: "`"}
        for database in databases:
            mark = quote.get(database.dialect, '"')
            await database.execute(f"DROP TABLE IF EXISTS {mark}{model.spec.table_name}{mark}")
