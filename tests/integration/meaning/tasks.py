"""Random writing steps, and whole plays: a model, its first rows, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from dataflow.models import FieldSpec, Kind, ModelSpec
from tests.integration.meaning.arena import Step
from tests.integration.meaning.coercion import coerce_type
from tests.integration.meaning.models import Model, models
from tests.integration.meaning.questions import Pools, aggregates, counts, filters, lists, refusals
from tests.integration.meaning.values import spelled, values, wrong

#: Parameters of Update and Create; a field of such a name is given in ``fields``.
_TAKEN = {"filter", "fields", "conditions", "updates", "record_id", "raise_on_not_found", "include_deleted", "version"}


@dataclass(frozen=True)
class Play:
    """A model and what is done to it, in order."""

    model: Model
    steps: Sequence[Step]

    def __repr__(self) -> str:
        return "\n    ".join([repr(self.model), *map(repr, self.steps)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis shows it so."""
        printer.text(repr(self))


@st.composite
def rows(draw: st.DrawFn, spec: ModelSpec, pools: Pools, *, whole: bool = True) -> dict[str, Any]:
    """Values of the fields of a row; without ``whole`` also of only some of its fields."""
    found: dict[str, Any] = {}
    for item in spec.writable:
        if item.generated or (item.primary_key and not whole):
            continue
        must = whole and (item.required or item.primary_key)
        if must or draw(st.integers(0, 5)):
            found[item.name] = draw(new_values(item, pools))
    return found


@st.composite
def new_values(draw: st.DrawFn, field: FieldSpec, pools: Pools) -> Any:
    """A value that a field takes."""
    if field.nullable and draw(st.integers(0, 4)) == 0:
        return None
    pool = [item for item in pools.get(field.name, ()) if item is not None]
    value = draw(st.sampled_from(pool)) if pool else draw(values(field.type))
    return draw(spelled(field.type, value))


@st.composite
def changes(draw: st.DrawFn, spec: ModelSpec, pools: Pools) -> dict[str, Any]:
    """New values and expressions of an update."""
    items = [item for item in spec.writable if not item.primary_key]
    found = {}
    for item in draw(st.lists(st.sampled_from(items), min_size=1, max_size=3, unique_by=lambda item: item.name)):
        found[item.name] = draw(change(item, pools))
    if spec.features.soft_delete and draw(st.integers(0, 9)) == 0:
        found["deleted_at"] = None
    return found


@st.composite
def change(draw: st.DrawFn, field: FieldSpec, pools: Pools) -> Any:
    """A new value of a field, or an expression."""
    kind = field.type.kind
    known = ["$set", "$set", *(["$unset"] if field.nullable else [])]
    known += ["$min", "$max"] if kind is not Kind.JSON else []
    known += ["$now"] if kind in (Kind.DATETIME, Kind.DATE, Kind.TIME) else []
    if kind in (Kind.INT, Kind.FLOAT, Kind.DECIMAL) and not field.type.enum:
        known += ["$inc", "$multiply"] * 3
    known += ["$inc"] * 2 if kind is Kind.TIMEDELTA else []
    operator = draw(st.sampled_from([None, *known]))
    match operator:
        case None:
            value = draw(new_values(field, pools))
            # A dict is given with $set, since in a JSON field it may look like an expression.
            return {"$set": value} if isinstance(value, dict) else value
        case "$unset" | "$now":
            return {operator: True}
        case "$inc" | "$multiply":
            return {operator: draw(_numbers(field, operator))}
        case "$min" | "$max":
            return {operator: draw(spelled(field.type, draw(values(field.type))))}
    return {operator: draw(new_values(field, pools))}


