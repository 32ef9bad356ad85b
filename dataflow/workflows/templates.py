"""Templates in parameters: found once when a workflow is built, read in every run.

A text that is one template as a whole takes the value with its type; in a longer text the value becomes text. They
work at any depth of dicts and lists, but not in keys. ``{{now}}`` is a datetime where it is a parameter by itself,
unless that parameter takes text; inside of lists and dicts it is ISO 8601 text, which date and text fields both take.

Parameters are part of the program; run inputs and outputs of nodes are data, and never searched for templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from dataflow.errors import InputError
from dataflow.nodes.interface import Expression, NodeSpec, TemplateUse
from dataflow.workflows.references import InputReference, NodeReference, Reference, Scope, parse_reference

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_DOLLAR = re.compile(r"\$\{[^\W\d][\w.\[\]-]*\}")

_SCALARS = frozenset({int, float, bool, type(None), bytes, datetime, date})

_Read = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A parameter whose value is made from others in each run.

    Attributes:
        parameter: Its name, as given in ``add_node``.
        references: What it reads.
        expression: For an expression parameter: its text, as far as it is known before the run.
    """

    parameter: str
    references: tuple[Reference, ...]
    expression: Expression | None
    _read: _Read

    @property
    def nodes(self) -> frozenset[str]:
        """Ids of the nodes it reads."""
        return frozenset(item.node for item in self.references if isinstance(item, NodeReference))

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the run inputs it reads."""
        return frozenset(item.name for item in self.references if isinstance(item, InputReference))

    def evaluate(
        self,
        results: Mapping[str, Any],
        inputs: Mapping[str, Any],
        now: datetime,
        environment: Callable[[], Mapping[str, str]],
    ) -> Any:
        """The parameter's value in a run.

        Args:
            results: Node id → output; has every node in ``nodes``.
            inputs: Flat inputs of the run.
            now: When the run started, aware.
            environment: Gives the environment variables that may be read; called only if one is.

        Raises:
            InputError: An input or a variable is missing.
            OutputPathError: A node's output has nothing at the path.
        """
        return self._read(Scope(results, inputs, now, environment))


def compile_templates(
    params: Mapping[str, Any], spec: NodeSpec, node_ids: Collection[str]
) -> tuple[dict[str, Any], list[Template]]:
    """Parameters without templates, and the templates of the others.

    Raises:
        InputError: Text in double braces is no template, or ``${…}`` is used.
    """
    static: dict[str, Any] = {}
    templates: list[Template] = []
    for name, value in params.items():
        parameter = spec.by_name.get(name)
        use = parameter.templates if parameter is not None else TemplateUse.REPLACE
        as_text = parameter is not None and parameter.annotation in (str, str | None)
        compiler = _Compiler(node_ids, moments_as_text=as_text)
        expression = None
        if use is TemplateUse.KEEP:
            read = None
        elif use is TemplateUse.EXPRESSION and isinstance(value, str):
            expression, read = compiler.expression(value)
        else:
            read = compiler.value(value)
        if read is None:
            static[name] = value
        else:
            templates.append(Template(name, tuple(compiler.references), expression, read))
    return static, templates


class _Compiler:
    """Makes the function that reads one parameter, and collects what it refers to."""

    def __init__(self, node_ids: Collection[str], *, moments_as_text: bool) -> None:
        self._node_ids = node_ids
        self._moments_as_text = moments_as_text
        self.references: list[Reference] = []

    def value(self, value: Any) -> _Read | None:
        """How to read a value; None if it has no templates."""
        if not _has_brace(value):
            return None
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            self._moments_as_text = True
            return self._dict(value)
        if isinstance(value, list | tuple):
            self._moments_as_text = True
            return self._sequence(value)
        return None

    def expression(self, text: str) -> tuple[Expression, _Read] | tuple[None, None]:
        """How to read an expression: values by name, beside the text with those names."""
        _refuse_dollar(text)
        readers: dict[str, _Read] = {}

        def name_of(match: re.Match[str]) -> str:
            name = f"__{len(readers)}"
            readers[name] = self._reference(match[1])
            return name

        named = _TEMPLATE.sub(name_of, text)
        if not readers:
            return None, None

        def read(scope: Scope) -> Expression:
            return Expression(named, {name: reader(scope) for name, reader in readers.items()}, text)

        return Expression(named, source=text), read

    def _reference(self, text: str) -> _Read:
        reference = parse_reference(text, self._node_ids, moments_as_text=self._moments_as_text)
        self.references.append(reference)
        return reference.read

    def _text(self, text: str) -> _Read | None:
        _refuse_dollar(text)
        parts = _TEMPLATE.split(text)
        if len(parts) == 1:
            return None
        if len(parts) == 3 and not parts[0] and not parts[2]:
            return self._reference(parts[1])
        # split() alternates between plain text and what stood in braces.
        readers = [self._reference(part) if index % 2 else part for index, part in enumerate(parts)]

        def read(scope: Scope) -> str:
            return "".join([part if isinstance(part, str) else _as_text(part(scope), text) for part in readers])

        return read

    def _dict(self, value: dict[Any, Any]) -> _Read | None:
        readers = {key: read for key, item in value.items() if (read := self.value(item)) is not None}
        if not readers:
            return None
        return lambda scope: {**value, **{key: read(scope) for key, read in readers.items()}}

    def _sequence(self, value: list[Any] | tuple[Any, ...]) -> _Read | None:
        readers = [(index, read) for index, item in enumerate(value) if (read := self.value(item)) is not None]
        if not readers:
            return None

        def read_all(scope: Scope) -> list[Any]:
            items = list(value)
            for index, read in readers:
                items[index] = read(scope)
            return items

        return read_all


def _has_brace(value: Any) -> bool:
    """Whether a text in a value may hold a template. Large tables are searched at every build: no call per cell."""
    if isinstance(value, str):
        return "{" in value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    for item in value:
        kind = type(item)
        if kind is str:
            if "{" in item:
                return True
        elif kind not in _SCALARS and _has_brace(item):
            return True
    return False


def _refuse_dollar(text: str) -> None:
    if match := _DOLLAR.search(text):
        raise InputError(
            f"'{match[0]}' is not used for values of other nodes: '${{…}}' conflicts with PostgreSQL.",
            hint='Connect the output, add_connection("create_customer", "id", "create_order", "customer_id"), or write '
            "{{create_customer.id}}.",
        )


def _as_text(value: Any, template: str) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if value is None or isinstance(value, dict | list | tuple | bytes):
        raise InputError(
            f"The text {template!r} takes a value that is not text: {type(value).__name__}.",
            hint="Only text, numbers, dates and the like can be part of a longer text.",
        )
    return str(value)
