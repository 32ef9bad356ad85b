"""Ids of the jobs of schedules: each tick has its own, and tells when it was due. Seals of their declarations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflow import DataFlow
from dataflow.errors import ConfigurationError, SignatureError
from dataflow.jobs import keys
from dataflow.jobs.requests import _ID
from dataflow.jobs.signatures import SigningKeys
from dataflow.schedules.ids import due_of, hand_id, tick_id

DUE = datetime(2026, 11, 22, 2, tzinfo=UTC)
KEYS = SigningKeys({"k1": "a secret of the test's own"})

# Few letters, so that names that could be mistaken for each other come up often.
NAMES = st.text("a_-", min_size=1, max_size=5) | st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
TICKS = st.tuples(NAMES, NAMES, MOMENTS | st.just(DUE))


def test_an_id_is_readable() -> None:
    assert tick_id("default", "nightly", DUE) == "default-nightly-20261122T020000Z"
    assert tick_id("default", "a-b_c", DUE + timedelta(milliseconds=7)) == "default-a-b_c-20261122T020000007Z"
    assert tick_id("shop-eu", "nightly", DUE) == "shop_-eu-nightly-20261122T020000Z"
    assert tick_id("shop_eu", "nightly", DUE) == "shop__eu-nightly-20261122T020000Z"


def test_the_same_moment_in_another_zone_is_the_same_tick() -> None:
    elsewhere = DUE.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert tick_id("default", "nightly", elsewhere) == tick_id("default", "nightly", DUE)


@given(TICKS, TICKS)
@example(("a", "b-c", DUE), ("a-b", "c", DUE))
@example(("a", "-b", DUE), ("a-", "b", DUE))
@example(("a_", "b-c", DUE), ("a-b", "c", DUE))
@example(("a", "b", DUE), ("a", "b-20261122T020000Z", DUE))
def test_two_ticks_never_share_an_id(one: tuple[str, str, datetime], other: tuple[str, str, datetime]) -> None:
    assert (tick_id(*one) == tick_id(*other)) == (one == other)
    assert tick_id(*one) != hand_id(*other)


@given(TICKS)
@example(("a", "b-20200101T000000Z", DUE))
def test_an_id_suits_rq_and_tells_when_its_tick_was_due(tick: tuple[str, str, datetime]) -> None:
    for made in (tick_id(*tick), hand_id(*tick)):
        assert _ID.fullmatch(made)
        assert due_of(made) == tick[2]


def test_ids_of_other_jobs_tell_no_due_time() -> None:
    assert due_of("6f9b0a52-4a11-4a3e-9c07-0c1d7f3d2b5e") is None
    assert due_of("default-nightly-20261122T020000Z-retry") is None


def test_keys_are_unambiguous_since_no_name_has_a_colon() -> None:
    """``a`` and ``b:c`` would have the keys of ``a:b`` and ``c``, and so the same ``x_schedule`` and signature."""
    assert keys.schedule("a", "b").endswith(":schedule:a:b")
    for name in ("a:b", "a:", "", "ä", "a b", "a" * 65):
        with pytest.raises(ConfigurationError, match="cannot be part of a job's id"):
            _ = DataFlow(":memory:", name=name).schedules


def test_by_hand_each_job_is_another() -> None:
    assert hand_id("o", "n", DUE) != hand_id("o", "n", DUE)


def test_a_seal_is_of_one_thing_and_one_content() -> None:
    seal = KEYS.seal("schedule o:n", b"{}").encode()
    KEYS.check_seal(seal, "schedule o:n", b"{}")
    SigningKeys({"k2": "the secret after that", "k1": "a secret of the test's own"}).check_seal(
        seal, "schedule o:n", b"{}"
    )
    for what, content in (("schedule o:m", b"{}"), ("schedule o:n", b"{} ")):
        with pytest.raises(SignatureError, match="does not match"):
            KEYS.check_seal(seal, what, content)
    with pytest.raises(SignatureError, match="not signed"):
        KEYS.check_seal(b"", "schedule o:n", b"{}")
    with pytest.raises(SignatureError, match="'k1', which is not among"):
        SigningKeys({"k2": "the secret after that"}).check_seal(seal, "schedule o:n", b"{}")
    with pytest.raises(SignatureError, match="does not match"):
        SigningKeys({"k1": "another secret under it"}).check_seal(seal, "schedule o:n", b"{}")
