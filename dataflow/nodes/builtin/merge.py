"""MergeNode: joins several branches into one value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dataflow.errors import InputError, MissingParameterError, TypeMismatchError
from dataflow.nodes.interface import Node, NodeSpec, Output, Parameter, RunContext

#: The inputs, in the order they are merged in.
_INPUTS = tuple(f"data{number}" for number in range(1, 21))


@dataclass(frozen=True)
class MergeNode(Node):
    """Merges ``data1``, ``data2``, … ``data20``, those that are given, in this order, into ``merged_data``.

    It runs as soon as all that is connected has ended and at least one value is there: inputs from branches that were
    not taken, and inputs that are None, are left out.

    ``merge_type``:

    - ``"concat"`` (default): one list of all items; an input that is not a list is one item.
    - ``"merge_dict"``: one dict of all keys, later inputs win. With ``key``, inputs are lists of dicts, and dicts with
      the same value under that key become one.
    - ``"zip"``: lists of equal length become one list of rows.
    """

    spec = NodeSpec(
        type="MergeNode",
        description="Merges several inputs into one value.",
        parameters=(
            Parameter("merge_type", Literal["concat", "merge_dict", "zip"], default="concat", description="How."),
            Parameter("key", str | None, description="With merge_dict: joins lists of dicts by this key."),
            *(Parameter(name, description="A value to merge.") for name in _INPUTS),
        ),
        outputs=(Output("merged_data", description="The merged value."),),
        waits_for="any",
    )

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        """Besides the parameters themselves: there is something to merge."""
        super().check(params, later)
        if not {*params, *later} & {*_INPUTS}:
            raise MissingParameterError(
                "MergeNode has nothing to merge.", hint="Connect outputs to 'data1', 'data2', …", parameter="data1"
            )
        if "key" in params and params.get("merge_type") != "merge_dict" and "merge_type" not in later:
            raise InputError("MergeNode: 'key' is only for merge_type 'merge_dict'.")

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Merge."""
        bound = self.spec.bind(inputs)
        values = {name: bound[name] for name in _INPUTS if bound[name] is not None}
        if bound["merge_type"] == "zip":
            return {"merged_data": _zip(values)}
        if bound["merge_type"] == "concat":
            return {"merged_data": [item for value in values.values() for item in _items(value)]}
        return {"merged_data": _merge_dicts(values) if bound["key"] is None else _join(values, bound["key"])}


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _expect(name: str, value: Any, kind: type[Any] | tuple[type[Any], ...], wanted: str) -> None:
    if not isinstance(value, kind):
        raise TypeMismatchError(f"MergeNode: '{name}' is {wanted}, got {type(value).__name__}.", parameter=name)


def _zip(values: Mapping[str, Any]) -> list[list[Any]]:
    for name, value in values.items():
        _expect(name, value, (list, tuple), "a list when zipped")
    lengths = {name: len(value) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"MergeNode: lists to zip have equal lengths, got {lengths}.")
    return [list(row) for row in zip(*values.values(), strict=True)]


def _merge_dicts(values: Mapping[str, Any]) -> dict[Any, Any]:
    merged: dict[Any, Any] = {}
    for name, value in values.items():
        _expect(name, value, dict, "a dict when merged (lists of dicts need 'key')")
        merged.update(value)
    return merged


def _join(values: Mapping[str, Any], key: str) -> list[dict[Any, Any]]:
    rows: dict[Any, dict[Any, Any]] = {}
    for name, value in values.items():
        _expect(name, value, (list, tuple), "a list of dicts when joined by key")
        for row in value:
            _expect(name, row, dict, "a list of dicts when joined by key")
            if key not in row:
                raise InputError(f"MergeNode: a row of '{name}' has no {key!r}.", key=key)
            if isinstance(row[key], dict | list):
                raise TypeMismatchError(f"MergeNode: {key!r} of a row of '{name}' is no plain value.", parameter=name)
            rows[row[key]] = {**rows.get(row[key], {}), **row}
    return list(rows.values())
