"""SwitchNode: sends data down one of several branches."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.errors import InputError, MissingParameterError
from dataflow.nodes.builtin.comparison import Operator, compare
from dataflow.nodes.builtin.condition import Condition, parse_condition
from dataflow.nodes.interface import Expression, Node, NodeSpec, Output, Parameter, RunContext, TemplateUse
from dataflow.values import child, describe

_DEFAULT_OUTPUT = "default"
_PREFIX = "case_"


@dataclass(frozen=True)
class _Case:
    """A condition with the values of its templates."""

    condition: Condition
    values: Mapping[str, Any]


def _read_condition(value: Any) -> _Case:
    if isinstance(value, str):
        value = Expression(value, source=value)
    if not isinstance(value, Expression):
        raise InputError(f"SwitchNode: a condition is text, got {type(value).__name__}.")
    return _Case(parse_condition(value.text, value.source), value.values)


@dataclass(frozen=True)
class SwitchNode(Node):
    """Sends ``input_data`` to one of its outputs; nodes connected to the others do not run.

    Three ways to choose:

    - ``condition``: an expression such as ``"{{count.count}} > 3 and tier == 'gold'"``. Names are ``input_data`` and,
      where that is a dict, its keys. True goes to ``true_output``, false to ``false_output``.
    - ``condition_field``, ``operator``, ``value``: compares the field of ``input_data`` at that path (``input_data``
      itself without ``condition_field``) with the value. Outputs as above.
    - ``cases``: compares it with each of a list of values by the operator; the first that holds goes to
      ``case_<value>`` (letters and digits as they are, anything else ``_``), none to ``default``.

    The result has the chosen output's key with ``input_data``, and ``condition_result``: the truth, or the case chosen.
    """

    spec = NodeSpec(
        type="SwitchNode",
        description="Sends data down one of several branches.",
        parameters=(
            Parameter("input_data", description="What is sent to the branch chosen."),
            Parameter(
                "condition",
                str | None,
                description="An expression that is true or false.",
                coerce=_read_condition,
                templates=TemplateUse.EXPRESSION,
            ),
            Parameter("condition_field", str | None, description="Path of the field of input_data to compare."),
            Parameter("operator", Operator, default="==", description="How to compare."),
            Parameter("value", description="What to compare with."),
            Parameter("cases", list[Any] | None, description="Values to compare with, one branch for each."),
        ),
        outputs=(
            Output("true_output", description="input_data, where the condition holds."),
            Output("false_output", description="input_data, where it does not."),
            Output(_DEFAULT_OUTPUT, description="input_data, where no case holds."),
            Output("condition_result", description="True or False; with cases the case that holds, or None."),
        ),
        branching=True,
    )

    def has_output(self, name: str, params: Mapping[str, Any]) -> bool:
        """Branches depend on the cases."""
        if name == "condition_result":
            return True
        if name in ("true_output", "false_output"):
            return "cases" not in params
        if "condition" in params or "value" in params:
            return False
        cases = params.get("cases")
        if isinstance(cases, list) and not any(isinstance(case, str) and "{{" in case for case in cases):
            return name == _DEFAULT_OUTPUT or name in map(_case_output, cases)
        return name == _DEFAULT_OUTPUT or name.startswith(_PREFIX)

    def check(self, params: Mapping[str, Any], later: Collection[str]) -> None:
        """Besides the parameters themselves: exactly one way to choose is given."""
        super().check(params, later)
        given = {*params, *later}
        if "condition" in given:
            if other := given & {"condition_field", "operator", "value", "cases"}:
                raise InputError(f"SwitchNode: 'condition' and '{min(other)}' exclude each other.")
        elif not given & {"condition_field", "operator", "value", "cases"}:
            raise MissingParameterError(
                "SwitchNode has nothing to choose by.",
                hint="Give 'condition', or 'condition_field' with 'operator' and 'value' or 'cases'.",
                parameter="condition",
            )
        if {"value", "cases"} <= given:
            raise InputError("SwitchNode: 'value' and 'cases' exclude each other.")
        if isinstance(params.get("cases"), list):
            _check_cases(params["cases"])

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        """Choose."""
        bound = self.spec.bind(inputs)
        data = bound["input_data"]
        case: _Case | None = bound["condition"]
        if case is not None:
            names = {**(data if isinstance(data, Mapping) else {}), "input_data": data}
            return _two_ways(case.condition.holds(names, case.values), data)
        operator = bound["operator"]
        field = bound["condition_field"]
        value = data if field is None else _field(data, field, operator)
        if bound["cases"] is None:
            return _two_ways(compare(value, operator, bound["value"]), data)
        _check_cases(bound["cases"])
        for candidate in bound["cases"]:
            if compare(value, operator, candidate):
                return {_case_output(candidate): data, "condition_result": candidate}
        return {_DEFAULT_OUTPUT: data, "condition_result": None}


def _two_ways(holds: bool, data: Any) -> dict[str, Any]:
    return {"true_output" if holds else "false_output": data, "condition_result": holds}


def _case_output(case: Any) -> str:
    return _PREFIX + re.sub(r"[^A-Za-z0-9_]", "_", str(case))


def _check_cases(cases: list[Any]) -> None:
    seen: dict[str, Any] = {}
    for case in cases:
        other = seen.setdefault(_case_output(case), case)
        if other is not case:
            raise InputError(
                f"SwitchNode: the cases {other!r} and {case!r} have the same output {_case_output(case)!r}."
            )


def _field(data: Any, path: str, operator: str) -> Any:
    value = data
    for part in path.split("."):
        try:
            value = child(value, part)
        except LookupError:
            if operator in ("is_null", "is_not_null"):
                return None
            raise InputError(
                f"SwitchNode: input_data has no '{path}': there is {describe(value)}.",
                hint="To ask whether it is there, use the operator 'is_null' or 'is_not_null'.",
                condition_field=path,
            ) from None
    return value
