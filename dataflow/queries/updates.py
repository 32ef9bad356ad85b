"""Updates: from ``{"name": "x", "visits": {"$inc": 1}}`` to a shape, its bound values, and assignments.

``updated_at`` is set to this moment by every update; the user's own values of managed timestamps are left out and
named in ``stripped``. Setting ``deleted_at`` to None brings a soft-deleted row back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import TypeMismatchError, UnknownOperatorError, UpdateParameterError, did_you_mean
from dataflow.models import FieldSpec, Kind, ModelSpec
from dataflow.models.spec import Managed
from dataflow.models.tables import column_type
from dataflow.queries.clauses import Columns, comparable
from dataflow.queries.codecs import FieldCodec, ModelCodec
from dataflow.queries.expressions import EXPRESSIONS, Target
from dataflow.queries.plan import Binds
from dataflow.values import is_mapping

Shape = tuple[tuple[str, str], ...]

_UPDATED_AT = Managed.UPDATED_AT.value
#: Natural logarithm of half the least positive float: what is below rounds to 0.
_LN_OF_LEAST = "-745.13"


class Updates(msgspec.Struct, frozen=True):
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

    def assignments(self, columns: Columns, binds: Binds) -> dict[str, Any]:
        """Field → new value, for ``sa.update(table).values(…)``. Takes one bind per value, in order."""
        fields = self._codec.fields
        assigned: dict[str, Any] = {}
        for operation, name in self.shape:
            spec = fields[name].spec
            if operation == "set":
                assigned[name] = binds.next(column_type(spec.type))
            else:
                assigned[name] = _BUILDERS[operation](columns[name], spec, self._dialect, binds)
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
    if not is_mapping(fields):
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
            if is_restoring(codec.spec, field.spec, value):
                values.append(None)
                shape.append(("set", name))
            else:
                stripped.append(name)
        elif field.spec.primary_key:
            raise UpdateParameterError(
                f"{codec.spec.name}.{name} cannot be changed.",
                hint="Name the row by its id in 'filter', and leave the id out of the new values.",
                model=codec.spec.name,
                field=name,
            )
        elif is_mapping(value) and _is_expression(field.spec, value):
            operator, operand = next(iter(value.items()))
            shape.append((EXPRESSIONS[operator](Target(codec.spec.name, field, dialect, values), operand), name))
        else:
            values.append(field.bind(value))
            shape.append(("set", name))
    if shape:
        _touch(codec, shape, values, datetime.now(UTC))
    return Updates(tuple(shape), values, tuple(stripped), codec, dialect)


def deletion(codec: ModelCodec, dialect: Dialect) -> Updates:
    """The update that soft-deletes a row."""
    name, moment = Managed.DELETED_AT.value, datetime.now(UTC)
    shape, values = [("set", name)], [codec.fields[name].bind(moment)]
    _touch(codec, shape, values, moment)
    return Updates(tuple(shape), values, (), codec, dialect)


def _touch(codec: ModelCodec, shape: list[tuple[str, str]], values: list[Any], moment: datetime) -> None:
    if codec.spec.features.timestamps:
        encode = codec.fields[_UPDATED_AT].encode
        values.append(moment if encode is None else encode(moment))
        shape.append(("set", _UPDATED_AT))


def is_restoring(spec: ModelSpec, field: FieldSpec, value: Any) -> bool:
    """Whether an update gives a managed field the value that brings a row back; else it is left out.

    Raises:
        UpdateParameterError: The value asks for something that an update does not do.
    """
    model = spec.name
    match field.managed:
        case Managed.DELETED_AT if value is None:
            return True
        case Managed.DELETED_AT:
            raise UpdateParameterError(
                f"{model}.deleted_at is set by deleting the row; an update can set it to None, to bring the row back.",
                hint=f"Use {model}DeleteNode, or 'deleted_at': None with include_deleted=True.",
                model=model,
                field=field.name,
            )
        case Managed.TENANT_ID:
            raise UpdateParameterError(f"{model}.tenant_id cannot be changed.", model=model, field=field.name)
        case Managed.VERSION:
            raise UpdateParameterError(
                f"{model}.version counts the changes by itself.",
                hint="Give the version that the row must have as the parameter 'version' of the update node.",
                model=model,
                field=field.name,
            )
    return False


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
    function: str,
    combine: Callable[[sa.ColumnElement[Any], sa.ColumnElement[Any], Kind, Dialect], sa.ColumnElement[Any]],
) -> _Builder:
    def build(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect, binds: Binds) -> Any:
        exact = spec.type.kind is Kind.DECIMAL
        # A factor is not rounded to the field's scale, so its bind is a NUMERIC without one.
        value = binds.next(sa.Numeric() if exact else column_type(spec.type))
        if dialect is not Dialect.SQLITE:
            return combine(column, value, spec.type.kind, dialect)
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


def _sum(
    column: sa.ColumnElement[Any], value: sa.ColumnElement[Any], _kind: Kind, _dialect: Dialect
) -> sa.ColumnElement[Any]:
    return column + value


def _product(
    column: sa.ColumnElement[Any], value: sa.ColumnElement[Any], kind: Kind, dialect: Dialect
) -> sa.ColumnElement[Any]:
    if kind is not Kind.FLOAT:
        return column * value
    zero: sa.ColumnElement[Any] = sa.literal_column("0e0")
    # -0.0 + 0.0 is 0.0.
    product = column * value + zero
    if dialect is not Dialect.POSTGRESQL:
        return product
    # What is too small for a float is 0 elsewhere, and an error on PostgreSQL.
    logarithms = [sa.func.ln(sa.func.abs(sa.func.nullif(factor, zero))) for factor in (column, value)]
    size = logarithms[0] + logarithms[1]
    return sa.case((size < sa.literal_column(_LN_OF_LEAST), zero), else_=product)


_BUILDERS: Mapping[str, _Builder] = {
    "inc": _build_arithmetic("dataflow_add", _sum),
    "multiply": _build_arithmetic("dataflow_multiply", _product),
    "min": _build_bound(lambda column, limit: column <= limit),
    "max": _build_bound(lambda column, limit: column >= limit),
}