def _numbers(field: FieldSpec, operator: str) -> st.SearchStrategy[Any]:
    match field.type.kind:
        case Kind.TIMEDELTA:
            return st.sampled_from([0, 1, -1, 86_400_000_000, 2**62]).map(lambda number: timedelta(microseconds=number))
        case Kind.INT:
            return st.sampled_from([0, 1, -1, 2, 3.0, -7, 2**31, 2**62, -(2**63)])
        case Kind.FLOAT:
            return st.sampled_from([0, 1, -1, 0.5, 2.5, -0.1, 1e-300, 1e300, 1e16])
    if operator == "$inc":
        return values(field.type) | st.just(0)
    factors = ["0", "1", "-1", "0.5", "0.1", "1.5", "3", "0.333333333", "-2.25", "1e3", "12345678901234567890"]
    factors.append("0.00000000000000000001")
    return st.sampled_from([*map(Decimal, factors), 2, 0.9])


@st.composite
def picks(draw: st.DrawFn, model: Model, pools: Pools) -> dict[str, Any]:
    """Which row: by id or by a filter."""
    if draw(st.booleans()):
        return {"id": draw(st.sampled_from(pools["id"]))}
    if draw(st.booleans()):
        return {"filter": {"id": draw(st.sampled_from(pools["id"])), **draw(filters(model.spec, pools, depth=3))}}
    return {"filter": draw(filters(model.spec, pools))}


