"""Updates: from ``{"name": "x", "visits": {"$inc": 1}}`` to a shape, its bound values, and assignments.

``updated_at`` is set to this moment by every update; the user's own values of managed timestamps are left out and
named in ``stripped``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import TypeMismatchError, UnknownOperatorError, UpdateParameterError, did_you_mean
from dataflow.models import FieldSpec, Kind
from dataflow.models.spec import Managed
from dataflow.models.tables import column_type
from dataflow.queries.clauses import comparable
from dataflow.queries.codecs import FieldCodec, ModelCodec
from dataflow.queries.expressions import EXPRESSIONS, Target
from dataflow.queries.plan import Binds

Shape = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Updates:
    """A parsed update.

    Attributes:
        shape: ``(operation, field)`` pairs; hashable.
        values: Driver values, in the order of the shape.
        stripped: Managed fields that the user gave and that were left out.
    """

    shape: Shape
    values: list[Any]
    stripped: tuple[str, ...]
    _codec: ModelCodec
    _dialect: Dialect

    @property
    def is_empty(self) -> bool:
        """Whether the user asked for no change."""
        return not self.shape

    @property
    def is_plain(self) -> bool:
        """Whether every field is set to a value that is known here; then ``values`` are those of ``shape``."""
        return all(operation == "set" for operation, _ in self.shape)

    def assignments(self, table: sa.Table, binds: Binds) -> dict[str, Any]:
        """Field → new value, for ``sa.update(table).values(…)``. Takes one bind per value, in order."""
        fields = self._codec.fields
        assigned: dict[str, Any] = {}
        for operation, name in self.shape:
            spec = fields[name].spec
            if operation == "set":
                assigned[name] = binds.next(column_type(spec.type))
            else:
                assigned[name] = _BUILDERS[operation](table.c[name], spec, self._dialect, binds)
        return assigned


def parse_updates(codec: ModelCodec, dialect: Dialect, fields: Mapping[str, Any]) -> Updates:
    """Parse new values and expressions for the fields of a model. Without any, the result is empty.

    Raises:
        UnknownFieldError: It names a field that does not exist.
        UnknownOperatorError: It names an expression that does not exist.
        UpdateParameterError: The id would change, or an expression does not fit its field.
        TypeMismatchError: A value is not of its field's type.
        NotNullViolationError: A required field would become None.
    """
    if not isinstance(fields, Mapping):
        raise TypeMismatchError(
            f"The fields to update of {codec.spec.name} are a dict, got {type(fields).__name__}.",
            model=codec.spec.name,
        )
    shape: list[tuple[str, str]] = []
    values: list[Any] = []
    stripped: list[str] = []
    for name, value in fields.items():
        field = codec.fields.get(name) or _field(codec, name)
        if field.spec.managed is not None:
            stripped.append(name)
        elif field.spec.primary_key:
            raise UpdateParameterError(
                f"{codec.spec.name}.{name} cannot be changed.",
                hint="Name the row by its id in 'filter', and leave the id out of the new values.",
                model=codec.spec.name,
                field=name,
            )
        elif isinstance(value, Mapping) and _is_expression(field.spec, value):
            operator, operand = next(iter(value.items()))
            shape.append((EXPRESSIONS[operator](Target(codec.spec.name, field, dialect, values), operand), name))
        else:
            values.append(field.bind(value))
            shape.append(("set", name))
    touched = codec.spec.by_name.get(Managed.UPDATED_AT.value)
    if shape and touched is not None and touched.managed is Managed.UPDATED_AT:
        values.append(codec.fields[touched.name].bind(datetime.now(UTC)))
        shape.append(("set", touched.name))
    return Updates(tuple(shape), values, tuple(stripped), codec, dialect)


def _is_expression(spec: FieldSpec, value: Mapping[Any, Any]) -> bool:
    """Whether a dict is an expression. In a JSON field it is if its one key is an operator."""
    if spec.type.kind is Kind.JSON:
        return len(value) == 1 and next(iter(value)) in EXPRESSIONS
    operators = [key for key in value if isinstance(key, str) and key.startswith("$")]
    if not operators:
        return False  # the field's coercer says what is wrong with a dict
    if len(value) > 1:
        raise UpdateParameterError(
            f"'{spec.name}' has {len(value)} update operators, it takes one.",
            hint="Compute one value, or update twice.",
            field=spec.name,
        )
    if operators[0] not in EXPRESSIONS:
        raise UnknownOperatorError(
            f"There is no update operator {operators[0]!r}, for '{spec.name}'.",
            hint=did_you_mean(operators[0], EXPRESSIONS),
            field=spec.name,
            operator=operators[0],
        )
    return True


def _field(codec: ModelCodec, name: Any) -> FieldCodec:
    if name in EXPRESSIONS:
        raise UpdateParameterError(
            f"{name} belongs to a field of {codec.spec.name}.",
            hint=f"Write {{'field': {{'{name}': …}}}}.",
            model=codec.spec.name,
            operator=name,
        )
    return codec.fields[codec.spec.field(name).name]


# Builders take their binds in the order in which the parsers added values.

_Builder = Callable[[sa.ColumnElement[Any], FieldSpec, Dialect, Binds], Any]


def _build_arithmetic(
    function: str, combine: Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], sa.ColumnElement[Any]]
) -> _Builder:
    def build(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect, binds: Binds) -> Any:
        exact = spec.type.kind is Kind.DECIMAL
        # A factor is not rounded to the field's scale, so its bind is a NUMERIC without one.
        value = binds.next(sa.Numeric() if exact else column_type(spec.type))
        if dialect is not Dialect.SQLITE:
            return combine(column, value)
        limits = (spec.type.precision, spec.type.scale) if exact else ()
        return getattr(sa.func, function)(column, value, *[sa.literal_column(str(limit)) for limit in limits])

    return build


def _build_bound(
    keeps: Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any]], sa.ColumnElement[bool]],
) -> _Builder:
    def build(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect, binds: Binds) -> Any:
        type_ = column_type(spec.type)
        limit, value = binds.next(type_), binds.next(type_)
        return sa.case((keeps(comparable(column, spec, dialect), limit), column), else_=value)

    return build


_BUILDERS: Mapping[str, _Builder] = {
    "inc": _build_arithmetic("dataflow_add", lambda column, value: column + value),
    "multiply": _build_arithmetic("dataflow_multiply", lambda column, value: column * value),
    "min": _build_bound(lambda column, limit: column <= limit),
    "max": _build_bound(lambda column, limit: column >= limit),
}
