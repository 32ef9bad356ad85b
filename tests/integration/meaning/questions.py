"""Random filters, sorts and reading steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec
from tests.integration.meaning.aggregation import WORKS_ON, result_type
from tests.integration.meaning.arena import Step
from tests.integration.meaning.models import Model
from tests.integration.meaning.values import JSON_SCALARS, spelled, values, wrong

#: For each field the values that the rows were made of, so that filters find some.
Pools = Mapping[str, Sequence[Any]]

COMPARISONS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]
PATTERNS = ["$like", "$ilike", "$contains", "$startswith", "$endswith"]


@st.composite
def operands(draw: st.DrawFn, field: FieldSpec, pools: Pools) -> Any:
    """A value to compare a field with, as a user may write it; now and then None."""
    chance = draw(st.integers(0, 19))
    if chance == 0:
        return None
    pool = pools.get(field.name) or ()
    value = draw(st.sampled_from(pool)) if pool and chance < 14 else draw(values(field.type))
    if value is None:
        return None
    if chance in (12, 13):
        value = _near(draw, field, value)
    return draw(spelled(field.type, value))


def _near(draw: st.DrawFn, field: FieldSpec, value: Any) -> Any:
    """Just beside a value."""
    if field.type.enum is not None:
        return value
    step = draw(st.sampled_from([-1, 1]))
    try:
        match value:
            case bool():
                return value
            case int():
                return value + step if abs(value) < 2**62 else value
            case datetime():
                return value + timedelta(microseconds=step)
            case date():
                return value + timedelta(days=step)
            case str() if field.type.max_length is None:
                return draw(st.sampled_from([value + " ", value.swapcase(), value[:-1], value + "a", value.upper()]))
    except OverflowError:
        pass
    return value


@st.composite
def patterns(draw: st.DrawFn, field: FieldSpec, pools: Pools) -> Any:
    """An operand for ``$like`` and its kin, most of them cut out of a value that is there."""
    pool = [item for item in pools.get(field.name) or () if isinstance(item, str)]
    text = draw(st.sampled_from(pool)) if pool else "aB"
    start = draw(st.integers(0, min(len(text), 3)))
    part = text[start : start + draw(st.integers(0, 6))]
    wild = draw(st.sampled_from(["", "%", "_", "%%", "\\%", "\\\\", "\\a", "*", "?", "[", "!", "!%"]))
    found = draw(
        st.sampled_from([part, part + wild, wild + part, f"%{part}%", wild, part.swapcase(), part.lower() + "%"])
    )
    return draw(st.sampled_from([found] * 15 + [None]))


@st.composite
def says(draw: st.DrawFn, field: FieldSpec, pools: Pools, depth: int = 0) -> Any:
    """What a filter says of one field."""
    if field.type.kind is Kind.JSON:
        return draw(says_of_json(field, pools))
    if draw(st.integers(0, 3)) == 0:
        return draw(operands(field, pools))
    known = [*COMPARISONS, *COMPARISONS, "$in", "$nin", "$between", "$null", "$exists"]
    known += PATTERNS * 2 if field.type.kind is Kind.STR else []
    known += ["$not"] if depth < 2 else []
    found: dict[str, Any] = {}
    for operator in draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True)):
        match operator:
            case "$in" | "$nin":
                found[operator] = draw(st.lists(operands(field, pools), max_size=5))
            case "$between":
                found[operator] = draw(st.lists(operands(field, pools), min_size=2, max_size=2))
            case "$null" | "$exists":
                found[operator] = draw(st.booleans())
            case "$not":
                found[operator] = draw(says(field, pools, depth + 1))
            case _ if operator in PATTERNS:
                found[operator] = draw(patterns(field, pools))
            case _:
                found[operator] = draw(operands(field, pools))
    return found


@st.composite
def says_of_json(draw: st.DrawFn, field: FieldSpec, pools: Pools) -> Any:
    """What a filter says of a place in a JSON field, most often one that is there."""
    place = draw(st.sampled_from([item for item in pools.get(field.name) or () if item is not None] or [{}]))
    parts: list[str] = []
    while isinstance(place, dict | list) and len(parts) < 4:
        inside = {str(index): item for index, item in enumerate(place)} if isinstance(place, list) else place
        known = [key for key in inside if key.isidentifier() or isinstance(place, list)]
        part = draw(st.sampled_from([*known * 4, "a", "0"]))
        parts.append(part)
        place = inside.get(part)
    if field.type.python is object and draw(st.integers(0, 4)) == 0:
        parts = []
    if not parts and field.type.python is not object:
        return draw(st.sampled_from([None, {"$null": True}, {"$exists": True}, {"$not": {"$null": True}}]))
    scalars = st.sampled_from([place] * 3 if not isinstance(place, dict | list) else ["a"]) | JSON_SCALARS
    known = [*COMPARISONS, *PATTERNS, "$in", "$nin", "$between", "$null", "$exists"]
    operator = draw(st.sampled_from([None, *known]))
    said: Any = draw(scalars)
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        said = draw(scalars.filter(lambda item: not isinstance(item, bool)))
    elif operator in PATTERNS:
        said = draw(st.sampled_from([place if isinstance(place, str) else "a", "%", "_", "É", ""]))
        said = said.replace("\\", "/")
    elif operator in ("$in", "$nin"):
        said = draw(st.lists(scalars, max_size=3))
    elif operator == "$between":
        said = draw(st.sampled_from([[-2, 2], [0.5, 2**63], ["", "b"], ["a", "é"], [None, 1]]))
    elif operator in ("$null", "$exists"):
        said = draw(st.booleans())
    said = said if operator is None else {operator: said}
    if draw(st.integers(0, 5)) == 0:
        said = {"$not": said}
    for part in reversed(parts):
        said = {part: said}
    return said


@st.composite
def filters(draw: st.DrawFn, spec: ModelSpec, pools: Pools, depth: int = 0) -> dict[str, Any]:
    """A filter."""
    found: dict[str, Any] = {}
    for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2]))):
        kind = draw(st.integers(0, 9)) if depth < 3 else 9
        if kind < 2:
            group = draw(st.sampled_from(["$and", "$or", "$or", "$or", "$nor"]))
            found[group] = draw(st.lists(filters(spec, pools, depth + 1), min_size=1, max_size=3))
        elif kind == 2:
            found["$not"] = draw(filters(spec, pools, depth + 1))
        else:
            field = draw(st.sampled_from([*spec.fields, *spec.writable * 2]))
            found[field.name] = draw(says(field, pools))
    return found


@st.composite
def wrong_filters(draw: st.DrawFn, spec: ModelSpec) -> dict[str, Any]:
    """A filter that every database refuses."""
    field = draw(st.sampled_from(spec.fields))
    bad: list[Any] = [{"$in": 1}, {"$between": [1]}, {"$null": 1}, {"$exists": "yes"}, {"$near": 1}, {}, {"$eq": [1]}]
    bad += [{"$like": "\\"}, {"$contains": 1}, {"$startswith": "a\0"}]
    if field.type.kind is not Kind.JSON:
        value = draw(wrong(field.type))
        if not isinstance(value, list | dict):
            bad += [{operator: value} for operator in COMPARISONS] + [{"$in": [value]}, {"$nin": [None, value]}]
    else:
        bad = [{operator: flag} for operator in ("$null", "$exists") for flag in (0, 1, 1.5, "yes", None, [], {})]
        bad += [{"a": {"$gt": True}}, {"a": [1]}, {"a": {"$in": 1}}, {"a": {"$between": [1, "a"]}}, {"a": {"$near": 1}}]
    found = {field.name: draw(st.sampled_from(bad))}
    return draw(
        st.sampled_from(
            [found, {"$or": [found, {"id": None}]}, {"$not": found}, {"missing": 1}, {"$where": 1}, {"$and": []}]
        )
    )


@st.composite
def sorts(draw: st.DrawFn, names: Sequence[str]) -> Any:
    """A sort in one of its notations; at times none."""
    if not names or draw(st.integers(0, 4)) == 0:
        return None
    items: list[Any] = []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        down = draw(st.booleans())
        items.append(
            draw(
                st.sampled_from(
                    [f"-{name}" if down else name]
                    + ([{name: -1 if down else 1}] if name != "field" else [])
                    + [{"field": name, "order": "desc" if down else "asc"}]
                )
            )
        )
    return items[0] if len(items) == 1 and isinstance(items[0], str) else items


@st.composite
def lists(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A List step."""
    spec = model.spec
    inputs: dict[str, Any] = {"filter": draw(filters(spec, pools))}
    sort = draw(sorts([item.name for item in spec.fields if item.type.kind is not Kind.JSON]))
    if sort:
        inputs["sort"] = sort
    if draw(st.booleans()):
        inputs["limit"] = draw(st.integers(0, 6))
        inputs["offset"] = draw(st.integers(0, 4))
    if draw(st.integers(0, 3)) == 0:
        inputs["fields"] = draw(st.lists(st.sampled_from(spec.names), min_size=1, max_size=3, unique=True))
    for option in ("with_total", "include_deleted"):
        if draw(st.integers(0, 2)) == 0:
            inputs[option] = True
    return Step("List", inputs)