@st.composite
def singles(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A node for one row."""
    spec = model.spec
    operation = draw(st.sampled_from(["Create", "Read", "Update", "Update", "Update", "Delete", *["Upsert"] * 4]))
    if operation == "Create":
        return Step("Create", draw(rows(spec, pools)))
    if operation == "Upsert":
        return draw(upserts(model, pools))
    inputs = draw(picks(model, pools))
    if draw(st.integers(0, 3)) == 0:
        inputs["include_deleted"] = True
    if operation == "Read":
        return Step("Read", {**inputs, "raise_on_not_found": draw(st.booleans())})
    if spec.features.versioned and draw(st.integers(0, 2)) == 0:
        inputs["version"] = draw(st.integers(1, 2))
    if operation == "Delete":
        return Step("Delete", {**inputs, **draw(soft_deletes(spec))})
    new = draw(changes(spec, pools))
    if draw(st.booleans()) and not new.keys() & (_TAKEN | inputs.keys()):
        return Step("Update", {**inputs, **new})
    return Step("Update", {**inputs, "fields": new})


def soft_deletes(spec: ModelSpec) -> st.SearchStrategy[dict[str, Any]]:
    """The parameter ``soft_delete``."""
    return st.sampled_from([{}, {}, {"soft_delete": False}, {"soft_delete": True}])


def _keys(spec: ModelSpec) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(
        [key for key in spec.unique_keys if not all(spec.field(name).generated for name in key)] or [("id",)]
    )


@st.composite
def upserts(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """An Upsert step."""
    spec = model.spec
    key = draw(_keys(spec))
    row = draw(rows(spec, pools))
    where = {name: row.pop(name) for name in key if name in row}
    if not where:
        return Step("Create", row)
    inputs: dict[str, Any] = {"where": where, "create": row}
    if draw(st.integers(0, 3)):
        inputs["update"] = draw(changes(spec, pools))
        inputs["update"].pop("deleted_at", None)
    return Step("Upsert", inputs)


@st.composite
def bulk_steps(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A node for many rows."""
    spec = model.spec
    operation = draw(st.sampled_from(["BulkCreate", "BulkUpdate", "BulkUpdate", "BulkDelete", "BulkUpsert"]))
    if operation in ("BulkCreate", "BulkUpsert"):
        return draw(bulk_imports(model, pools, operation))
    inputs: dict[str, Any] = draw(soft_deletes(spec)) if operation == "BulkDelete" else {}
    inputs = {**inputs, "include_deleted": draw(st.booleans())}
    way = draw(st.integers(0, 2))
    if way == 0 and operation == "BulkDelete":
        return Step(operation, {**inputs, "ids": draw(st.lists(st.sampled_from(pools["id"]), max_size=3))})
    if way == 0:
        some = st.builds(
            lambda row_id, row: {"id": row_id, **row}, st.sampled_from(pools["id"]), rows(spec, pools, whole=False)
        )
        return Step(operation, {**inputs, "data": draw(st.lists(some.filter(lambda row: len(row) > 1), max_size=4))})
    inputs["filter"] = draw(st.just({}) | filters(spec, pools) | filters(spec, pools))
    inputs["confirmed"] = draw(st.booleans())
    if draw(st.booleans()):
        inputs["limit"] = draw(st.integers(0, 3))
    return Step(operation, {**inputs, "fields": draw(changes(spec, pools))} if operation == "BulkUpdate" else inputs)


@st.composite
def bulk_imports(draw: st.DrawFn, model: Model, pools: Pools, operation: str) -> Step:
    """A BulkCreate or BulkUpsert step."""
    spec = model.spec
    data = draw(st.lists(rows(spec, pools), min_size=1, max_size=5))
    if draw(st.booleans()):
        data = [row for row in data if row.keys() == data[0].keys()]
    inputs: dict[str, Any] = {"data": data, "return_ids": draw(st.booleans()), "conflict_on": list(draw(_keys(spec)))}
    if operation == "BulkUpsert":
        inputs["conflict_resolution"] = draw(st.sampled_from(["update", "update", "skip"]))
        return Step(operation, inputs)
    inputs["conflict_resolution"] = draw(st.sampled_from(["error", "skip", "upsert"]))
    if inputs["conflict_resolution"] == "error":
        del inputs["conflict_on"]
    inputs["on_error"] = draw(st.sampled_from(["stop", "continue"]))
    return Step(operation, inputs)


@st.composite
def faults(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A writing step with one value that is refused."""
    spec = model.spec
    field = draw(st.sampled_from([item for item in spec.writable if not item.generated]))
    value = draw(wrong(field.type) | (st.nothing() if field.nullable else st.none()))
    row = {**draw(rows(spec, pools)), field.name: value}
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return Step("Create", row)
    if kind == 1:
        return Step("BulkCreate", {"data": [draw(rows(spec, pools)), row], "on_error": "continue"})
    if kind == 2:
        return Step("BulkCreate", {"data": [row]})
    if field.primary_key or isinstance(value, dict):
        return Step("BulkCreate", {"data": [draw(rows(spec, pools)), {**draw(rows(spec, pools)), "missing": 1}]})
    if kind == 3:
        return Step("Update", {"id": draw(st.sampled_from(pools["id"])), "fields": {field.name: value}})
    return Step("BulkUpdate", {"filter": draw(filters(spec, pools)), "fields": {field.name: value}, "confirmed": True})


@st.composite
def some_steps(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A step of any kind. ``one_of`` would give each kind the same weight."""
    reading = [lists, lists, counts, aggregates]
    writing = [singles, singles, singles, bulk_steps, bulk_steps]
    kind = draw(st.sampled_from([*reading, *writing, None]))
    if kind is not None:
        return draw(kind(model, pools))
    return draw(st.one_of(refusals(model), faults(model, pools)))


@st.composite
def plays(draw: st.DrawFn) -> Play:
    """A model, up to a dozen rows, and up to a dozen steps."""
    model = draw(models())
    spec = model.spec
    pools: dict[str, list[Any]] = {}
    for item in spec.writable:
        many = 12 if item.unique or item.primary_key else 4
        pools[item.name] = draw(st.lists(values(item.type), min_size=min(many, 3), max_size=many))
    first = [draw(rows(spec, pools)) for _ in range(draw(st.sampled_from([1, 2, 4, 6, 8, 10, 12])))]
    steps = [Step("BulkCreate", {"data": first, "on_error": "continue"})]
    for item in spec.writable:
        # What is there is asked for, and written again, more often than what is not.
        present = [coerce_type(item.type, row[item.name]) for row in first if row.get(item.name) is not None]
        pools[item.name] = present * 3 + pools[item.name]
    if model.generated:
        pools["id"] = [*range(1, len(first) + 1), len(first) + 2]
    steps += [draw(some_steps(model, pools)) for _ in range(draw(st.sampled_from([1, 2, 4, 8, 12, 16])))]
    return Play(model, steps)
