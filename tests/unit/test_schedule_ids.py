"""Ids of the jobs of schedules, and seals of their declarations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dataflow.errors import SignatureError
from dataflow.jobs.requests import _ID
from dataflow.jobs.signatures import SigningKeys
from dataflow.schedules.ids import due_of, hand_id, tick_id

DUE = datetime(2026, 11, 22, 2, tzinfo=UTC)
KEYS = SigningKeys({"k1": "a secret of the test's own"})


def test_an_id_is_made_of_owner_schedule_and_due_time() -> None:
    assert tick_id("default", "nightly", DUE) == "default-nightly-20261122T020000Z"
    assert (
        tick_id("default", "nightly", DUE.astimezone(timezone(timedelta(hours=5))))
        == "default-nightly-20261122T020000Z"
    )
    assert tick_id("a-b", "c_d", DUE + timedelta(milliseconds=7)) == "a-b-c_d-20261122T020000007Z"


@pytest.mark.parametrize("milliseconds", [0, 1, 250, 999])
def test_the_due_time_is_read_from_the_id(milliseconds: int) -> None:
    due = DUE + timedelta(milliseconds=milliseconds)
    for job_id in (tick_id("o", "n-20200101T000000Z", due), hand_id("o", "n", due)):
        assert _ID.fullmatch(job_id)
        assert due_of(job_id) == due
    assert due_of("5f0c3cbe-0000-4000-8000-000000000000") is None


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
