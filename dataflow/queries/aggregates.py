"""Aggregates: from ``{"total": {"$sum": "amount"}}`` and a grouping to columns, their types, and a plan.

===================  =========================  ==================================================================
aggregate            over                       result (None over no values, except the counts)
===================  =========================  ==================================================================
``$count``           ``"*"``, or a field        int: rows, or those where the field is not NULL
``$count_distinct``  a field                    int: different values, NULL not among them
``$sum``             numbers, timedelta         the field's type, exact for int and Decimal
``$avg``             numbers, timedelta         float for int and float; else the field's type, rounded half away
                                                from zero to its scale (microseconds for timedelta)
``$min $max``        what has an order          the field's type
===================  =========================  ==================================================================

Aliases never reach SQL: columns are numbered, and ``having`` and ``sort`` name aliases and group fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import sqlalchemy as sa

from dataflow.databases.interface import Dialect
from dataflow.errors import InputError, TypeMismatchError, UnknownOperatorError, did_you_mean
from dataflow.models import FieldSpec, FieldType, Kind, ModelSpec
from dataflow.queries.clauses import Columns, comparable
from dataflow.queries.codecs import Convert, FieldCodec, ModelCodec, decoder, field_codec
from dataflow.queries.expressions import MYSQL_WORDS, decimal_words

#: Wide enough for the sum of any column of decimals.
_WIDE = Context(prec=100, rounding=ROUND_HALF_UP)
_SUM_DIGITS = 65
#: Digits that a sum has more than its summands.
_COUNT_DIGITS = 9

#: Kinds that are stored as 64-bit integers, whose sums may need more.
_WHOLE = (Kind.INT, Kind.TIMEDELTA)
_NUMBERS = (Kind.INT, Kind.FLOAT, Kind.DECIMAL)
_ADDABLE = (*_NUMBERS, Kind.TIMEDELTA)
_ORDERED = (*_ADDABLE, Kind.STR, Kind.DATETIME, Kind.DATE, Kind.TIME)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an aggregate's result.

    Attributes:
        name: Group field or alias.
        operator: ``"group"``, ``"$sum"``, …
        field: The field it is over; None for ``$count`` of rows.
        codec: Type of the result, for ``having``.
        decode: Driver's value (not None) → result; None if they are the same.
    """

    name: str
    operator: str
    field: str | None
    codec: FieldCodec
    decode: Convert | None

    def expression(self, columns: Columns, model: ModelSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
        """Its SQL."""
        if self.field is None:
            return sa.func.count()
        return _EXPRESSIONS[self.operator](columns[self.field], model.field(self.field), dialect)

    def compared(self, columns: Columns, model: ModelSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
        """Its SQL in conditions and sorts."""
        if self.operator == "$sum" and dialect is Dialect.SQLITE and self.field is not None:
            kind = model.field(self.field).type.kind
            if kind in _WHOLE:
                return sa.func.dataflow_near_whole(*_halves(columns[self.field]))
        return self.expression(columns, model, dialect)


def parse_aggregates(
    codec: ModelCodec, dialect: Dialect, group_by: Sequence[str], aggregate: Mapping[str, Any]
) -> tuple[Column, ...]:
    """The columns of a result: group fields, then aliases.

    Raises:
        UnknownFieldError: A field does not exist.
        UnknownOperatorError: An aggregate does not exist.
        InputError: An aggregate does not fit its field, or a name is used twice.
    """
    model = codec.spec.name
    columns = [_group(codec, name) for name in group_by]
    for alias, given in aggregate.items():
        if not isinstance(alias, str) or not alias or any(column.name == alias for column in columns):
            raise InputError(
                f"{model}: the alias {alias!r} is not text, or taken by a group field.",
                hint="Give every aggregate a name of its own.",
                model=model,
                alias=alias,
            )
        if not isinstance(given, Mapping) or len(given) != 1:
            raise TypeMismatchError(
                f"{model}: aggregate '{alias}' is a dict with one operator, got {given!r}.",
                hint=f"Write {{'{alias}': {{'$sum': 'field'}}}}.",
                model=model,
                alias=alias,
            )
        operator, name = next(iter(given.items()))
        columns.append(_aggregate(codec, dialect, alias, operator, name))
    names = [column.name for column in columns]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"{model}: aggregate and group_by are empty, or group_by names a field twice.",
            hint="Write aggregate={'n': {'$count': '*'}}.",
            model=model,
        )
    return tuple(columns)


def _group(codec: ModelCodec, name: str) -> Column:
    spec = codec.spec.field(name)
    if spec.type.kind is Kind.JSON:
        raise InputError(f"{codec.spec.name}.{name} is JSON, which cannot be grouped by.", field=name)
    return Column(name, "group", name, codec.fields[name], codec.fields[name].decode)


def _aggregate(codec: ModelCodec, dialect: Dialect, alias: str, operator: Any, name: Any) -> Column:
    model = codec.spec.name
    if operator not in _RESULTS:
        raise UnknownOperatorError(
            f"{model}: aggregate '{alias}' has no operator {operator!r}.",
            hint=did_you_mean(str(operator), _RESULTS),
            model=model,
            alias=alias,
        )
    if operator == "$count" and name == "*":
        return _column(codec, dialect, alias, operator, None, _INT)
    source = codec.spec.field(name)
    kinds, result = _RESULTS[operator]
    if source.type.kind not in kinds or (operator in ("$sum", "$avg") and source.type.enum is not None):
        raise InputError(
            f"{operator} does not work on {model}.{name}, which is {source.type.label}.",
            hint=f"It works on {', '.join(kind.value for kind in kinds)}.",
            model=model,
            field=name,
        )
    return _column(codec, dialect, alias, operator, name, result(source.type))


def _column(
    codec: ModelCodec, dialect: Dialect, alias: str, operator: str, field: str | None, result: FieldType
) -> Column:
    spec = FieldSpec(alias, result, nullable=operator not in ("$count", "$count_distinct"))
    decode = _DECODERS[result.kind](result) if operator in ("$sum", "$avg") else decoder(result, dialect)
    return Column(alias, operator, field, field_codec(codec.spec.name, spec, dialect), decode)


_INT = FieldType(Kind.INT, int)
_FLOAT = FieldType(Kind.FLOAT, float)
_NOT_JSON = tuple(kind for kind in Kind if kind is not Kind.JSON)

#: Operator → the kinds it works on, and the type of its result.
_RESULTS: Mapping[str, tuple[tuple[Kind, ...], Callable[[FieldType], FieldType]]] = {
    "$count": (tuple(Kind), lambda _source: _INT),
    "$count_distinct": (_NOT_JSON, lambda _source: _INT),
    "$sum": (_ADDABLE, lambda source: replace(source, precision=_SUM_DIGITS)),
    "$avg": (_ADDABLE, lambda source: _FLOAT if source.kind is Kind.INT else source),
    "$min": (_ORDERED, lambda source: source),
    "$max": (_ORDERED, lambda source: source),
}


# Sums and means arrive as int, float, Decimal or text, depending on the database.


def _decode_decimal(scale: int) -> Convert:
    step = Decimal(1).scaleb(-scale)

    def decode(value: Any) -> Decimal:
        return Decimal(str(value)).quantize(step, context=_WIDE)

    return decode


def _decode_timedelta(value: Any) -> timedelta:
    microseconds = int(Decimal(str(value)).quantize(Decimal(1), context=_WIDE))
    try:
        return timedelta(microseconds=microseconds)
    except OverflowError:
        raise TypeMismatchError(
            f"A sum of timedeltas is {microseconds:,} microseconds, more than a timedelta holds.",
            hint="Sum over fewer rows, or keep the durations as a number.",
        ) from None


_DECODERS: Mapping[Kind, Callable[[FieldType], Convert]] = {
    Kind.INT: lambda _result: int,
    # -0.0 where the total is below 0 and too small.
    Kind.FLOAT: lambda _result: lambda value: float(value) + 0.0,
    Kind.DECIMAL: lambda result: _decode_decimal(result.scale),
    Kind.TIMEDELTA: lambda _result: _decode_timedelta,
}


# SQL of the columns.

_Expression = Callable[[sa.ColumnElement[Any], FieldSpec, Dialect], sa.ColumnElement[Any]]


def _sum(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    if dialect is Dialect.SQLITE:
        if spec.type.kind is Kind.DECIMAL:
            return sa.func.dataflow_sum(column)
        if spec.type.kind in _WHOLE:
            return sa.func.dataflow_whole(*_halves(column))
    return sa.func.sum(column)


def _halves(column: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Sums of the upper and of the lower 32 bits: SQLite's own sum of integers fails past 64 bits."""
    upper = column.bitwise_rshift(sa.literal_column("32"))
    lower = column.bitwise_and(sa.literal_column(str(2**32 - 1)))
    return sa.func.sum(upper), sa.func.sum(lower)


def _average(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    """The mean, spelled so that the databases agree: MySQL's AVG keeps four digits more than its argument."""
    kind = spec.type.kind
    if kind is Kind.FLOAT and dialect is not Dialect.POSTGRESQL:
        return sa.func.avg(column)
    if kind in (Kind.INT, Kind.FLOAT):
        if dialect is Dialect.POSTGRESQL:
            # Its AVG of floats also sums their squares, which overflow from 1e154.
            return _quotient(sa.cast(sa.func.sum(column), sa.Double()), sa.cast(sa.func.count(column), sa.Double()))
        total = sa.func.dataflow_near_whole(*_halves(column)) if dialect is Dialect.SQLITE else sa.func.sum(column)
        return total * sa.literal_column("1e0") / sa.func.count(column)
    scale: sa.ColumnElement[int] = sa.literal_column(str(spec.type.scale if kind is Kind.DECIMAL else 0))
    if dialect is Dialect.SQLITE:
        mean = sa.func.dataflow_avg(column, scale)
        return mean if kind is Kind.DECIMAL else sa.cast(mean, sa.Integer())
    if dialect is Dialect.MYSQL:
        return sa.func.round(_widened(sa.func.sum(column), spec.type) / sa.func.count(column), scale)
    return sa.func.round(sa.func.avg(column), scale)


def _quotient(total: sa.ColumnElement[Any], count: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A mean that is 0 where it is too small for a float, which PostgreSQL takes for an error."""
    # 2**-1074 is the least float; half of it, or less, is rounded to 0. A total that matters is below 1e-300.
    halves = sa.func.least(sa.func.abs(total), _double(1e-300)) * _double(2.0**538) * _double(2.0**537)
    return sa.case((halves <= count, _double(0.0)), else_=total / count)


def _double(number: float) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"{number!r}::double precision", sa.Double())


def _widened(total: sa.ColumnElement[Any], field_type: FieldType) -> sa.ColumnElement[Any]:
    """A total with more digits after the point, as many as MySQL can calculate with: a division keeps four more."""
    precision, scale = (field_type.precision, field_type.scale) if field_type.kind is Kind.DECIMAL else (19, 0)
    left = 9 * (MYSQL_WORDS - 1 - decimal_words(precision + _COUNT_DIGITS, scale))
    digits = min(20, 30 - scale, left)
    return total * sa.literal_column(f"1.{'0' * digits}") if digits > 0 else total


def _least(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    return sa.func.min(comparable(column, spec, dialect))


def _greatest(column: sa.ColumnElement[Any], spec: FieldSpec, dialect: Dialect) -> sa.ColumnElement[Any]:
    return sa.func.max(comparable(column, spec, dialect))


_EXPRESSIONS: Mapping[str, _Expression] = {
    "group": lambda column, _spec, _dialect: column,
    "$count": lambda column, _spec, _dialect: sa.func.count(column),
    "$count_distinct": lambda column, _spec, _dialect: sa.func.count(sa.distinct(column)),
    "$sum": _sum,
    "$avg": _average,
    "$min": _least,
    "$max": _greatest,
}
