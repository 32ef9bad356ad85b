"""Disagreements that the random plays found, each as small as it gets."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dataflow.databases.interface import Dialect
from dataflow.models import Field
from tests.integration.meaning.arena import Step
from tests.integration.meaning.conftest import Stage
from tests.integration.meaning.models import NOT_FIELDS, WORDS, Model, build
from tests.integration.meaning.tasks import Play
from tests.integration.meaning.values import BIG, nested, scaled

#: What a database itself calls a keyword.
KEYWORDS = {
    Dialect.POSTGRESQL: "SELECT word FROM pg_get_keywords()",
    Dialect.MYSQL: "SELECT word FROM information_schema.keywords",
}


def play(stage: Stage, model: Model, *steps: Step) -> None:
    stage.perform(Play(model, steps))


def rows(name: str, values: Sequence[Any]) -> Step:
    """A step that creates a row for each value of a field."""
    return Step("BulkCreate", {"data": [{name: value} for value in values]})


def aggregate(operator: str, name: str, **inputs: Any) -> Step:
    return Step("Aggregate", {"aggregate": {"it": {operator: name}}, **inputs})


def decimals(precision: int, scale: int) -> Model:
    return build({"price": Decimal | None}, {"price": Field(None, precision=precision, scale=scale)})


def test_a_field_may_be_called_as_any_word_of_sql(stage: Stage) -> None:
    known = {word for words in stage.ask(KEYWORDS).values() for (word,) in words}
    found = sorted({word.lower() for word in known if word.isidentifier()} - NOT_FIELDS | set(WORDS))
    assert len(found) > 600
    for start in range(0, len(found), 60):
        words = found[start : start + 60]
        options = {word: Field(0, unique=number < 20, index=True) for number, word in enumerate(words)}
        model = build(dict.fromkeys(words, int), options)
        values = dict.fromkeys(words, 1)
        play(
            stage,
            model,
            Step("Create", values),
            Step("BulkUpsert", {"data": [values, {**values, "id": 1}]}),
            Step("BulkUpsert", {"data": [values], "conflict_on": words[:1], "return_ids": True}),
            Step("BulkUpdate", {"data": [{**values, "id": 1}]}),
            Step("BulkUpdate", {"filter": values, "fields": {word: {"$inc": 1} for word in words}}),
            Step("Upsert", {"where": {words[1]: 2}, "create": {}, "update": dict.fromkeys(words[2:], 3)}),
            Step("List", {"filter": {word: {"$gte": 1} for word in words}, "sort": words}),
            Step("Aggregate", {"group_by": words[:9], "aggregate": {word: {"$sum": word} for word in words[9:]}}),
        )


def test_an_index_may_be_over_a_text_field_that_is_called_as_a_function(stage: Stage) -> None:
    play(stage, build({"count": str}, {"count": Field(index=True)}), rows("count", ["b", "a"]))


def test_a_bulk_upsert_takes_a_field_called_position(stage: Stage) -> None:
    model = build({"position": int, "name": str}, {"name": Field(unique=True)})
    data = [{"position": 7, "name": name} for name in "ab"]
    for resolution in ("update", "skip"):
        upsert = {"data": data, "conflict_on": ["name"], "conflict_resolution": resolution, "return_ids": True}
        play(stage, model, Step("BulkUpsert", upsert), Step("BulkUpsert", upsert))


@pytest.mark.parametrize("amount", ["0.999999999999999999999999999999", "-0.999999999999999999999999999999"])
def test_a_decimal_may_have_more_than_28_digits(stage: Stage, amount: str) -> None:
    one = Decimal("0.000000000000000000000000000001").copy_sign(Decimal(amount))
    change = Step("Update", {"id": 1, "fields": {"price": {"$inc": -one}}})
    play(stage, decimals(30, 30), Step("Create", {"price": amount}), change)


def test_a_whole_decimal_has_no_exponent(stage: Stage) -> None:
    play(stage, decimals(55, 0), rows("price", [100_000, -(10**50), 0, "7"]), Step("List", {"sort": "price"}))


def test_the_mean_of_decimals_of_many_digits_is_one(stage: Stage) -> None:
    play(stage, decimals(55, 30), rows("price", [5, Decimal("0.5")] * 2), aggregate("$avg", "price"))
    play(stage, decimals(55, 0), rows("price", ["9" * 55, 1, 1]), aggregate("$avg", "price"))


def test_a_grouped_sum_of_the_widest_decimals_is_whole(stage: Stage) -> None:
    model = build({"price": Decimal, "name": str}, {"price": Field(precision=55, scale=10)})
    data = [{"price": "9" * 45 + "." + "9" * 10, "name": "a"}] * 30
    grouped = aggregate("$sum", "price", group_by="name", having={"it": {"$gt": 0}}, sort="-it")
    play(stage, model, Step("BulkCreate", {"data": data}), grouped)


@pytest.mark.parametrize("scale", [0, 2])
def test_a_mean_of_decimals_is_never_minus_zero(stage: Stage, scale: int) -> None:
    least = scaled(-1, scale)
    play(stage, decimals(10, scale), rows("price", [least, 0, 0]), aggregate("$avg", "price"))


def test_a_mean_is_compared_as_it_is_shown(stage: Stage) -> None:
    mean = aggregate("$avg", "price", having={"it": {"$eq": Decimal("0.67")}})
    play(stage, decimals(10, 2), rows("price", [0, 1, 1]), mean)


def test_a_product_of_more_digits_than_mysql_calculates_with_is_refused(stage: Stage) -> None:
    product = Step("Update", {"id": 1, "fields": {"price": {"$multiply": Decimal("1e-20")}}})
    play(stage, decimals(55, 0), rows("price", ["9" * 55]), product)
    play(stage, decimals(38, 10), rows("price", ["9" * 28]), product)


@pytest.mark.parametrize("span", [timedelta.max, timedelta.min, timedelta(microseconds=BIG)])
def test_a_timedelta_past_64_bits_is_refused(stage: Stage, span: timedelta) -> None:
    model = build({"span": timedelta})
    play(
        stage,
        model,
        Step("Create", {"span": span}),
        rows("span", [timedelta(1), span]),
        Step("Count", {"filter": {"span": span}}),
    )


def test_a_mean_of_long_timedeltas_is_exact(stage: Stage) -> None:
    spans = [timedelta(microseconds=number) for number in (BIG - 1, BIG - 4, -1)]
    play(stage, build({"span": timedelta}), rows("span", spans), aggregate("$avg", "span"), aggregate("$sum", "span"))


@pytest.mark.parametrize("number", [BIG - 1, -BIG])
def test_a_sum_of_ints_may_need_more_than_64_bits(stage: Stage, number: int) -> None:
    play(
        stage,
        build({"number": int}),
        rows("number", [number] * 3),
        aggregate("$sum", "number"),
        aggregate("$avg", "number"),
        aggregate("$sum", "number", having={"it": {"$lt": 0}}),
    )


def test_long_texts_that_begin_alike_are_sorted_to_their_end(stage: Stage) -> None:
    texts = ["long " * 300 + end for end in "dbacdbac"]
    by_text = [Step("List", {"sort": sort, "fields": ["body"]}) for sort in ("body", "-body")]
    play(stage, build({"body": str}), rows("body", texts), *by_text, aggregate("$count", "*", group_by="body"))


def test_a_limited_bulk_update_stops_at_its_limit(stage: Stage) -> None:
    # Of wide soft-deletable rows PostgreSQL expects so few that it asks for the limited ids once per row.
    wide = {f"text{number}": str | None for number in range(8)}
    model = build({"first": str, "last": str | None, **wide}, dict.fromkeys(wide), soft_delete=True)
    data = [{"first": first, "last": "x"} for first in "abcdefgh"]
    change = {"filter": {"first": {"$gt": "b"}}, "limit": 2, "fields": {"last": {"$unset": True}}}
    remove = {"filter": {"first": {"$gt": "b"}}, "limit": 2}
    steps = [
        Step("BulkUpdate", change),
        Step("BulkDelete", remove),
        Step("BulkDelete", {**remove, "soft_delete": False}),
    ]
    play(stage, model, Step("BulkCreate", {"data": data}), *steps)


def test_a_product_of_floats_is_never_minus_zero(stage: Stage) -> None:
    product = Step("BulkUpdate", {"filter": {}, "confirmed": True, "fields": {"size": {"$multiply": 0}}})
    play(stage, build({"size": float}), rows("size", [-1.5, 2.0]), product)


@pytest.mark.parametrize("size", [-5e-324, 1e-300])
def test_a_product_too_small_for_a_float_is_zero(stage: Stage, size: float) -> None:
    product = Step("Update", {"id": 1, "fields": {"size": {"$multiply": 1e-300}}})
    play(stage, build({"size": float | None}, {"size": None}), rows("size", [size]), product)


def test_a_mean_of_large_floats_does_not_overflow(stage: Stage) -> None:
    play(stage, build({"size": float}), rows("size", [1e200, 0.0, -1e200]), aggregate("$avg", "size"))


@pytest.mark.parametrize("least", [5e-324, -5e-324])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_mean_too_small_for_a_float_is_zero(stage: Stage, least: float, count: int) -> None:
    for total in (least, 2 * least, 3 * least):
        size = rows("size", [total, *[0.0] * (count - 1)])
        play(stage, build({"size": float}), size, aggregate("$avg", "size"), aggregate("$sum", "size"))


LETTERS = [letter for letter in map(chr, range(sys.maxunicode + 1)) if {letter.lower(), letter.upper()} != {letter}]


def test_every_letter_has_one_lower_case(stage: Stage) -> None:
    assert len(LETTERS) > 2800
    words = ["-".join(LETTERS[start : start + 64]) for start in range(0, len(LETTERS), 64)]
    words += ["ΑΣ", "ΑΣΑ", "Σ", "ΑΣ Β", "ας", "İstanbul"]
    patterns = [pattern for word in words for pattern in (word, word.lower(), word.upper(), f"%{word[1:].lower()}")]
    steps = [Step("Count", {"filter": {"name": {"$ilike": pattern}}}) for pattern in patterns]
    play(stage, build({"name": str}), rows("name", words), *steps)


def test_lower_case_is_compared_by_code_point(stage: Stage) -> None:
    words = ["a\u00ad", "a\u200d", "a", "e\u0301", "é", "æ", "ae", "Ａ", "ａ", "ﬁ", "fi", "ß", "ẞ", "ss", "a\x01"]
    steps = [Step("Count", {"filter": {"name": {"$ilike": word}}}) for word in words]
    play(stage, build({"name": str}), rows("name", words), *steps)


def test_a_json_float_is_still_one_when_it_is_read(stage: Stage) -> None:
    numbers = [1e16, 1e22, 1e308, -1e16, 5e-324, 1.0, {"a": [1e16, "1e16"]}]
    play(stage, build({"data": list}), rows("data", [[number] for number in numbers]))


def test_json_has_no_minus_zero(stage: Stage) -> None:
    numbers = [-0.0, 0.0, {"a": -0.0, "b": ["-0.0", -0.01]}, [-0.0, -1e16]]
    play(stage, build({"data": Any}), rows("data", numbers), Step("Update", {"id": 1, "fields": {"data": [-0.0]}}))


def test_json_has_31_levels(stage: Stage) -> None:
    play(stage, build({"data": Any}), rows("data", [nested(30)]), rows("data", [nested(31)]))


@pytest.mark.parametrize("options", [{"unique": True}, {"index": True}])
def test_indexed_text_is_as_long_as_every_index_takes(stage: Stage, options: dict[str, bool]) -> None:
    model = build({"name": str, "number": int}, {"name": Field(**options)})
    text = incompressible(model.spec.field("name").type.max_length or 0)
    play(stage, model, *[Step("Create", {"name": name, "number": 1}) for name in (text, text[:-1], text, text + "x")])


@pytest.mark.parametrize("unique", [True, False])
def test_all_text_of_an_index_is_as_long_as_every_index_takes(stage: Stage, unique: bool) -> None:
    index = {"fields": ["name", "number", "raw"], "unique": unique}
    model = build({"name": str, "number": int, "raw": bytes}, {"__indexes__": [index]})
    text = incompressible(model.spec.field("name").type.max_length or 0)
    raw = random.Random(2).randbytes(model.spec.field("raw").type.max_length or 0)
    steps = [{"name": text, "raw": raw}, {"name": text + "x", "raw": raw}, {"name": text, "raw": raw + b"x"}]
    play(stage, model, *[Step("Create", {**step, "number": 1}) for step in steps])


def incompressible(length: int) -> str:
    """Text of characters of four bytes, which PostgreSQL cannot make shorter."""
    scattered = random.Random(1)
    return "".join(chr(scattered.randrange(0x10000, 0x1F000)) for _ in range(length))


def test_what_overflows_within_a_transaction_is_told(stage: Stage) -> None:
    one_row = {"filter": {"id": {"$eq": 1, "$exists": True}}, "fields": {"price": {"$multiply": 3}}}
    play(stage, decimals(19, 4), rows("price", ["499999999999999.9999"]), Step("Update", one_row))


def test_where_one_row_would_overflow_and_two_would_meet_either_is_told(stage: Stage) -> None:
    model = build({"price": Decimal}, {"price": Field(precision=4, scale=0, unique=True)})
    double = {"filter": {}, "fields": {"price": {"$multiply": 2}}, "confirmed": True}
    for prices in ([1, 2, 9999], [9999, 1, 2]):
        everything = Step("BulkDelete", {"filter": {}, "confirmed": True})
        play(stage, model, rows("price", [Decimal(price) for price in prices]), Step("BulkUpdate", double), everything)