@st.composite
def counts(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """A Count step, or a List that only counts."""
    inputs = {"filter": draw(filters(model.spec, pools)), "include_deleted": draw(st.booleans())}
    return draw(st.sampled_from([Step("Count", inputs), Step("List", {**inputs, "count_only": True})]))


@st.composite
def refusals(draw: st.DrawFn, model: Model) -> Step:
    """A filter that is refused."""
    return Step(draw(st.sampled_from(["List", "Count"])), {"filter": draw(wrong_filters(model.spec))})


@st.composite
def aggregates(draw: st.DrawFn, model: Model, pools: Pools) -> Step:
    """An Aggregate step; sums and means of floats are in no condition or sort, since their last digits vary."""
    spec = model.spec
    usable = [item for item in spec.fields if item.name != "id" and item.type.kind is not Kind.JSON]
    groups = draw(st.lists(st.sampled_from([item.name for item in usable]), max_size=2, unique=True))
    asked: dict[str, Any] = {}
    exact: dict[str, FieldType] = {name: spec.field(name).type for name in groups}
    for number in range(draw(st.integers(0 if groups else 1, 3))):
        alias, operator = f"a{number}", draw(st.sampled_from(list(WORKS_ON)))
        fit = [item for item in usable if item.type.kind in WORKS_ON[operator]]
        fit = [item for item in fit if not (operator in ("$sum", "$avg") and item.type.enum)]
        if operator == "$count" or not fit:
            asked[alias] = {"$count": draw(st.sampled_from(["*", *spec.names]))}
        else:
            item = draw(st.sampled_from(fit))
            asked[alias] = {operator: item.name}
        kind = result_type(spec.by_name, *next(iter(asked[alias].items())))
        if kind.kind is not Kind.FLOAT or operator in ("$min", "$max"):
            exact[alias] = kind
    inputs: dict[str, Any] = {"filter": draw(filters(spec, pools)), "group_by": groups, "aggregate": asked}
    conditions = [name for name in exact if name in asked]
    if conditions and draw(st.booleans()):
        name = draw(st.sampled_from(conditions))
        operand = st.integers(0, 3) if "$count" in next(iter(asked[name])) else values(exact[name])
        inputs["having"] = {name: {draw(st.sampled_from(COMPARISONS)): draw(operand)}}
    sort = draw(sorts(list(exact)))
    if sort:
        inputs["sort"] = sort
    if draw(st.integers(0, 3)) == 0:
        inputs["limit"] = draw(st.integers(0, 3))
    return Step("Aggregate", inputs)
